//! Cross-origin requests: allowed for exactly the configured origins, by default for none. Any origin may read the
//! public metadata and keys.

use poem::http::{HeaderMap, HeaderName, HeaderValue, Method, header};

/// Headers of the response to a preflight request.
const PREFLIGHT: [(HeaderName, &str); 3] = [
    (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, POST, PATCH, DELETE"),
    (
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        "authorization, content-type, dpop, mcp-protocol-version, x-request-id",
    ),
    (header::ACCESS_CONTROL_MAX_AGE, "600"),
];
/// Response headers that scripts of an allowed origin may read.
const READABLE: &str = "location, retry-after, www-authenticate, x-ratelimit-limit, x-ratelimit-remaining, \
                        x-ratelimit-reset, x-request-id";

/// Returns the origin that a response to this request may name; `None` if scripts of the request's origin may not read
/// it.
///
/// An origin is allowed if it equals a configured one byte for byte.
pub fn allowed_origin(headers: &HeaderMap, path: &str, allowed: &[String]) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    if allowed.iter().any(|one| one.as_bytes() == origin.as_bytes()) {
        return Some(origin.clone());
    }
    path.starts_with("/.well-known/").then(|| HeaderValue::from_static("*"))
}

/// Returns whether the request is a preflight request of a browser.
pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Adds the headers of a response to a request from an allowed origin.
pub fn allow(origin: &HeaderValue, is_preflight: bool, into: &mut HeaderMap) {
    into.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    if is_preflight {
        for (name, value) in PREFLIGHT {
            into.insert(name, HeaderValue::from_static(value));
        }
    } else {
        into.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(READABLE));
    }
}
