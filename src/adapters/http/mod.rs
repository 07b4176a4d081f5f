//! HTTP: drives the core.
//!
//! A request goes through [`server`] (connections, their limits and their end), [`envelope`] (what all
//! requests have in common) and [`document`] (which routes it), to the file of its noun. There it is read
//! strictly ([`input`]), handed to a use case, and the answer or refusal is put on the wire ([`error`]).

mod agents;
pub mod answers;
mod audit;
mod authorization;
pub mod body;
mod connection_deadline;
mod context;
mod cors;
mod credentials;
mod detach_on_drop;
pub mod document;
pub(crate) mod error;
pub mod failure_log;
pub(crate) mod front;
mod health;
pub(crate) mod input;
mod introspection;
mod jwk;
pub(crate) mod metrics;
mod operations;
mod organizations;
pub mod pipeline;
mod revocation;
pub(crate) mod server;
pub mod shutdown;
mod token;
mod usage;
mod well_known;
mod wire;
