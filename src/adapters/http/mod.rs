//! HTTP adapter: translates requests into calls of the use cases.
//!
//! A request passes through `server` (connections, their limits and their end), `pipeline` (steps that
//! all requests share) and `document` (routing) to the file of its resource. There it is read strictly
//! (`input`) and handed to a use case, and the response is written, in case of an error by `error`.

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
