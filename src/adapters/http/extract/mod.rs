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

pub use fields::{Field, Fields, one_of, text};
pub(crate) use input::input;
pub use input::{Declared, Input, described};
pub use json::JsonBody;
pub use query::{QUERY, Query, decode, decode_with_nul};

use poem::Request;
use serde_json::{Map, Value};

use self::context::HttpContext;
use crate::error::{ApiError, FieldError};

/// Reads an input from the fields of a request, in which these errors were found already.
///
/// Returns an [`ApiError`] with all errors of the input if it has any.
fn read<T: Input>(
    request: &Request,
    fields: Map<String, Value>,
    field_errors: Vec<FieldError>,
) -> Result<T::Value, ApiError> {
    let now = HttpContext::of(request)?.received_at;
    let value = T::read_all(Fields::new(fields, field_errors, now));
    value.map_err(|field_errors| ApiError::validation(&field_errors))
}
