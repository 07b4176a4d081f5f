//! Files that are part of the program.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use hyper::body::Bytes;
use poem::endpoint::make_sync;
use poem::http::{HeaderMap, HeaderName, StatusCode, header};
use poem::{Endpoint, Response};

/// Headers of every file, in addition to its media type and its content security policy.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    // A browser asks each time, and gets 304 unless the program is another version.
    (header::CACHE_CONTROL, "no-cache"),
];

/// Serves a file of this media type, under this content security policy.
pub fn file(media: String, policy: String, body: Bytes) -> impl Endpoint<Output = Response> {
    let tag = tag_of(&body);
    make_sync(move |request| {
        let headers =
            HEADERS.iter().fold(Response::builder(), |response, (name, value)| response.header(name, *value));
        let response = headers.header(header::CONTENT_SECURITY_POLICY, &policy).header(header::ETAG, &tag);
        if is_known(request.headers(), &tag) {
            return response.status(StatusCode::NOT_MODIFIED).finish();
        }
        response.content_type(&media).body(body.clone())
    })
}

/// Redirects to another path of the service (RFC 9110 section 15.4.9).
pub fn redirect(to: &'static str) -> impl Endpoint<Output = Response> {
    make_sync(move |_| {
        Response::builder().status(StatusCode::PERMANENT_REDIRECT).header(header::LOCATION, to).finish()
    })
}

/// Returns the entity tag of a file (RFC 9110 section 8.8.3). It differs if the contents do.
fn tag_of(body: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

/// Returns whether the caller has the file with this tag already (RFC 9110 section 13.1.2).
///
/// A proxy that compresses makes the tag a weak one, which is compared as if it were strong.
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let lists = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim).any(|known| known.trim_start_matches("W/") == tag)
}
