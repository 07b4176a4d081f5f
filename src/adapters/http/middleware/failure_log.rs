//! Log lines of failed requests, bounded: an outage must not fill the log.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use poem::http::StatusCode;
use tokio::time::Instant;

/// Lines logged in one window.
const MAX_LINES: u32 = 10;
/// Length of a window. Its further failures are counted and logged as one line when it ends.
const WINDOW: Duration = Duration::from_secs(10);

/// Logs requests that failed because of the server.
///
/// Each failure has its line, because the response promises one under its request ID. Only of unavailable stores (503)
/// a window has a bounded number, because an outage fails every request for the same reason.
#[derive(Clone, Default)]
pub struct FailureLog(Arc<Mutex<Option<Window>>>);

/// The unavailable responses since the window began.
struct Window {
    ends: Instant,
    logged: u32,
    suppressed: u64,
}

impl FailureLog {
    /// Logs a failure, or counts it once the window's limit of lines is reached.
    pub fn record(&self, request_id: &str, status: StatusCode, cause: &str) {
        if status != StatusCode::SERVICE_UNAVAILABLE || self.has_line() {
            tracing::error!(request_id, status = status.as_u16(), cause, "request failed");
        }
    }

    /// Returns whether the window has a line left for one more failure; else counts the failure.
    fn has_line(&self) -> bool {
        let now = Instant::now();
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let window = match &mut *current {
            // A window with suppressed failures ends with their line.
            Some(window) if now < window.ends || window.suppressed > 0 => window,
            ended => ended.insert(Window { ends: now + WINDOW, logged: 0, suppressed: 0 }),
        };
        if window.logged < MAX_LINES {
            window.logged += 1;
            return true;
        }
        window.suppressed += 1;
        if window.suppressed == 1 {
            tokio::spawn(self.clone().log_suppressed(window.ends));
        }
        false
    }

    /// Logs how many failures of the window have no line. A process that ends before loses this line.
    async fn log_suppressed(self, ends: Instant) {
        #[expect(clippy::disallowed_methods, reason = "the end of a window is a matter of time only")]
        tokio::time::sleep_until(ends).await;
        let window = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let suppressed = window.map_or(0, |window| window.suppressed);
        tracing::error!(
            suppressed,
            "more requests failed with status 503, most likely for the causes logged above"
        );
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
            for _ in 0..20 {
                log.record("two", StatusCode::INTERNAL_SERVER_ERROR, "a bug");
            }
            let logged = lines.take();
            let of = |words: &str| logged.iter().filter(|line| line.contains(words)).count();
            assert_eq!((logged.len(), of("PostgreSQL"), of("a bug")), (30, 10, 20), "{window}: {logged:?}");
            tokio::time::advance(WINDOW).await;
            tokio::task::yield_now().await;
            let logged = lines.take();
            let suppressed = format!("suppressed={}", failures - 10);
            assert_eq!(logged.len(), usize::from(failures > 10), "{window}: {logged:?}");
            assert!(logged.iter().all(|line| line.contains(&suppressed)), "{window}: {logged:?}");
        }
    }
}
