//! Strict reading of requests: every error is found, and all are reported at once.
//!
//! JSON bodies and query strings are read by the same [`Fields`]; each type of input states once how it is
//! read ([`Input`]) and once how it is described (its OpenAPI schema).

mod fields;
mod form;
mod json;
mod media;
mod query;
mod strict_json;

pub use fields::{FieldError, Fields, Input, one_of, text};
pub use form::{Form, FormFields};
pub use json::JsonBody;
pub use query::{QUERY, Query, decode};
