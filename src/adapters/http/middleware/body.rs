//! Request bodies: the maximum size and time of one body, and the memory that all may use at once.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use poem::Body;
use poem::http::{HeaderMap, header};
use tokio::io::AsyncReadExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::error::{ApiError, Code, FieldError};

/// Maximum size of a body, in bytes.
const MAX_BYTES: usize = 1024 * 1024;
/// Maximum time for a body to arrive.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Size up to which a body does not count against [`ROOM_BYTES`]. Few bodies are larger.
const SMALL_BYTES: usize = 16 * 1024;
/// Maximum size of all larger bodies together, in bytes. A caller that sends many bodies and withholds the end of each
/// must not exhaust the memory.
const ROOM_BYTES: usize = 64 * 1024 * 1024;
/// Unit in which room is reserved, in bytes.
const UNIT_BYTES: usize = 1024;

/// Reads request bodies within these limits.
pub struct BodyReader(Arc<Semaphore>);

impl Default for BodyReader {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ROOM_BYTES / UNIT_BYTES)))
    }
}

impl BodyReader {
    /// Returns the bytes of a body, and the room reserved for them until it is dropped.
    ///
    /// The room is `None` for a small body. Returns an error if the body is too large, too late or incomplete, or
    /// if there is no room.
    pub async fn read(
        &self,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<(Vec<u8>, Option<OwnedSemaphorePermit>), ApiError> {
        let announced =
            headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        match timeout(TIMEOUT, self.receive(announced, body)).await {
            Ok(received) => received,
            Err(_) => {
                Err(ApiError::validation(&[FieldError::new("body", "did not arrive within 30 seconds")]))
            }
        }
    }

    async fn receive(
        &self,
        announced: Option<usize>,
        body: Body,
    ) -> Result<(Vec<u8>, Option<OwnedSemaphorePermit>), ApiError> {
        let too_large = || ApiError::new(Code::PayloadTooLarge, "the body must be at most 1 MiB");
        let broke_off = |_: io::Error| ApiError::validation(&[FieldError::new("body", "ended early")]);
        let most = announced.unwrap_or(MAX_BYTES);
        if most > MAX_BYTES {
            return Err(too_large());
        }
        let mut body = body.into_async_read();
        let mut bytes = Vec::with_capacity(announced.map_or(0, |bytes| bytes.min(SMALL_BYTES) + 1));
        (&mut body).take(SMALL_BYTES as u64 + 1).read_to_end(&mut bytes).await.map_err(broke_off)?;
        if bytes.len() <= SMALL_BYTES {
            return Ok((bytes, None));
        }
        let units = u32::try_from(most.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        let room = self.0.clone().try_acquire_many_owned(units).map_err(|_| {
            let message = "too many large request bodies at once; no change was made";
            ApiError::new(Code::ServiceUnavailable, message).with_retry_after(1)
        })?;
        let rest = MAX_BYTES + 1 - bytes.len();
        bytes.reserve_exact(most.saturating_sub(bytes.len()) + 1);
        body.take(rest as u64).read_to_end(&mut bytes).await.map_err(broke_off)?;
        if bytes.len() > MAX_BYTES { Err(too_large()) } else { Ok((bytes, Some(room))) }
    }
}

#[cfg(test)]
mod tests {
    use poem::http::StatusCode;
    use tokio::io::AsyncWriteExt as _;
    use tokio::task::JoinSet;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_waited_for_thirty_seconds() {
        let (theirs, ours) = tokio::io::duplex(64);
        let began = Instant::now();
        let outcome = BodyReader::default().read(&HeaderMap::new(), Body::from_async_read(ours)).await;
        assert_eq!(outcome.expect_err("refused").status, StatusCode::BAD_REQUEST);
        assert_eq!(began.elapsed().as_secs(), 30);
        drop(theirs);
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_that_keep_back_their_ends_leave_room_for_small_ones_and_go() {
        let bodies = Arc::new(BodyReader::default());
        let mut senders = Vec::new();
        let mut waiting = JoinSet::new();
        let began = Instant::now();
        let mut refused = 0;
        for _ in 0..2 * ROOM_BYTES / MAX_BYTES {
            let (mut theirs, ours) = tokio::io::duplex(2 * SMALL_BYTES);
            theirs.write_all(&[b' '; SMALL_BYTES + 1]).await.expect("taken");
            let bodies = bodies.clone();
            waiting.spawn(async move { bodies.read(&HeaderMap::new(), Body::from_async_read(ours)).await });
            senders.push(theirs);
        }
        while refused < ROOM_BYTES / MAX_BYTES {
            let outcome = waiting.join_next().await.expect("one").expect("no panic");
            assert_eq!(outcome.expect_err("no room").status, StatusCode::SERVICE_UNAVAILABLE);
            refused += 1;
        }
        let small = bodies.read(&HeaderMap::new(), Body::from(vec![b' '; SMALL_BYTES])).await;
        assert_eq!(small.expect("read").0.len(), SMALL_BYTES);
        let large = || Body::from(vec![b' '; MAX_BYTES]);
        let outcome = bodies.read(&HeaderMap::new(), large()).await;
        assert_eq!(outcome.expect_err("no room").status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(began.elapsed().as_secs(), 0);

        while let Some(outcome) = waiting.join_next().await {
            let refusal = outcome.expect("no panic").expect_err("its end did not come");
            assert_eq!(refusal.status, StatusCode::BAD_REQUEST);
        }
        let (bytes, room) = bodies.read(&HeaderMap::new(), large()).await.expect("there is room again");
        assert!(bytes.len() == MAX_BYTES && room.is_some());
        let more = Body::from(vec![b' '; MAX_BYTES + 1]);
        let outcome = bodies.read(&HeaderMap::new(), more).await;
        assert_eq!(outcome.expect_err("too large").status, StatusCode::PAYLOAD_TOO_LARGE);
    }
}
