//! Requests as bytes, over one connection that stays open.

use std::time::{Duration, Instant};

use testing::Client;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::cluster::{ANSWER_TIMEOUT, Cluster};

/// A connection that stays open.
pub struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Wire {
    /// Connects to that instance.
    pub async fn to(cluster: &Cluster, instance: usize) -> std::io::Result<Self> {
        let address = cluster.instances[instance].url.trim_start_matches("http://");
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; 64 * 1024] })
    }

    /// Sends a whole request, and returns the status and duration of the answer.
    pub async fn ask(&mut self, request: &[u8]) -> std::io::Result<(u16, Duration)> {
        let begun = Instant::now();
        let status =
            timeout(ANSWER_TIMEOUT, self.exchange(request)).await.map_err(std::io::Error::other)??;
        Ok((status, begun.elapsed()))
    }

    async fn exchange(&mut self, request: &[u8]) -> std::io::Result<u16> {
        self.stream.write_all(request).await?;
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[filled..]).await?;
            filled += read;
            if read == 0 {
                return Err(std::io::Error::other("the answer ended early"));
            }
            let text = String::from_utf8_lossy(&self.buffer[..filled]);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok())
                .unwrap_or(0);
            if body.len() >= length {
                let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
                return status.ok_or_else(|| std::io::Error::other("no status"));
            }
        }
    }

    /// Sends part of a request, and nothing more.
    pub async fn begin(&mut self, part: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(part).await
    }
}

/// Returns a request that posts a form to that path.
pub fn form(path: &str, headers: &str, body: &str) -> Vec<u8> {
    body_of(path, &format!("{headers}Content-Type: application/x-www-form-urlencoded\r\n"), body)
}

/// Returns a request that posts JSON to that path.
pub fn json(path: &str, headers: &str, body: &str) -> Vec<u8> {
    body_of(path, &format!("{headers}Content-Type: application/json\r\n"), body)
}

fn body_of(path: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: agentidp.test\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
        .into()
}

/// Returns a GET request for that path.
pub fn get(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: agentidp.test\r\n{headers}\r\n").into()
}

/// Returns the `Authorization` header of HTTP Basic.
pub fn basic(client: &Client) -> String {
    format!("Authorization: {}\r\n", testing::basic_auth(&client.id, &client.secret))
}

/// Returns the `Authorization` header of a bearer token.
pub fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// Returns a request for a token.
pub fn token_request(client: &Client) -> Vec<u8> {
    form("/api/v1/token", &basic(client), "grant_type=client_credentials")
}
