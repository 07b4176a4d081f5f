//! Requests to other services, which a proxy asks about (forward authentication).
//!
//! A proxy may ask by any method and with anything after the path, because some proxies send the request itself with a
//! prefix. What it says in headers counts only if it is trusted.

use std::net::IpAddr;

use ipnet::IpNet;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use poem::http::{HeaderMap, Method, Uri};
use poem::{Body, Request};

use crate::error::{ApiError, Code};
use app::proofs::ProofTarget;

/// Path at which proxies ask.
pub const FORWARD_AUTH: &str = "/api/v1/token/forward-auth";
/// Headers of a trusted proxy that replace the query, each with the parameter that it stands for.
const REQUIREMENTS: [(&str, &str); 2] =
    [("x-auth-require-resource", "resource"), ("x-auth-require-scope", "scope")];

/// Returns whether a request to this path asks about another request.
pub fn asks(path: &str) -> bool {
    path.strip_prefix(FORWARD_AUTH).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns whether this peer is a trusted proxy.
pub fn is_trusted(peer: IpAddr, proxies: &[IpNet]) -> bool {
    proxies.iter().any(|network| network.contains(&peer.to_canonical()))
}

/// Returns method and URL of the request that a trusted proxy asks about; `None` if it describes none.
///
/// An incomplete or malformed description has an empty URL, so that no proof is for it.
pub fn original(headers: &HeaderMap) -> Option<(String, ProofTarget)> {
    if !["x-forwarded-method", "x-forwarded-uri"].iter().any(|name| headers.contains_key(*name)) {
        return None;
    }
    let (method, url) = described(headers).unwrap_or_default();
    Some((method, ProofTarget::Url(url)))
}

fn described(headers: &HeaderMap) -> Option<(String, String)> {
    let only = |name: &str| {
        let mut values = headers.get_all(name).iter();
        let only = values.next().filter(|_| values.next().is_none())?;
        only.to_str().ok()
    };
    let method = only("x-forwarded-method")?;
    let scheme = only("x-forwarded-proto").filter(|scheme| matches!(*scheme, "http" | "https"))?;
    let is_of_host =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']');
    let host = only("x-forwarded-host").filter(|host| !host.is_empty() && host.bytes().all(is_of_host))?;
    let path = only("x-forwarded-uri")?.split(['?', '#']).next().filter(|path| path.starts_with('/'))?;
    Some((method.to_owned(), format!("{scheme}://{host}{path}")))
}

/// Turns a request that asks into the one that the route takes: without body, method and suffix.
///
/// If a trusted proxy says in a header what it requires, nothing that the query says counts: it may be that of the
/// request that the proxy asks about. Returns an error if such a header is not text, or comes from another peer, which
/// may be a proxy that was to be trusted.
pub fn normalize(request: &mut Request, is_trusted: bool) -> Result<(), ApiError> {
    let mut said = Vec::new();
    for (header, parameter) in REQUIREMENTS {
        for value in request.headers().get_all(header) {
            if !is_trusted {
                let message = format!("{header} is for proxies, and this address is not in TRUSTED_PROXIES");
                return Err(ApiError::new(Code::ValidationError, message));
            }
            let value =
                value.to_str().map_err(|_| ApiError::invalid_request(format!("{header} is not text")))?;
            said.push(format!("{parameter}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
        }
    }
    let query = match said.is_empty() {
        true => request.uri().query().map(str::to_owned),
        false => Some(said.join("&")),
    };
    let uri = query.map_or_else(|| FORWARD_AUTH.to_owned(), |query| format!("{FORWARD_AUTH}?{query}"));
    let uri = Uri::try_from(uri).map_err(|_| ApiError::internal("cannot build a path"))?;
    request.set_method(Method::GET);
    *request.uri_mut() = uri;
    request.set_body(Body::empty());
    Ok(())
}
