//! Limits the size of all responses that wait to be read.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use http_body_util::combinators::BoxBody;
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use poem::{Body, Response};

use domain::id::OrganizationId;

/// Size up to which a response does not count against [`ROOM_BYTES`]. Most responses are far smaller.
const SMALL_BYTES: u64 = 16 * 1024;
/// Maximum size of all larger responses that wait to be read, in bytes. A caller that requests many and reads none
/// must not exhaust the memory.
const ROOM_BYTES: u64 = 64 * 1024 * 1024;
/// Maximum share of one organization, and of all unauthenticated callers together, in bytes.
const SHARE_BYTES: u64 = ROOM_BYTES / 4;
/// Maximum share of one network of unauthenticated callers, in bytes.
const NETWORK_BYTES: u64 = SHARE_BYTES / 4;
/// Size of the chunks handed to a connection, in bytes. It buffers up to two of them, which are not counted.
const CHUNK_BYTES: usize = 16 * 1024;

type Inner = BoxBody<Bytes, std::io::Error>;

/// The caller that a response is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reader {
    /// An authenticated caller's organization.
    Organization(OrganizationId),
    /// The network of an unauthenticated caller.
    Network(IpAddr),
}

/// Counts the bytes of responses that wait to be read.
#[derive(Default)]
pub struct Answers(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    total: u64,
    /// Bytes for unauthenticated callers.
    unknown: u64,
    shares: HashMap<Reader, u64>,
}

impl Answers {
    /// Counts the body of a response until the connection has taken all of it.
    ///
    /// `None` if there is no room for the response, which is then dropped.
    pub fn hold(&self, mut response: Response, reader: Reader) -> Option<Response> {
        let body: Inner = response.take_body().into();
        let size = body.size_hint().exact().unwrap_or_default();
        if size <= SMALL_BYTES {
            response.set_body(Body::from(body));
            return Some(response);
        }
        let room = self.take(size, reader)?;
        response.set_body(Body::from(BoxBody::new(Held { inner: body, chunk: Bytes::new(), _room: room })));
        Some(response)
    }

    fn take(&self, bytes: u64, reader: Reader) -> Option<Room> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let share = waiting.shares.get(&reader).copied().unwrap_or_default();
        let has_room = match reader {
            Reader::Organization(_) => share + bytes <= SHARE_BYTES,
            Reader::Network(_) => share + bytes <= NETWORK_BYTES && waiting.unknown + bytes <= SHARE_BYTES,
        };
        if !has_room || waiting.total + bytes > ROOM_BYTES {
            return None;
        }
        waiting.total += bytes;
        if matches!(reader, Reader::Network(_)) {
            waiting.unknown += bytes;
        }
        waiting.shares.insert(reader, share + bytes);
        Some(Room { waiting: self.0.clone(), reader, bytes })
    }
}

/// The room that one response takes, released when this is dropped.
struct Room {
    waiting: Arc<Mutex<Waiting>>,
    reader: Reader,
    bytes: u64,
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.total -= self.bytes;
        if matches!(self.reader, Reader::Network(_)) {
            waiting.unknown -= self.bytes;
        }
        if let Some(share) = waiting.shares.get_mut(&self.reader) {
            *share -= self.bytes;
            if *share == 0 {
                waiting.shares.remove(&self.reader);
            }
        }
    }
}

/// A body that a connection takes in small chunks, as fast as they are read.
struct Held {
    inner: Inner,
    chunk: Bytes,
    _room: Room,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if self.chunk.is_empty() {
            match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.chunk = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            }
        }
        let length = self.chunk.len().min(CHUNK_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.chunk.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.chunk.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let inner = self.inner.size_hint().exact().unwrap_or_default();
        SizeHint::with_exact(self.chunk.len() as u64 + inner)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use uuid::Uuid;

    use super::*;

    const MEBIBYTE: usize = 1024 * 1024;

    fn reader(number: u128) -> Reader {
        Reader::Organization(OrganizationId(Uuid::from_u128(number)))
    }

    fn response(bytes: usize) -> Response {
        Response::builder().body(vec![b'x'; bytes])
    }

    #[tokio::test]
    async fn what_is_read_comes_whole_in_pieces_and_gives_its_room_back() {
        let answers = Answers::default();
        let mut held = answers.hold(response(MEBIBYTE + 7), reader(1)).expect("there is room");
        let mut body: Inner = held.take_body().into();
        assert_eq!(body.size_hint().exact(), Some(MEBIBYTE as u64 + 7));
        let mut read = 0;
        while let Some(frame) = body.frame().await {
            let piece = frame.expect("no error").into_data().expect("data").len();
            assert!(piece <= CHUNK_BYTES);
            read += piece;
        }
        assert_eq!(read, MEBIBYTE + 7);
        drop(body);
        let waiting = answers.0.lock().expect("no panic");
        assert_eq!((waiting.total, waiting.shares.len()), (0, 0));
    }

    #[tokio::test]
    async fn one_that_reads_nothing_takes_its_share_and_leaves_the_rest_to_others() {
        let answers = Answers::default();
        let mut unread = Vec::new();
        while let Some(one) = answers.hold(response(MEBIBYTE), reader(1)) {
            unread.push(one);
        }
        assert_eq!(unread.len() as u64, SHARE_BYTES / MEBIBYTE as u64);
        assert!(answers.hold(response(MEBIBYTE), reader(2)).is_some());
        assert!(answers.hold(response(usize::try_from(SMALL_BYTES).expect("small")), reader(1)).is_some());
        unread.pop();
        assert!(answers.hold(response(MEBIBYTE), reader(1)).is_some());
    }

    #[tokio::test]
    async fn unknown_callers_from_everywhere_leave_most_of_the_room_to_organizations() {
        let answers = Answers::default();
        let network = |n: u32| Reader::Network(IpAddr::from(n.to_be_bytes()));
        let of_one: Vec<_> = (0..9).filter_map(|_| answers.hold(response(MEBIBYTE), network(1))).collect();
        assert_eq!(of_one.len() as u64, NETWORK_BYTES / MEBIBYTE as u64);
        let others: Vec<_> = (2..99).filter_map(|n| answers.hold(response(MEBIBYTE), network(n))).collect();
        assert_eq!((of_one.len() + others.len()) as u64, SHARE_BYTES / MEBIBYTE as u64);
        for n in 0..3 {
            assert!(answers.hold(response(MEBIBYTE), reader(n)).is_some());
        }
        drop((of_one, others));
        assert_eq!(answers.0.lock().expect("no panic").unknown, 0);
    }

    #[tokio::test]
    async fn all_that_waits_is_bounded_however_many_ask() {
        let answers = Answers::default();
        let unread: Vec<_> = (0..200).filter_map(|n| answers.hold(response(MEBIBYTE), reader(n))).collect();
        assert_eq!(unread.len() as u64, ROOM_BYTES / MEBIBYTE as u64);
        drop(unread);
        assert!(answers.hold(response(MEBIBYTE), reader(1)).is_some());
    }
}
