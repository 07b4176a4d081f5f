//! Servers on loopback that answer as a test says.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

/// Bytes that a server sends.
#[derive(Clone)]
pub struct Answer {
    bytes: Vec<u8>,
    then: Then,
    after: Duration,
}

/// Behaviour of a server after it has sent an answer.
#[derive(Clone)]
pub enum Then {
    Close,
    Hold,
    Repeat(&'static [u8]),
    /// Sends one byte a second.
    Drip,
}

impl Answer {
    pub fn raw(bytes: impl AsRef<[u8]>) -> Self {
        Self { bytes: bytes.as_ref().to_vec(), then: Then::Close, after: Duration::ZERO }
    }

    /// Answers 200 with this body.
    pub fn ok(body: impl AsRef<[u8]>) -> Self {
        Self::with(&[], body)
    }

    pub fn json(json: &Value) -> Self {
        Self::ok(json.to_string())
    }

    /// Answers 200 with these headers and this body.
    pub fn with(headers: &[&str], body: impl AsRef<[u8]>) -> Self {
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let length = body.as_ref().len();
        let mut bytes = format!("HTTP/1.1 200 OK\r\n{headers}content-length: {length}\r\n\r\n").into_bytes();
        bytes.extend_from_slice(body.as_ref());
        Self::raw(bytes)
    }

    pub fn then(self, then: Then) -> Self {
        Self { then, ..self }
    }

    /// Waits before it answers.
    pub fn after(self, after: Duration) -> Self {
        Self { after, ..self }
    }

    async fn send(&self, stream: &mut (impl AsyncWrite + Unpin), sent: &AtomicUsize) -> std::io::Result<()> {
        pause(self.after).await;
        stream.write_all(&self.bytes).await?;
        stream.flush().await?;
        sent.fetch_add(self.bytes.len(), Ordering::SeqCst);
        match self.then {
            Then::Close => stream.shutdown().await,
            Then::Hold => std::future::pending().await,
            Then::Repeat(bytes) => loop {
                stream.write_all(bytes).await?;
                sent.fetch_add(bytes.len(), Ordering::SeqCst);
            },
            Then::Drip => loop {
                pause(Duration::from_secs(1)).await;
                stream.write_all(b" ").await?;
                stream.flush().await?;
            },
        }
    }
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        let mut ticks = tokio::time::interval(time);
        ticks.tick().await;
        ticks.tick().await;
    }
}

type Answers = dyn Fn(&str) -> Answer + Send + Sync;

struct Shared {
    answers: Mutex<Arc<Answers>>,
    heads: Mutex<Vec<String>>,
    connections: AtomicUsize,
    sent: AtomicUsize,
    gate: Semaphore,
    speaks_first: bool,
}

/// A server. It ends with the runtime of the test.
pub struct Server {
    pub port: u16,
    shared: Arc<Shared>,
}

impl Server {
    /// Starts a server without TLS that gives the same answer to every request.
    pub async fn start(answer: Answer) -> Self {
        Self::start_on("127.0.0.1", 0, None, false, answer).await
    }

    pub async fn start_with_tls(tls: TlsAcceptor, answer: Answer) -> Self {
        Self::start_on("127.0.0.1", 0, Some(tls), false, answer).await
    }

    pub async fn start_on(
        address: &str,
        port: u16,
        tls: Option<TlsAcceptor>,
        speaks_first: bool,
        answer: Answer,
    ) -> Self {
        let address: IpAddr = address.parse().expect("an address");
        let listener = TcpListener::bind((address, port)).await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let shared = Arc::new(Shared {
            answers: Mutex::new(Arc::new(move |_| answer.clone())),
            heads: Mutex::default(),
            connections: AtomicUsize::new(0),
            sent: AtomicUsize::new(0),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            speaks_first,
        });
        let server = Self { port, shared: shared.clone() };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let (shared, tls) = (shared.clone(), tls.clone());
                tokio::spawn(async move {
                    // A client may end the connection at any time.
                    let _ = match tls {
                        None => serve(stream, &shared).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, &shared).await,
                            Err(error) => Err(error),
                        },
                    };
                });
            }
        });
        server
    }

    /// Answers by the head of the request from now on.
    pub fn answer_by(&self, answers: impl Fn(&str) -> Answer + Send + Sync + 'static) {
        *self.shared.answers.lock().expect("not poisoned") = Arc::new(answers);
    }

    pub fn answer(&self, answer: Answer) {
        self.answer_by(move |_| answer.clone());
    }

    /// Answers no request until it is opened.
    pub fn close(&self) {
        self.shared.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    pub fn open(&self) {
        self.shared.gate.add_permits(1_000);
    }

    /// Returns the first lines of the requests with their headers.
    pub fn requests(&self) -> Vec<String> {
        self.shared.heads.lock().expect("not poisoned").clone()
    }

    pub fn count(&self) -> usize {
        self.requests().len()
    }

    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Returns the bytes that were sent, or are in buffers of the system.
    pub fn sent(&self) -> usize {
        self.shared.sent.load(Ordering::SeqCst)
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/keys", self.port)
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, shared: &Shared) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !shared.speaks_first && !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).expect("text");
    shared.heads.lock().expect("not poisoned").push(head.clone());
    let _permit = shared.gate.acquire().await.expect("open");
    let answers = shared.answers.lock().expect("not poisoned").clone();
    answers(&head).send(&mut stream, &shared.sent).await
}
