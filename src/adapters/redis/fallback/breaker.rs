//! Circuit breaker: a store that does not respond is tried occasionally instead of by each request.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics::{Counter, counter};
use tokio::time::Instant;

/// Time without attempts after a failure.
const BACKOFF: Duration = Duration::from_secs(1);

/// Circuit breaker between callers and a store that may be unavailable.
pub(super) struct Breaker {
    store: &'static str,
    retry_at: Mutex<Option<Instant>>,
}

impl Breaker {
    /// Creates a closed breaker for the store with this name.
    pub(super) fn new(store: &'static str) -> Self {
        // Reported as 0 before the first failure.
        failures(store).increment(0);
        Self { store, retry_at: Mutex::new(None) }
    }

    /// Returns whether the caller may try the store.
    ///
    /// After a backoff one caller may, and the others keep backing off.
    pub(super) fn lets_through(&self) -> bool {
        let mut retry_at = self.retry_at.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match *retry_at {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                *retry_at = Some(now + BACKOFF);
                true
            }
        }
    }

    /// Records a response: all callers may try again.
    pub(super) fn close(&self) {
        let was_open = self.retry_at.lock().unwrap_or_else(PoisonError::into_inner).take();
        if was_open.is_some() {
            tracing::warn!("{} is available again", self.store);
        }
    }

    /// Records a failure: the backoff starts.
    pub(super) fn open(&self, error: &(dyn std::error::Error + 'static)) {
        let until = Some(Instant::now() + BACKOFF);
        let before = {
            let mut retry_at = self.retry_at.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *retry_at, until)
        };
        failures(self.store).increment(1);
        if before.is_none() {
            tracing::warn!(error, "{} is unavailable; continuing without it", self.store);
        }
    }
}

fn failures(store: &'static str) -> Counter {
    counter!("agentidp_store_failures_total", "store" => store)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_store_that_is_away_is_asked_once_a_rest() {
        let breaker = Breaker::new("test");
        assert!(breaker.lets_through() && breaker.lets_through());
        breaker.open(&std::fmt::Error);
        assert!(!breaker.lets_through());
        tokio::time::advance(BACKOFF).await;
        assert!(breaker.lets_through(), "one tries");
        assert!(!breaker.lets_through(), "the others rest on");
        breaker.close();
        assert!(breaker.lets_through() && breaker.lets_through());
    }
}
