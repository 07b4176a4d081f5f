//! One request for a JSON document.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use instruments::traceparent;
use serde_json::Value;
use shares::Place;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;

use super::address::AllowedAddresses;
use super::lifetime::lifetime_seconds;
use super::resolver::Resolver;
use super::settings::Tls;
use super::target::{Host, Target};

/// The largest body, in bytes.
const MAX_BODY_BYTES: usize = 256 * 1024;
/// The most bytes that are read from a connection, so that neither TLS nor HTTP can be used to send endless data that is no
/// part of a body.
const MAX_READ_BYTES: u64 = 1024 * 1024;
/// The largest status line with headers, in bytes.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// The most addresses of a host that are connected to, so that a host cannot make this service scan a network.
const MAX_ADDRESSES: usize = 8;
/// Time after which the next address is tried too (RFC 8305 section 5).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// Fetches JSON documents from servers that are allowed.
pub(crate) struct Fetcher {
    pub(crate) allowed: AllowedAddresses,
    pub(crate) resolver: Arc<dyn Resolver>,
    pub(crate) tls: Tls,
}

/// A JSON document, and for how long it may be cached.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) json: Value,
    pub(crate) lifetime_seconds: u32,
}

impl Fetcher {
    /// Fetches a document. Does not limit the time that this takes.
    ///
    /// The place is held until the look-up of the host has ended, even if this is dropped.
    pub(crate) async fn document(&self, url: &str, place: &Arc<Place>) -> Result<Document, FetchError> {
        let target = Target::parse(url, &self.allowed).map_err(FetchError::Url)?;
        let stream = connect(&self.addresses(&target, place).await?).await.map_err(FetchError::Connection)?;
        let (reader, writer) = stream.into_split();
        let stream = tokio::io::join(reader.take(MAX_READ_BYTES), writer);
        match target.server_name.clone() {
            None => exchange(stream, &target).await,
            Some(name) => {
                let stream = self.tls.connector().connect(name, stream).await.map_err(FetchError::Tls)?;
                exchange(stream, &target).await
            }
        }
    }

    /// Returns the addresses of the host that are allowed.
    ///
    /// The connection is made to one of these without another look-up, because a second one could answer differently.
    /// Addresses that are not allowed are left out: a host may have a private address for those in its network.
    async fn addresses(&self, target: &Target, place: &Arc<Place>) -> Result<Vec<SocketAddr>, FetchError> {
        let found = match &target.host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => {
                self.resolver.addresses(name, place.clone()).await.map_err(FetchError::LookUp)?
            }
        };
        if found.is_empty() {
            return Err(FetchError::LookUp(io::ErrorKind::NotFound.into()));
        }
        let canonical = found.iter().map(IpAddr::to_canonical);
        let allowed = canonical.filter(|address| target.allows(*address, &self.allowed));
        let addresses: Vec<_> =
            allowed.take(MAX_ADDRESSES).map(|address| SocketAddr::new(address, target.port)).collect();
        if addresses.is_empty() { Err(FetchError::Address) } else { Ok(addresses) }
    }
}

/// Connects to the first address that answers. Each has a head start on the next.
async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut addresses = addresses.iter();
    let mut attempts = FuturesUnordered::new();
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    loop {
        attempts.extend(addresses.next().map(TcpStream::connect));
        let finished = if addresses.as_slice().is_empty() {
            attempts.next().await
        } else {
            match tokio::time::timeout(NEXT_ADDRESS_AFTER, attempts.next()).await {
                Ok(finished) => finished,
                Err(_) => continue,
            }
        };
        match finished {
            Some(Ok(stream)) => return Ok(stream),
            Some(Err(error)) => failure = error,
            None => return Err(failure),
        }
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    target: &Target,
) -> Result<Document, FetchError> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEAD_BYTES);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(FetchError::Http)?;
    let mut request = Request::get(hyper::Uri::from(target.path.clone()));
    if let Some(trace) = traceparent() {
        request = request.header("traceparent", trace);
    }
    let request = request
        .header(HOST, target.authority.as_str())
        .header(ACCEPT, "application/json, */*;q=0.1")
        // Some servers refuse requests without it.
        .header(USER_AGENT, "agentidp")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| FetchError::Url("must have a host that fits into a header"))?;
    let answer = async move { document_of(sender.send_request(request).await?).await };
    let mut answer = pin!(answer);
    // The connection is not a task of its own, so that it ends with the wait for the answer.
    tokio::select! {
        biased;
        document = &mut answer => document,
        _ = connection => answer.await,
    }
}

async fn document_of(answer: Response<Incoming>) -> Result<Document, FetchError> {
    if answer.status() != StatusCode::OK {
        return Err(FetchError::Status(answer.status()));
    }
    let lifetime_seconds = lifetime_seconds(answer.headers());
    let mut incoming = answer.into_body();
    let mut body = Vec::new();
    while let Some(frame) = incoming.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if body.len() + data.len() > MAX_BODY_BYTES {
            return Err(FetchError::TooLarge);
        }
        // Copied, because a chunk of one byte would keep a buffer and its own record.
        body.extend_from_slice(&data);
    }
    // The cause is left out, because it could contain a part of the body.
    let json = serde_json::from_slice(&body).map_err(|_| FetchError::NoJson)?;
    Ok(Document { json, lifetime_seconds })
}

/// Reason that keys could not be fetched. Its text may contain what a server sent, but no part of a body.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("the URL {0}")]
    Url(&'static str),
    #[error("no address of the host is allowed")]
    Address,
    #[error("the host cannot be looked up")]
    LookUp(#[source] io::Error),
    #[error("cannot connect")]
    Connection(#[source] io::Error),
    #[error("TLS failed")]
    Tls(#[source] io::Error),
    #[error("time-out")]
    TimeOut,
    #[error("no HTTP answer")]
    Http(#[from] hyper::Error),
    #[error("status {0}")]
    Status(StatusCode),
    #[error("the body is too large")]
    TooLarge,
    #[error("the body is not JSON")]
    NoJson,
    #[error("the body is not an OpenID configuration")]
    NoConfiguration,
    #[error("the body is not a JWK set of at most 100 keys")]
    NoSet,
    #[error("the configuration states another issuer")]
    OtherIssuer,
}

impl FetchError {
    /// Returns the sentence for the operator of the issuer.
    ///
    /// Failures that would show more of the network, such as whether a port is open, have one sentence in common.
    pub(crate) fn sentence(&self) -> &'static str {
        match self {
            Self::LookUp(_) | Self::Connection(_) | Self::Tls(_) | Self::TimeOut => UNREACHABLE,
            // A connection that breaks, also because the server refuses TLS after the handshake.
            Self::Http(error) if !error.is_parse() && !error.is_parse_too_large() => UNREACHABLE,
            Self::Url(_) | Self::Address => NOT_ALLOWED,
            Self::Http(_)
            | Self::Status(_)
            | Self::TooLarge
            | Self::NoJson
            | Self::NoConfiguration
            | Self::NoSet => WRONG_ANSWER,
            Self::OtherIssuer => OTHER_ISSUER,
        }
    }
}

pub(crate) const UNREACHABLE: &str = "The server sent no complete answer within 3 seconds over a trusted connection. Check the \
    host name, the port, the certificate (ISSUER_CA_FILE adds authorities) and the network.";
pub(crate) const NOT_ALLOWED: &str = "The URL, or the address of its host, is not allowed. Use https and a globally routable \
    address, or add the address to ISSUER_PRIVATE_NETWORKS.";
pub(crate) const WRONG_ANSWER: &str = "The answer is not a JWK set, or for discovery not an OpenID configuration. The status \
    must be 200 without redirect, and the body uncompressed JSON of at most 256 KB and 100 keys.";
pub(crate) const OTHER_ISSUER: &str = "The OpenID configuration states another issuer. Create the trusted issuer with exactly \
    the issuer that the configuration states.";
