//! Log lines of failed requests, bounded: an outage must not fill the log.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use poem::http::StatusCode;
use tokio::time::Instant;

/// Lines logged for each status in one window.
const MAX_LINES: u32 = 10;
/// Length of a window. Its further failures are counted and logged as one line when it ends.
const WINDOW: Duration = Duration::from_secs(10);

/// Logs requests that failed because of the server.
///
/// Windows are separate for each status, so that an outage (503) hides no bug (500).
#[derive(Clone, Default)]
pub struct FailureLog(Arc<Mutex<HashMap<StatusCode, Window>>>);

/// The failures of one status since the window began.
struct Window {
    ends: Instant,
    logged: u32,
    suppressed: u64,
}

impl FailureLog {
    /// Logs a failure, or counts it if its window has its lines.
    pub(super) fn record(&self, request_id: &str, status: StatusCode, cause: &str) {
        let now = Instant::now();
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let window = windows
            .entry(status)
            .and_modify(|window| {
                // The line of a window that ended with suppressed failures is still to come, and ends it.
                if window.ends <= now && window.suppressed == 0 {
                    *window = Window::starting(now);
                }
            })
            .or_insert_with(|| Window::starting(now));
        if window.logged < MAX_LINES {
            window.logged += 1;
            tracing::error!(request_id, status = status.as_u16(), cause, "request failed");
            return;
        }
        window.suppressed += 1;
        if window.suppressed == 1 {
            tokio::spawn(self.clone().log_suppressed(status, window.ends));
        }
    }

    async fn log_suppressed(self, status: StatusCode, ends: Instant) {
        #[expect(clippy::disallowed_methods, reason = "the end of a window is a matter of time only")]
        tokio::time::sleep_until(ends).await;
        let window = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&status);
        let suppressed = window.map_or(0, |window| window.suppressed);
        tracing::error!(
            status = status.as_u16(),
            suppressed,
            "more requests failed; the lines above have causes"
        );
    }
}

impl Window {
    fn starting(now: Instant) -> Self {
        Self { ends: now + WINDOW, logged: 0, suppressed: 0 }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tracing::subscriber::set_default;

    use super::*;

    /// Keeps what is logged.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        fn take(&self) -> Vec<String> {
            let text =
                String::from_utf8(std::mem::take(&mut self.0.lock().expect("no panic"))).expect("text");
            text.lines().map(str::to_owned).collect()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_logs_ten_failures_a_window_and_counts_the_others() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
        let _default = set_default(subscriber.finish());
        let log = FailureLog::default();
        for (window, failures) in [(0, 1_000), (1, 10), (2, 11)] {
            for _ in 0..failures {
                log.record("one", StatusCode::SERVICE_UNAVAILABLE, "PostgreSQL is unavailable");
            }
            log.record("two", StatusCode::INTERNAL_SERVER_ERROR, "a bug");
            let logged = lines.take();
            let of = |words: &str| logged.iter().filter(|line| line.contains(words)).count();
            assert_eq!((logged.len(), of("PostgreSQL"), of("a bug")), (11, 10, 1), "{window}: {logged:?}");
            tokio::time::advance(WINDOW).await;
            tokio::task::yield_now().await;
            let logged = lines.take();
            let suppressed = format!("suppressed={}", failures - 10);
            assert_eq!(logged.len(), usize::from(failures > 10), "{window}: {logged:?}");
            assert!(logged.iter().all(|line| line.contains(&suppressed)), "{window}: {logged:?}");
        }
    }
}
