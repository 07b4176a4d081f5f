//! What strangers send, read strictly: every error is found, and all are named at once.
//!
//! JSON bodies and query strings are read by the same [`Fields`]; each type of input says once how it is
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
