//! What the service promises over HTTP, told as scenarios.
//!
//! Each test starts a service of its own, with a clock that it moves by hand. Every answer is held against
//! the OpenAPI document: a status that is not described there fails the test that got it.

mod agents;
mod audit;
mod client_assertions;
mod command_line;
mod credentials;
mod discovery;
mod document;
mod ecosystem;
mod http;
mod introspection;
mod organizations;
mod own_stores;
mod rate;
mod readme;
mod revocation;
mod scopes;
mod server;
#[path = "../servers/mod.rs"]
mod servers;
mod standby;
mod stores;
mod tenancy;
mod token;
mod usage;
