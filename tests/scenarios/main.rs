//! Scenarios of what the service promises over HTTP.
//!
//! Each test starts its own service, with a clock that the test moves. Every answer is checked against the
//! OpenAPI document: a status that the document does not list for the operation fails the test.

mod agents;
mod audit;
#[cfg(feature = "book")]
mod book;
mod changes;
mod client;
mod client_assertions;
mod command_line;
mod console;
mod copy;
mod credentials;
mod data_file;
mod delegation;
mod discovery;
mod document;
mod dpop;
mod ecosystem;
mod federation;
mod forward_auth;
mod http;
mod introspection;
mod issuer_keys;
mod migration;
mod organizations;
mod own_stores;
mod pages;
mod pooler;
mod proxies;
mod rate;
mod readme;
mod recipes;
mod refusals;
mod revocation;
mod scenarios;
mod scopes;
mod standby;
mod store_tls;
mod stores;
mod tenancy;
mod token;
mod usage;
