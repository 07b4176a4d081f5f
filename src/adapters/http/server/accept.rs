//! The accept loop: number of connections, their deadlines and their graceful shutdown.
//!
//! HTTP/1.1 only. A request head may take 10 s and 32 KiB.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use metrics::gauge;
use poem::http::uri::Scheme;
use poem::http::{HeaderValue, StatusCode, header};
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Request};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::connection_deadline::{ConnectionDeadline, TimedStream};
use super::front::Front;
use crate::middleware::metrics::answered_without_route;
use app::shutdown::Shutdown;

/// Maximum number of open connections. Further connections wait in the listener's queue.
const MAX_CONNECTIONS: usize = 8_192;
/// Open files reserved for batch connections, keys and logs.
const OTHER_FILES: usize = 256;
/// Maximum size of a request head, in bytes.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// How long a connection may continue once shutdown has begun. A request has 5 s; a peer that sends or reads more
/// slowly is cut off.
const LAST_CALL: Duration = Duration::from_secs(8);
/// Delay after a failed accept, because no file descriptor may be free for another connection.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// Accepts and serves connections until `shutdown` is closing.
///
/// A connection may be idle for `idle` between requests. `pooled` is the number of connections to stores, which need
/// file descriptors too.
pub async fn serve(
    listener: TcpListener,
    front: Arc<Front>,
    shutdown: Arc<Shutdown>,
    idle: Duration,
    pooled: usize,
) {
    let places = Arc::new(Semaphore::new(places(most_files(), OTHER_FILES + pooled)));
    let open = gauge!("agentidp_http_connections");
    open.set(0);
    loop {
        let accepted = tokio::select! {
            () = shutdown.closing() => return,
            accepted = accept(&listener, &places) => accepted,
        };
        let (stream, peer, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                #[expect(clippy::disallowed_methods, reason = "no event signals that a file is free again")]
                let breath = tokio::time::sleep_until(tokio::time::Instant::now() + ACCEPT_BACKOFF);
                breath.await;
                continue;
            }
        };
        let (front, closing, open) = (front.clone(), shutdown.clone(), open.clone());
        open.increment(1);
        shutdown.tasks().spawn(async move {
            // Responses are written whole, so waiting to fill a segment would only delay them.
            let _ = stream.set_nodelay(true);
            let local = stream.local_addr().unwrap_or(peer);
            serve_connection(stream, (local, peer), front, closing, idle).await;
            open.decrement(1);
            drop(place);
        });
    }
}

/// Returns how many connections to accept if `most_files` may be open and `others` are reserved.
fn places(most_files: usize, others: usize) -> usize {
    let places = most_files.saturating_sub(others).clamp(1, MAX_CONNECTIONS);
    if places < MAX_CONNECTIONS {
        tracing::warn!(
            "at most {places} concurrent connections: raise the hard limit of open files (ulimit -n) to {}",
            MAX_CONNECTIONS + others
        );
    }
    places
}

/// Raises the soft limit of open files to the hard limit, and returns the limit.
#[cfg(target_os = "linux")]
fn most_files() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::debug!(%error, "cannot raise the limit of open files");
    }
    let most = getrlimit(Resource::Nofile).current;
    most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX)
}

#[cfg(not(target_os = "linux"))]
fn most_files() -> usize {
    usize::MAX
}

/// Returns the size of a request head, in bytes. hyper limits only the data that it has read but not yet
/// parsed, so a long head that arrives at once passes its check.
fn head_bytes<B>(request: &hyper::Request<B>) -> usize {
    let headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    request.uri().path_and_query().map_or(0, |path| path.as_str().len()) + headers.sum::<usize>()
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, place))
}

/// Serves one connection between these addresses, that of the service and that of the peer, until it ends or `shutdown` is
/// closing. It may be idle for `idle` between requests.
pub async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    (local, peer): (SocketAddr, SocketAddr),
    front: Arc<Front>,
    shutdown: Arc<Shutdown>,
    idle: Duration,
) {
    let deadline = ConnectionDeadline::new(idle);
    let handled = deadline.clone();
    let service = service_fn(move |request| {
        handled.request_started();
        let is_too_long = head_bytes(&request) > MAX_HEAD_BYTES;
        let addresses =
            (LocalAddr(Addr::SocketAddr(local)), RemoteAddr(Addr::SocketAddr(peer)), Scheme::HTTP);
        let request = Request::from((request, addresses.0, addresses.1, addresses.2));
        let (front, handled) = (front.clone(), handled.clone());
        async move {
            if is_too_long {
                let mut refusal = hyper::Response::new(poem::Body::empty().into());
                *refusal.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
                refusal.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                answered_without_route(request.method(), refusal.status());
                handled.response_sent();
                return Ok(refusal);
            }
            let response = front.handle(request, peer.ip()).await;
            handled.response_sent();
            Ok::<_, Infallible>(hyper::Response::<_>::from(response))
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(TimedStream::new(stream, deadline.clone())), service);
    tokio::pin!(connection);
    // An error of the connection needs no handling, because dropping the connection closes it. The connection is
    // polled before its deadline, because the deadline must see what happened on the connection.
    tokio::select! {
        biased;
        _ = connection.as_mut() => return,
        () = deadline.expired() => return,
        () = shutdown.closing() => connection.as_mut().graceful_shutdown(),
    }
    #[expect(clippy::disallowed_methods, reason = "what is waited for is that a peer does nothing")]
    let last_call = tokio::time::sleep_until(tokio::time::Instant::now() + LAST_CALL);
    tokio::select! {
        biased;
        _ = connection => {}
        () = deadline.expired() => {}
        () = last_call => {}
    }
}
