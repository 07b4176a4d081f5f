//! What strangers send, as rows of tables: bytes over raw sockets, and what must come back.
//!
//! Of every answer it is asked beside that that nothing broke: no 5xx, JSON and no text of the inside, an id, and a
//! connection that can be used again or was closed. All rows are tried before any failure is told.

mod assertions;
mod bearer;
mod client_authentication;
mod fixtures;
mod form;
mod http;
mod introspection;
mod json;
mod lists;
mod races;
#[path = "../servers/mod.rs"]
mod servers;
mod tenancy;
mod wire;
