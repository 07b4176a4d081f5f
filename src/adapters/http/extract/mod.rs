//! Strict reading of requests: every error is found, and all are reported at once.
//!
//! JSON bodies and query strings are read by the same [`Fields`]. An input declares each of its fields once
//! ([`input!`]); the type of a field has its schema and its reader ([`Field`]).

pub mod context;
mod fields;
mod input;
mod json;
pub mod media;
mod query;
mod strict_json;
pub mod values;
pub mod wire;

pub use fields::{Fields, one_of, text};
pub(crate) use input::input;
pub use input::{Declared, Field, Input, described};
pub use json::JsonBody;
pub use query::{QUERY, Query, decode};
