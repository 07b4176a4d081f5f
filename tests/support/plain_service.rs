//! A whole service in this process, in memory and without sockets: a request goes in, the answer comes out, as values or as
//! the bytes of a connection.
//!
//! Runs are repeatable, because the clock stands still and IDs are counted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agentidp::adapters::crypto::generate_pem;
use agentidp::adapters::http::{Front, HttpApi, HttpConfig, serve_connection};
use agentidp::adapters::memory::{Memory, MemoryRateLimiter};
use agentidp::app::Stores;
use agentidp::app::bootstrap::Administrator;
use agentidp::app::request_context::RequestContext;
use agentidp::app::shutdown::Shutdown;
use agentidp::app::token::TokenRequest;
use agentidp::app::{App, Ports};
use agentidp::domain::audit::Origin;
use agentidp::domain::jwk::KeyType;
use agentidp::domain::time::Timestamp;
use agentidp::ports::clock::Clock;
use agentidp::ports::ids::Ids;
use poem::{Request, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

use crate::{PlainHasher, plain_core, plain_ports, presented};

/// Most bytes of a connection that wait to be read.
const CONNECTION_BYTES: usize = 64 * 1024;
/// Longer than any run, because the clock of the runtime skips ahead.
const IDLE: Duration = Duration::from_hours(24 * 365);
/// Instant at which everything happens, in milliseconds since the epoch.
const NOW: i64 = 1_800_000_000_000;

/// A clock that stands still, and IDs that count up.
#[derive(Default)]
struct Repeatable(AtomicU64);

impl Clock for Repeatable {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(NOW)
    }
}

impl Ids for Repeatable {
    fn next(&self) -> Uuid {
        let count = self.0.fetch_add(1, Ordering::Relaxed);
        let mut rest = [0; 10];
        rest[2..].copy_from_slice(&count.to_be_bytes());
        uuid::Builder::from_unix_timestamp_millis(NOW.unsigned_abs(), &rest).into_uuid()
    }
}

/// A service that runs until it is dropped.
pub struct PlainService {
    /// The use cases, called without HTTP.
    pub app: Arc<App>,
    /// The first administrator.
    pub administrator: Administrator,
    api: Arc<HttpApi>,
    shutdown: Arc<Shutdown>,
    runtime: Runtime,
}

/// A connection to a [`PlainService`].
pub struct PlainConnection<'a> {
    service: &'a PlainService,
    stream: DuplexStream,
    answer: Vec<u8>,
}

impl PlainService {
    /// Starts a service in memory.
    pub fn start() -> Self {
        // A paused runtime skips ahead to the next timer, so that timers do not delay the run.
        let runtime =
            Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        let pem = generate_pem(KeyType::Ed25519).expect("a key");
        let repeatable = Arc::new(Repeatable::default());
        let limiter = Arc::new(MemoryRateLimiter::new(repeatable.clone()));
        let stores = Stores::of(&Arc::new(Memory::default()), limiter);
        let ports = plain_ports(Arc::new(PlainHasher), &stores, repeatable.clone(), &pem);
        let app = Arc::new(plain_core(&Ports { ids: repeatable, ..ports }));
        let administrator = runtime.block_on(app.bootstrap.first_administrator()).expect("the first");
        let trusted_proxies = vec!["0.0.0.0/0".parse().expect("a network")];
        let config = HttpConfig { trusted_proxies, ..HttpConfig::default() };
        let shutdown = Arc::new(Shutdown::default());
        let api = Arc::new(HttpApi::new(app.clone(), shutdown.clone(), config));
        Self { app, administrator, api, shutdown, runtime }
    }

    /// Opens a connection from a fixed address.
    pub fn connect(&self) -> PlainConnection<'_> {
        let (stream, served) = tokio::io::duplex(CONNECTION_BYTES);
        let front = Arc::new(Front::new(|| "request".to_owned()));
        front.open(self.api.clone());
        let address = |last| SocketAddr::from(([192, 0, 2, last], 3_000));
        let served = serve_connection(served, (address(2), address(1)), front, self.shutdown.clone(), IDLE);
        self.runtime.spawn(served);
        PlainConnection { service: self, stream, answer: Vec::with_capacity(CONNECTION_BYTES) }
    }

    /// Returns the answer to a request from a fixed address.
    pub fn answer(&self, request: Request) -> Response {
        self.runtime.block_on(self.api.respond(request, [192, 0, 2, 1].into()))
    }

    /// Issues a token to the administrator.
    pub fn token(&self) -> String {
        let Administrator { client_id, client_secret, .. } = &self.administrator;
        let credentials = presented(*client_id, client_secret);
        let context = RequestContext::new(String::new(), Origin::NONE);
        let request =
            TokenRequest { grant_type: Some("client_credentials".to_owned()), ..TokenRequest::default() };
        let issued = self.runtime.block_on(self.app.tokens.issue(&context, &credentials, &request));
        issued.expect("a token").token.expose().to_owned()
    }
}

impl PlainConnection<'_> {
    /// Sends a request, and returns the status of its answer. Panics if the answer has no `Content-Length`.
    pub fn status_of(&mut self, request: &[u8]) -> u16 {
        let (stream, answer) = (&mut self.stream, &mut self.answer);
        answer.clear();
        self.service.runtime.block_on(async {
            stream.write_all(request).await.expect("written");
            loop {
                assert_ne!(stream.read_buf(answer).await.expect("read"), 0, "the connection is open");
                let Some(head) = answer.windows(4).position(|end| end == b"\r\n\r\n") else { continue };
                let head_text = str::from_utf8(&answer[..head]).expect("text");
                let length = head_text.lines().find_map(|line| line.strip_prefix("content-length: "));
                let length: usize = length.expect("a length").parse().expect("a number");
                if answer.len() == head + 4 + length {
                    return head_text[9..12].parse().expect("a status");
                }
            }
        })
    }
}
