//! Hostile requests as rows of tables: the bytes sent over raw sockets, and the expected answer.
//!
//! Every answer is also checked for signs of a failure: it must not be a 5xx, an error must be JSON without
//! internal details, it must have a request ID, and the connection must be closed or usable for another
//! request. All rows are tried before any failure is reported.

mod assertions;
mod bearer;
mod client_authentication;
mod delegation;
mod dpop;
mod federation;
mod fixtures;
mod form;
mod http;
mod introspection;
mod json;
mod lists;
mod races;
mod tenancy;
mod wire;
