//! Load generator: persistent connections with one thread each, and the latency of their answers.

use std::io::{Error, Read as _, Result, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Maximum wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum duration of a load without a duration of its own.
const LONGEST: Duration = Duration::from_secs(600);

/// A persistent connection.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer, with its body.
pub struct Answer<'a> {
    /// HTTP status code.
    pub status: u16,
    /// Response body.
    pub body: &'a [u8],
}

impl Connection {
    /// Opens a connection.
    pub fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self { stream, buffer: vec![0; 64 * 1024] })
    }

    /// Opens this many connections.
    pub fn several(address: SocketAddr, number: usize) -> Result<Vec<Self>> {
        (0..number).map(|_| Self::open(address)).collect()
    }

    /// Sends the request and reads its complete answer.
    pub fn exchange(&mut self, request: &[u8]) -> Result<Answer<'_>> {
        self.stream.write_all(request)?;
        let mut filled = 0;
        loop {
            match self.stream.read(&mut self.buffer[filled..])? {
                0 => return Err(Error::other("an answer ended early, or is too large")),
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

/// Returns the status, and where the body begins and ends; `None` until the head is complete.
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

/// Builds a request in its wire format.
pub fn request(line: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    format!("{line} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// A request with its expected answer.
#[derive(Clone)]
pub struct Exchange {
    /// The request in its wire format.
    pub request: Vec<u8>,
    /// Expected status code.
    pub status: u16,
    /// Expected beginning of the body.
    pub right: &'static str,
}

impl Exchange {
    /// Creates an exchange that expects status 200.
    pub fn ok(request: Vec<u8>, right: &'static str) -> Self {
        Self { request, status: 200, right }
    }
}

/// The requests to send.
pub struct Load {
    /// Name of the load in tables and errors.
    pub name: &'static str,
    /// Requests in the order in which they are sent.
    pub exchanges: Vec<Exchange>,
}

/// How long a load is sent.
#[derive(Clone, Copy)]
pub enum Until {
    /// Repeatedly, for this duration.
    End(Duration),
    /// Each request once.
    Done,
    /// Repeatedly for this duration, at this many requests per second.
    ///
    /// Each request waits for its scheduled time, from which its latency is measured.
    Paced(Duration, f64),
}

impl Load {
    /// Sends the load on all connections and returns the latencies, shortest first.
    pub fn run(&self, connections: &mut [Connection], until: Until) -> Result<Vec<Duration>> {
        let began = Instant::now();
        let (number, places) = (connections.len(), self.exchanges.len() / connections.len());
        let mut all = std::thread::scope(|scope| {
            let send = |(place, connection)| {
                scope.spawn(move || match until {
                    Until::End(time) => {
                        let exchanges = self.exchanges.iter().cycle().skip(place * places);
                        self.send(connection, exchanges, |_| Instant::now(), began + time)
                    }
                    Until::Done => {
                        let exchanges = self.exchanges.iter().skip(place).step_by(number);
                        self.send(connection, exchanges, |_| Instant::now(), began + LONGEST)
                    }
                    Until::Paced(time, rate) => {
                        let turn = |count: u32| {
                            began
                                + Duration::from_secs_f64(
                                    (place as f64 + f64::from(count) * number as f64) / rate,
                                )
                        };
                        let exchanges = self.exchanges.iter().cycle().skip(place * places);
                        self.send(connection, exchanges, turn, began + time)
                    }
                })
            };
            let threads: Vec<_> = connections.iter_mut().enumerate().map(send).collect();
            let mut all = Vec::new();
            for thread in threads {
                all.append(&mut thread.join().expect("a sender does not panic")?);
            }
            Ok::<_, Error>(all)
        })?;
        all.sort_unstable();
        Ok(all)
    }

    fn send<'a>(
        &self,
        connection: &mut Connection,
        exchanges: impl Iterator<Item = &'a Exchange>,
        turn: impl Fn(u32) -> Instant,
        end: Instant,
    ) -> Result<Vec<Duration>> {
        let mut times = Vec::new();
        for (count, exchange) in (0..).zip(exchanges) {
            let began = turn(count);
            if began >= end {
                break;
            }
            while let Some(early) =
                began.checked_duration_since(Instant::now()).filter(|early| !early.is_zero())
            {
                std::thread::park_timeout(early);
            }
            let answer = connection.exchange(&exchange.request)?;
            times.push(began.elapsed());
            if answer.status != exchange.status || !answer.body.starts_with(exchange.right.as_bytes()) {
                let body = String::from_utf8_lossy(answer.body);
                return Err(Error::other(format!("{}: answered {} {body}", self.name, answer.status)));
            }
        }
        Ok(times)
    }
}
