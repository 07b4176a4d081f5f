//! Requests to other services, which a proxy asks about (forward authentication).
//!
//! A proxy may ask by any method and with anything after the path, because some proxies send the request itself with a
//! prefix. What it says in headers counts only if it is trusted.

use std::net::IpAddr;

use ipnet::IpNet;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use poem::http::{HeaderMap, Method};
use poem::{Body, Request};

use crate::error::{ApiError, Code};
use crate::head::{sent_once, uri_of};
use app::proofs::ProofTarget;

/// Path at which proxies ask.
pub const FORWARD_AUTH: &str = "/api/v1/token/forward-auth";
/// Headers of a trusted proxy that replace the query, each with the parameter that it stands for.
const REQUIREMENTS: [(&str, &str); 2] =
    [("x-auth-require-resource", "resource"), ("x-auth-require-scope", "scope")];

/// Returns whether this peer is a trusted proxy.
pub fn is_trusted(peer: IpAddr, proxies: &[IpNet]) -> bool {
    proxies.iter().any(|network| network.contains(&peer.to_canonical()))
}

/// The question whether another request may pass.
#[derive(Clone, Copy)]
pub struct Question {
    /// Whether the peer that asks is a trusted proxy.
    is_trusted: bool,
}

impl Question {
    /// Returns the question of this peer, by the path of its request; `None` for a request that is to this service.
    pub fn of(path: &str, peer: IpAddr, proxies: &[IpNet]) -> Option<Self> {
        let suffix = path.strip_prefix(FORWARD_AUTH)?;
        let asks = suffix.is_empty() || suffix.starts_with('/');
        asks.then(|| Self { is_trusted: is_trusted(peer, proxies) })
    }

    /// Returns method and URL of the request that a trusted proxy asks about; `None` if it describes none.
    ///
    /// An incomplete or malformed description has an empty URL, so that no proof is for it.
    pub fn original(self, headers: &HeaderMap) -> Option<(String, ProofTarget)> {
        let is_described =
            ["x-forwarded-method", "x-forwarded-uri"].iter().any(|name| headers.contains_key(*name));
        if !self.is_trusted || !is_described {
            return None;
        }
        let (method, url) = described(headers).unwrap_or_default();
        Some((method, ProofTarget::Url(url)))
    }

    /// Turns the request that asks into the one that the route takes: without body, method and suffix.
    ///
    /// If a trusted proxy says in a header what it requires, nothing that the query says counts: it may be that of the
    /// request that the proxy asks about. Returns an error if such a header is not text, or comes from another peer, which
    /// may be a proxy that was to be trusted.
    pub fn normalize(self, request: &mut Request) -> Result<(), ApiError> {
        let refused = |message: String| ApiError::new(Code::ValidationError, message);
        let mut said = Vec::new();
        for (header, parameter) in REQUIREMENTS {
            for value in request.headers().get_all(header) {
                if !self.is_trusted {
                    let whose = "is for proxies, and this address is not in TRUSTED_PROXIES";
                    return Err(refused(format!("{header} {whose}")));
                }
                let value = value.to_str().map_err(|_| refused(format!("{header} is not text")))?;
                said.push(format!("{parameter}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
            }
        }
        let required = (!said.is_empty()).then(|| said.join("&"));
        let query = required.as_deref().or_else(|| request.uri().query());
        *request.uri_mut() = uri_of(FORWARD_AUTH, query)?;
        request.set_method(Method::GET);
        request.set_body(Body::empty());
        Ok(())
    }
}

fn described(headers: &HeaderMap) -> Option<(String, String)> {
    let only = |name| sent_once(headers, name);
    let method = only("x-forwarded-method")?;
    let scheme = only("x-forwarded-proto").filter(|scheme| matches!(*scheme, "http" | "https"))?;
    let is_of_host =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']');
    let host = only("x-forwarded-host").filter(|host| !host.is_empty() && host.bytes().all(is_of_host))?;
    let path = only("x-forwarded-uri")?.split(['?', '#']).next().filter(|path| path.starts_with('/'))?;
    Some((method.to_owned(), format!("{scheme}://{host}{path}")))
}
