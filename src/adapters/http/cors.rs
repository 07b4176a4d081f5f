//! Cross-origin requests: allowed to exactly the origins that are named, and to none by default.

use poem::http::{HeaderMap, HeaderName, HeaderValue, Method, header};

/// What a preflight is told.
const TOLD: [(HeaderName, &str); 3] = [
    (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, POST, PATCH, DELETE"),
    (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type, x-request-id"),
    (header::ACCESS_CONTROL_MAX_AGE, "600"),
];
/// Which headers of an answer the scripts of an allowed origin may read.
const READABLE: &str = "location, retry-after, www-authenticate, x-ratelimit-limit, x-ratelimit-remaining, \
                        x-ratelimit-reset, x-request-id";

/// The origin of this request, if it is one of those allowed, letter by letter.
pub fn allowed_origin<'a>(headers: &'a HeaderMap, allowed: &[String]) -> Option<&'a HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    allowed.iter().any(|one| one.as_bytes() == origin.as_bytes()).then_some(origin)
}

/// Whether a browser asks before it sends.
pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// What the answer to a request of an allowed origin says.
pub fn allow(origin: &HeaderValue, is_preflight: bool, into: &mut HeaderMap) {
    into.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    if is_preflight {
        for (name, value) in TOLD {
            into.insert(name, HeaderValue::from_static(value));
        }
    } else {
        into.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(READABLE));
    }
}
