//! Use cases of the service: one file per entity, one method per operation.
//!
//! A use case authorizes its caller, applies the rules of [`domain`], and makes one write through a
//! port. Use cases depend on neither HTTP nor SQL.

#![warn(missing_docs)]

pub mod agents;
pub mod audit;
pub mod audit_buffer;
mod audit_key;
pub mod auth_failures;
pub mod background;
pub mod bearer;
pub mod bootstrap;
pub mod caller;
pub mod client_auth;
pub mod credentials;
pub mod events;
mod foreign_jwt;
pub mod forward_auth;
pub mod introspection;
pub mod issuers;
pub mod keys;
mod metrics;
pub mod monitoring;
pub mod organizations;
pub mod outbox_relay;
mod ports;
pub mod proofs;
pub mod readiness;
pub mod request_context;
pub mod retention;
pub mod revocation;
mod revocation_sink;
mod settings;
pub mod shutdown;
pub mod token;
pub mod token_tree;
pub mod usage;
pub mod usage_mirror;
mod use_cases;

pub use self::ports::{Ports, Stores};
pub use self::settings::Settings;
pub use self::use_cases::App;
pub use ::ports::error_chain::error_chain;
pub use ::ports::secret_hasher::HasherError;
pub use ::ports::store_error::StoreError;
pub use ::ports::write::CallerRevoked;
