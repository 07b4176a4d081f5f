//! Per-request context, as the transport knows it.

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use ipnet::IpNet;
use poem::http::{HeaderMap, HeaderValue, Method, header};
use poem::{FromRequest, Request, RequestBody, Result};

use crate::error::ApiError;
use crate::head::sent_once;
use crate::middleware::forwarded::{Question, is_trusted};
use app::App;
use app::proofs::{PresentedProof, ProofTarget};
use app::request_context::RequestContext;
use app::shutdown::Shutdown;
use domain::audit::{MAX_USER_AGENT_BYTES, Origin, TraceId};
use domain::time::Timestamp;

/// Facts about a request that are known before any of it is checked.
pub struct HttpContext {
    /// The context that the use cases receive.
    pub request: Arc<RequestContext>,
    /// The time at which the request arrived.
    pub received_at: Timestamp,
    /// The use cases.
    pub app: Arc<App>,
    /// The shutdown state of the service.
    pub shutdown: Arc<Shutdown>,
}

impl HttpContext {
    /// Creates the context of the request with this ID from this peer.
    pub fn new(
        app: &Arc<App>,
        shutdown: &Arc<Shutdown>,
        id: String,
        request: RequestHead<'_>,
        peer: IpAddr,
        proxies: &[IpNet],
    ) -> Self {
        let headers = request.headers;
        let origin = Origin {
            address: Some(client_address(headers, peer, proxies)),
            user_agent: headers.get(header::USER_AGENT).map(|value| readable(value.as_bytes())),
            trace: request.trace,
        };
        Self {
            request: Arc::new(RequestContext::new(id, origin).with_proof(request.proof())),
            received_at: app.now(),
            app: app.clone(),
            shutdown: shutdown.clone(),
        }
    }

    /// Returns the context that the pipeline attached to the request.
    ///
    /// Returns an internal error if the request has no context.
    pub fn of(request: &Request) -> Result<&Arc<Self>, ApiError> {
        request.extensions().get().ok_or_else(|| ApiError::internal("a request has no context"))
    }
}

/// Method, path, headers and trace of a request.
#[derive(Clone, Copy)]
pub struct RequestHead<'a> {
    pub method: &'a Method,
    /// The path without that of the issuer.
    pub path: &'a str,
    pub headers: &'a HeaderMap,
    /// The trace that the request is part of; `None` if it is part of none.
    pub trace: Option<TraceId>,
    /// The question of a proxy that the request is; `None` for any other.
    pub question: Option<Question>,
}

impl RequestHead<'_> {
    /// Returns the proof of possession that comes with the request; `None` without the header `DPoP`.
    fn proof(self) -> Option<PresentedProof> {
        if !self.headers.contains_key("dpop") {
            return None;
        }
        let asked_about = self.question.and_then(|question| question.original(self.headers));
        let own = || (self.method.as_str().to_owned(), ProofTarget::Path(self.path.to_owned()));
        let (method, target) = asked_about.unwrap_or_else(own);
        Some(PresentedProof { header: sent_once(self.headers, "dpop").map(str::to_owned), method, target })
    }
}

/// Extractor of the context, for handlers.
pub struct Ctx(Arc<HttpContext>);

impl Deref for Ctx {
    type Target = HttpContext;

    fn deref(&self) -> &HttpContext {
        &self.0
    }
}

impl<'a> FromRequest<'a> for Ctx {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> Result<Self> {
        Ok(Self(HttpContext::of(request)?.clone()))
    }
}

/// Returns the caller's own request ID; `None` unless it is sent once, as 1 to 64 safe characters.
pub fn given_id(headers: &HeaderMap) -> Option<String> {
    let only = sent_once(headers, "x-request-id")?;
    let fits = (1..=64).contains(&only.len())
        && only.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    fits.then(|| only.to_owned())
}

/// Returns valid text without control characters, of at most 512 bytes.
fn readable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut kept: String = text.chars().filter(|letter| !letter.is_control()).collect();
    kept.truncate(kept.floor_char_boundary(MAX_USER_AGENT_BYTES));
    kept
}

/// Returns the client's address: the peer, or the address that trusted proxies report.
///
/// The latter is the right-most untrusted `X-Forwarded-For` hop: the header is read from the right as long as
/// each hop is a trusted proxy, and an entry that is not an address ends the walk. No other header is used,
/// and no header from a peer that is not trusted.
fn client_address(headers: &HeaderMap, peer: IpAddr, proxies: &[IpNet]) -> IpAddr {
    let mut client = peer.to_canonical();
    let lines: Vec<&[u8]> = headers.get_all("x-forwarded-for").iter().map(HeaderValue::as_bytes).collect();
    let hops = lines.iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b','));
    for hop in hops {
        if !is_trusted(client, proxies) {
            break;
        }
        let Some(address) = std::str::from_utf8(hop).ok().and_then(|hop| address_of(hop.trim())) else {
            break;
        };
        client = address;
    }
    client
}

/// Parses an address, with or without a port.
fn address_of(hop: &str) -> Option<IpAddr> {
    let address = hop.parse::<IpAddr>().ok();
    let address = address.or_else(|| hop.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip()))?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client(peer: &str, lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", line.parse().expect("a header value"));
        }
        let proxies = ["10.0.0.0/8".parse().expect("a network"), "::1/128".parse().expect("a network")];
        client_address(&headers, peer.parse().expect("an address"), &proxies).to_string()
    }

    #[test]
    fn forwarded_addresses_count_only_from_trusted_hops_right_to_left() {
        assert_eq!(client("192.0.2.9", &["198.51.100.1"]), "192.0.2.9", "an untrusted peer");
        assert_eq!(client("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(client("10.0.0.1", &["203.0.113.7, 198.51.100.1, 10.0.0.2"]), "198.51.100.1");
        assert_eq!(client("10.0.0.1", &["203.0.113.7", "198.51.100.1"]), "198.51.100.1", "two headers");
        assert_eq!(client("10.0.0.1", &["198.51.100.1, evil"]), "10.0.0.1", "garbage ends the walk");
        assert_eq!(client("10.0.0.1", &["198.51.100.1, 999.1.1.1, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(client("::ffff:10.0.0.1", &["[2001:db8::1]:80"]), "2001:db8::1");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    proptest! {
        #[test]
        fn a_user_agent_is_always_short_readable_text(bytes: Vec<u8>) {
            let text = readable(&bytes);
            prop_assert!(text.len() <= MAX_USER_AGENT_BYTES && !text.chars().any(char::is_control));
        }

        #[test]
        fn no_forwarded_header_moves_an_untrusted_peer(line in "[ -~]{0,60}") {
            prop_assert_eq!(client("192.0.2.9", &[&line]), "192.0.2.9");
        }
    }
}
