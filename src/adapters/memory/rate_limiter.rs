//! Rate windows, in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use domain::rate::{RateDecision, WINDOW_MILLIS, WindowCounts};
use ports::clock::Clock;
use ports::rate_limiter::{RateKey, RateLimiter};
use ports::store_error::StoreError;

/// Number of windows up to which old ones are not removed.
const FEW: usize = 1_024;

/// Counts the requests of this process.
pub struct MemoryRateLimiter {
    clock: Arc<dyn Clock>,
    windows: Mutex<Windows>,
}

struct Windows {
    usage: HashMap<RateKey, WindowCounts>,
    /// Number of windows at which old ones are removed: twice what was left after the last removal.
    sweep_at: usize,
}

impl MemoryRateLimiter {
    /// Creates a limiter that follows this clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, windows: Mutex::new(Windows { usage: HashMap::new(), sweep_at: FEW }) }
    }
}

#[async_trait]
impl RateLimiter for MemoryRateLimiter {
    async fn admit(&self, key: RateKey, limit: u32) -> Result<RateDecision, StoreError> {
        let now = self.clock.now();
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.usage.len() >= windows.sweep_at {
            let oldest = now.as_millis().div_euclid(WINDOW_MILLIS) - 1;
            windows.usage.retain(|_, usage| usage.window >= oldest);
            windows.sweep_at = FEW.max(2 * windows.usage.len());
        }
        Ok(windows.usage.entry(key).or_default().admit(limit, now))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use uuid::Uuid;

    use super::*;
    use domain::id::AgentId;
    use domain::time::Timestamp;

    struct ManualClock(AtomicI64);

    impl Clock for ManualClock {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(self.0.load(Ordering::SeqCst))
        }
    }

    #[tokio::test]
    async fn what_is_two_windows_old_is_forgotten_and_nothing_that_still_counts() {
        let clock = Arc::new(ManualClock(AtomicI64::new(10 * WINDOW_MILLIS)));
        let limiter = MemoryRateLimiter::new(clock.clone());
        let admit = async |client: usize| {
            let key = RateKey::Client(AgentId(Uuid::from_u128(client as u128)));
            limiter.admit(key, 1).await.expect("an answer").admitted
        };
        let kept = || limiter.windows.lock().expect("no panic").usage.len();
        assert!(admit(usize::MAX).await);
        clock.0.fetch_add(2 * WINDOW_MILLIS, Ordering::SeqCst);
        for client in 0..FEW - 1 {
            assert!(admit(client).await);
        }
        assert_eq!(kept(), FEW, "few are left alone");
        clock.0.fetch_add(WINDOW_MILLIS, Ordering::SeqCst);
        assert!(admit(FEW).await);
        assert_eq!(kept(), FEW, "one is long past, and the window before this one still counts");
        assert!(!admit(FEW - 2).await, "it was kept");

        clock.0.fetch_add(2 * WINDOW_MILLIS, Ordering::SeqCst);
        for client in FEW + 1..FEW + 3 {
            assert!(admit(client).await);
        }
        assert_eq!(kept(), FEW + 2, "none is removed before there are twice as many as were kept");
        for client in FEW + 3..2 * FEW {
            assert!(admit(client).await);
        }
        assert_eq!(kept(), FEW - 1, "those of two windows ago are gone");
    }
}
