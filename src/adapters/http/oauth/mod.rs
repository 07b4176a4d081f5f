//! The OAuth endpoints: one file per endpoint, and the authentication of clients and bearer tokens.

pub mod authorization;
pub mod discovery;
pub mod forward_auth;
pub mod introspection;
pub mod jwk;
pub mod revocation;
pub mod token;

mod challenge;
mod form;
