//! Connection deadlines: 10 s for a request head, the configured idle time, 10 s for an unread response.
//!
//! The last deadline starts when a write stalls, because the peer does not read and the buffers in between are full.
//!
//! hyper has one timeout for both head and idle time. Therefore this module observes the bytes in transit: the
//! first byte of a request starts the head deadline, the call of the handler ends it, and the handler's response
//! starts the idle deadline. If a head begins while the previous request is handled, its time counts from its
//! first byte after that response.

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// Maximum time for a request head to arrive.
const HEAD: Duration = Duration::from_secs(10);
/// Maximum time that written data may wait for the peer to read.
const UNREAD: Duration = Duration::from_secs(10);
/// No deadline: while a request is handled, the deadline of the request applies.
const NONE: u64 = u64::MAX;

/// The deadline of a connection, which moves with the events on the connection.
pub struct ConnectionDeadline {
    opened: Instant,
    /// Maximum idle time between two requests.
    idle: Duration,
    /// Milliseconds since `opened`; the lowest bit is 1 for a head and 0 for idle time.
    deadline: AtomicU64,
    /// Milliseconds since `opened` by which the peer must have read something; [`NONE`] if no write is stalled.
    unread: AtomicU64,
}

impl ConnectionDeadline {
    /// Creates the deadline of a connection that opens now and may be idle for this long.
    pub fn new(idle: Duration) -> Arc<Self> {
        let (deadline, unread) = (AtomicU64::new(NONE), AtomicU64::new(NONE));
        let deadline = Self { opened: Instant::now(), idle, deadline, unread };
        deadline.response_sent();
        Arc::new(deadline)
    }

    /// Suspends the deadline, because a request is now handled.
    pub fn request_started(&self) {
        self.deadline.store(NONE, Ordering::Release);
    }

    /// Starts the idle deadline, because the last request is answered.
    pub fn response_sent(&self) {
        self.deadline.store(self.millis_until(self.idle) & !1, Ordering::Release);
    }

    /// Starts the head deadline. Bytes of a body, or of a head that has already begun, do not change it.
    fn bytes_received(&self) {
        let now = self.deadline.load(Ordering::Acquire);
        if now != NONE && now & 1 == 0 {
            let head = self.millis_until(HEAD) | 1;
            // This fails only if the handler changed the deadline meanwhile, and that change is newer.
            let _ = self.deadline.compare_exchange(now, head, Ordering::AcqRel, Ordering::Acquire);
        }
    }

    /// Starts the deadline for reading, because a write stalled.
    fn stalled(&self) {
        let deadline = self.millis_until(UNREAD);
        // Of several consecutive stalls, the first counts.
        let _ = self.unread.compare_exchange(NONE, deadline, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Clears the deadline for reading, because all written data was sent.
    fn flushed(&self) {
        self.unread.store(NONE, Ordering::Release);
    }

    fn millis_until(&self, time: Duration) -> u64 {
        u64::try_from((self.opened.elapsed() + time).as_millis()).unwrap_or(NONE - 1)
    }

    /// Waits until the deadline has passed.
    ///
    /// Must be polled whenever the connection was, because a deadline that moves closer does not wake the task.
    pub async fn expired(&self) {
        #[expect(clippy::disallowed_methods, reason = "what is waited for is that nothing happens")]
        let mut alarm = pin!(tokio::time::sleep_until(self.opened + self.idle));
        poll_fn(|context| {
            loop {
                let (watched, unread) =
                    (self.deadline.load(Ordering::Acquire), self.unread.load(Ordering::Acquire));
                let deadline = match watched.min(unread) {
                    NONE => return Poll::Pending,
                    deadline => self.opened + Duration::from_millis(deadline),
                };
                // A deadline that moved further away is checked again when the timer fires.
                if deadline < alarm.deadline() {
                    alarm.as_mut().reset(deadline);
                }
                ready!(alarm.as_mut().poll(context));
                if deadline <= Instant::now() {
                    return Poll::Ready(());
                }
                alarm.as_mut().reset(deadline);
            }
        })
        .await;
    }
}

/// A stream that reports its reads and writes to a [`ConnectionDeadline`].
pub struct TimedStream<T> {
    inner: T,
    deadline: Arc<ConnectionDeadline>,
}

impl<T> TimedStream<T> {
    /// Wraps a stream so that it updates this deadline.
    pub const fn new(inner: T, deadline: Arc<ConnectionDeadline>) -> Self {
        Self { inner, deadline }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for TimedStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        if buffer.filled().len() > filled {
            self.deadline.bytes_received();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> TimedStream<T> {
    /// Records the outcome of a write, which stalls if the peer does not read.
    fn note<R>(&self, outcome: Poll<R>) -> Poll<R> {
        if outcome.is_pending() {
            self.deadline.stalled();
        }
        outcome
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for TimedStream<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.note(outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_flush(context))?;
        self.deadline.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(context, bytes);
        self.note(outcome)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    async fn expires_within(deadline: &ConnectionDeadline, time: Duration) -> bool {
        tokio::time::timeout(time, deadline.expired()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_has_its_idle_time() {
        let deadline = ConnectionDeadline::new(MINUTE);
        assert!(!expires_within(&deadline, Duration::from_secs(59)).await);
        assert!(expires_within(&deadline, Duration::from_secs(2)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_ten_seconds_however_its_bytes_trickle() {
        let deadline = ConnectionDeadline::new(MINUTE);
        tokio::time::advance(Duration::from_secs(30)).await;
        for _ in 0..9 {
            deadline.bytes_received();
            assert!(!expires_within(&deadline, Duration::from_secs(1)).await);
        }
        deadline.bytes_received();
        assert!(expires_within(&deadline, Duration::from_millis(1_100)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_begins_late_in_a_silence_has_its_ten_seconds_and_no_more() {
        let deadline = ConnectionDeadline::new(MINUTE);
        let mut expired = pin!(deadline.expired());
        let began = Instant::now();
        assert!(tokio::time::timeout(Duration::from_secs(30), &mut expired).await.is_err());
        deadline.bytes_received();
        expired.await;
        assert_eq!(began.elapsed().as_secs(), 40);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_nothing_of_its_answer_has_ten_seconds() {
        let (mut theirs, ours) = tokio::io::duplex(8);
        let deadline = ConnectionDeadline::new(MINUTE);
        let mut connection = TimedStream::new(ours, deadline.clone());
        connection.write_all(b"answered").await.expect("there is room");
        connection.flush().await.expect("sent");
        assert!(!expires_within(&deadline, Duration::from_secs(30)).await);
        let stalled = tokio::time::timeout(Duration::from_secs(9), connection.write_all(b", but more"));
        assert!(stalled.await.is_err() && !expires_within(&deadline, Duration::from_millis(500)).await);
        assert!(expires_within(&deadline, Duration::from_secs(1)).await, "nothing was read");
        theirs.read_exact(&mut [0; 8]).await.expect("there is something");
        connection.write_all(b"the rest").await.expect("there is room again");
        connection.flush().await.expect("sent");
        assert!(!expires_within(&deadline, Duration::from_secs(15)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_handled_stops_the_watch_and_its_answer_starts_it_anew() {
        let deadline = ConnectionDeadline::new(MINUTE);
        deadline.bytes_received();
        deadline.request_started();
        deadline.bytes_received();
        assert!(!expires_within(&deadline, Duration::from_secs(600)).await);
        deadline.response_sent();
        assert!(!expires_within(&deadline, Duration::from_secs(59)).await);
        assert!(expires_within(&deadline, Duration::from_secs(12)).await);
    }
}
