//! Parts of the head of a request.

use poem::http::header::AsHeaderName;
use poem::http::{HeaderMap, Uri};

use super::error::ApiError;

/// Returns a path and a query as a URI.
pub fn uri_of(path: &str, query: Option<&str>) -> Result<Uri, ApiError> {
    let query = query.map_or(String::new(), |query| format!("?{query}"));
    format!("{path}{query}").parse().map_err(|_| ApiError::internal("cannot build a path"))
}

/// Returns the value of a header that is text and is sent once; `None` for any other.
pub fn sent_once(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())?.to_str().ok()
}
