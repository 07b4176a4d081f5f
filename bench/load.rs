//! Requests over connections that stay open, one thread for each, and how long their answers take.

use std::io::{Error, Read as _, Result, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// The longest to wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection that stays open.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer, with its body.
pub struct Answer<'a> {
    pub status: u16,
    pub body: &'a [u8],
}

impl Connection {
    /// Connects.
    pub fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, buffer: vec![0; 64 * 1024] })
    }

    /// Connects so many times.
    pub fn several(address: SocketAddr, number: usize) -> Result<Vec<Self>> {
        (0..number).map(|_| Self::open(address)).collect()
    }

    /// Sends the request and reads its answer whole.
    pub fn exchange(&mut self, request: &[u8]) -> Result<Answer<'_>> {
        self.stream.write_all(request)?;
        let mut filled = 0;
        loop {
            match self.stream.read(&mut self.buffer[filled..])? {
                0 => return Err(Error::other("an answer broke off, or is too large")),
                read => filled += read,
            }
            if let Some((status, body, end)) = head(&self.buffer[..filled])?
                && filled >= end
            {
                return Ok(Answer { status, body: &self.buffer[body..end] });
            }
        }
    }
}

/// The status, where the body begins and where it ends, once the head is there.
fn head(bytes: &[u8]) -> Result<Option<(u16, usize, usize)>> {
    let Some(body) = bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4) else {
        return Ok(None);
    };
    let unreadable = || Error::other("an answer has no status or no length");
    let text = str::from_utf8(&bytes[..body]).map_err(Error::other)?;
    let status = text.get(9..12).and_then(|digits| digits.parse().ok()).ok_or_else(unreadable)?;
    let length = text
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, length)| length.parse::<usize>().ok())
        .ok_or_else(unreadable)?;
    Ok(Some((status, body, body + length)))
}

/// A request as it goes over the wire.
pub fn request(line: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    format!("{line} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// What to send, round and round, and how each right answer of 200 begins.
pub struct Load {
    pub name: &'static str,
    pub requests: Vec<Vec<u8>>,
    pub right: &'static [u8],
}

impl Load {
    /// Sends on all connections for that time; how long each answer took, shortest first.
    pub fn run(&self, connections: &mut [Connection], time: Duration) -> Result<Vec<Duration>> {
        let end = Instant::now() + time;
        let places = self.requests.len() / connections.len();
        let mut all = std::thread::scope(|scope| {
            let threads: Vec<_> = connections
                .iter_mut()
                .enumerate()
                .map(|(place, connection)| scope.spawn(move || self.send(connection, place * places, end)))
                .collect();
            let mut all = Vec::new();
            for thread in threads {
                all.append(&mut thread.join().expect("a sender does not panic")?);
            }
            Ok::<_, Error>(all)
        })?;
        all.sort_unstable();
        Ok(all)
    }

    fn send(&self, connection: &mut Connection, from: usize, end: Instant) -> Result<Vec<Duration>> {
        let mut times = Vec::new();
        for request in self.requests.iter().cycle().skip(from) {
            let began = Instant::now();
            if began >= end {
                break;
            }
            let answer = connection.exchange(request)?;
            times.push(began.elapsed());
            if answer.status != 200 || !answer.body.starts_with(self.right) {
                let body = String::from_utf8_lossy(answer.body);
                return Err(Error::other(format!("{}: answered {} {body}", self.name, answer.status)));
            }
        }
        Ok(times)
    }
}
