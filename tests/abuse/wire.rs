//! Table rows, and the socket that their requests are sent over.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::fixtures::Fixtures;

/// How long to wait for an answer; a later one counts as missing.
const HANG: Duration = Duration::from_secs(20);
/// Text that no error may contain, because it reveals internal details.
const INSIDE: [&str; 9] =
    ["panicked", "src/", ".rs:", "select ", "insert into", "postgres", "redis", "<html", "stack backtrace"];

/// A row of a table: the request, and the expected answer.
pub struct Row {
    pub name: String,
    pub request: Vec<u8>,
    pub expected: Expected,
}

/// The expected answer.
#[derive(Clone, Copy, Debug)]
pub enum Expected {
    /// That status and that error code, from `error` (OAuth) or `code`.
    Refused(u16, &'static str),
    /// A success.
    Done,
    /// Exactly `{"active":false}`.
    Dead,
    /// Any of these statuses.
    AnyOf(&'static [u16]),
    /// A 4xx, or the end of the connection without an answer.
    /// The request violates HTTP itself.
    Closed,
}

/// An answer, read completely.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// Tries every row, and reports all that failed.
pub async fn try_all(fixtures: &Fixtures, rows: Vec<Row>) {
    assert!(!rows.is_empty());
    let mut wrong = Vec::new();
    for row in &rows {
        if let Err(fault) = try_one(fixtures, row).await {
            wrong.push(format!("{}: {fault}", row.name));
        }
    }
    println!("{} rows", rows.len());
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

async fn try_one(fixtures: &Fixtures, row: &Row) -> Result<(), String> {
    let mut stream = TcpStream::connect(fixtures.address()).await.map_err(|error| error.to_string())?;
    // The service reads no further than a request that it refused, so the write may fail.
    let _ = timeout(HANG, stream.write_all(&row.request)).await.map_err(|_| "it is not read")?;
    let answer = match timeout(HANG, read(&mut stream)).await.map_err(|_| "it hangs")? {
        Some(answer) => answer,
        None if matches!(row.expected, Expected::Closed) => return Ok(()),
        None => return Err("it was closed without an answer".to_owned()),
    };
    let described = || format!("{} {}", answer.status, answer.body.chars().take(300).collect::<String>());
    if let Expected::Closed = row.expected {
        let is_refused = (400..500).contains(&answer.status);
        return if is_refused { Ok(()) } else { Err(format!("it was taken: {}", described())) };
    }
    holds_everywhere(&answer).map_err(|fault| format!("{fault}: {}", described()))?;
    let code =
        answer.json()["error"].as_str().or(answer.json()["code"].as_str()).unwrap_or_default().to_owned();
    let is_right = match row.expected {
        Expected::Refused(status, wanted) => answer.status == status && code == wanted,
        Expected::Done => (200..300).contains(&answer.status),
        Expected::Dead => answer.status == 200 && answer.body == r#"{"active":false}"#,
        Expected::AnyOf(statuses) => statuses.contains(&answer.status),
        Expected::Closed => true,
    };
    if !is_right {
        return Err(format!("{:?} was expected, and came {}", row.expected, described()));
    }
    usable(&mut stream).await
}

/// Checks what must hold for every answer.
fn holds_everywhere(answer: &Answer) -> Result<(), &'static str> {
    if answer.status >= 500 {
        return Err("it broke");
    }
    if answer.header("x-request-id").is_none() {
        return Err("it has no id");
    }
    if answer.status >= 400 && !answer.json().is_object() {
        return Err("it is no JSON");
    }
    let text = answer.body.to_lowercase();
    if answer.status >= 400 && INSIDE.iter().any(|word| text.contains(word)) {
        return Err("it reveals the inside");
    }
    let is_oauth = answer.json()["error"].is_string();
    if is_oauth && answer.header("cache-control") != Some("no-store") {
        return Err("it may be stored");
    }
    let challenge = answer.header("www-authenticate").unwrap_or_default();
    if answer.status == 401 && !is_oauth && !challenge.starts_with("Bearer") && !challenge.starts_with("DPoP")
    {
        return Err("it does not say how to authenticate");
    }
    Ok(())
}

/// Checks that the connection is closed or accepts another request.
async fn usable(stream: &mut TcpStream) -> Result<(), String> {
    let health = b"GET /health HTTP/1.1\r\nHost: agentidp.test\r\n\r\n";
    if stream.write_all(health).await.is_err() {
        return Ok(());
    }
    match timeout(HANG, read(stream)).await {
        Ok(Some(answer)) if answer.status != 200 => {
            Err(format!("the next request was answered {}", answer.status))
        }
        Ok(_) => Ok(()),
        Err(_) => Err("the connection hangs".to_owned()),
    }
}

/// Sends a request on a separate connection, and returns the answer.
pub async fn ask(address: std::net::SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(request).await.expect("sent");
    timeout(HANG, read(&mut stream)).await.expect("in time").expect("an answer")
}

/// Reads the next answer; `None` if the connection ends before it.
async fn read(stream: &mut TcpStream) -> Option<Answer> {
    let mut bytes = Vec::new();
    let mut part = vec![0; 16 * 1024];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let header = |name: &str| {
                let lines = head.lines().filter_map(|line| line.split_once(": "));
                lines
                    .filter(|(found, _)| found.eq_ignore_ascii_case(name))
                    .map(|(_, value)| value.to_owned())
                    .next()
            };
            let length = header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            if body.len() >= length {
                let status = head.split(' ').nth(1)?.parse().ok()?;
                return Some(Answer { status, head: head.to_owned(), body: body[..length].to_owned() });
            }
        }
        match stream.read(&mut part).await {
            Ok(read @ 1..) => bytes.extend_from_slice(&part[..read]),
            _ => return None,
        }
    }
}

/// Returns a request with these headers and this body.
pub fn request(line: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{line} HTTP/1.1\r\nHost: agentidp.test\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() || line.starts_with("POST") || line.starts_with("PATCH") {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    [text.as_bytes(), body].concat()
}

pub const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");
pub const JSON: (&str, &str) = ("Content-Type", "application/json");
