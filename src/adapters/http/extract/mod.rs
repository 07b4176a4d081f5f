//! Strict reading of requests: every error is found, and all are reported at once.
//!
//! JSON bodies and query strings are read by the same [`Fields`]; each type of input states once how it is
//! read ([`Input`]) and once how it is described (its OpenAPI schema).

pub mod context;
mod fields;
mod json;
pub mod media;
mod query;
mod strict_json;
pub mod wire;

pub use fields::{Fields, Input, one_of, text};
pub use json::JsonBody;
pub use query::{QUERY, Query, decode};
