//! The resources of this API: one file per entity, with its bodies, its operations and its errors.

pub mod agents;
pub mod audit;
pub mod credentials;
pub mod health;
pub mod issuers;
pub mod organizations;
pub mod usage;

mod actors;
mod agent_body;
mod agent_fields;
mod credential_body;
mod explanation;
mod issuer_body;
mod issuer_fields;
mod pagination;
mod resource_indicator;
pub mod tokens;
