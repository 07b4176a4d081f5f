//! The entities of the service and the rules between them.
//!
//! Everything here is pure: no I/O, no `async`, no clock, no randomness, no wire format. Time and IDs are
//! passed in as arguments, so each rule can be read and tested by itself.

#![warn(missing_docs)]

pub mod agent;
pub mod audit;
pub mod claim_rules;
pub mod client;
pub mod credential;
pub mod delegation;
pub mod federation;
pub mod generation;
pub mod id;
pub mod inventory;
pub mod issuer;
pub mod issuer_key;
pub mod jwk;
pub mod managed_by;
pub mod may_act;
pub mod names;
pub mod organization;
pub mod page;
pub mod plan;
pub mod proof;
pub mod rate;
pub mod resource_indicator;
pub mod scope;
pub mod secret;
pub mod signature_algorithm;
pub mod size;
pub mod tenancy;
pub mod time;
pub mod token;
pub mod token_record;
pub mod usage;
