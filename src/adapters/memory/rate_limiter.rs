//! Rate windows, in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use domain::rate::{WINDOW_MILLIS, WindowCounts};
use domain::time::{CLOCK_SLACK_SECONDS, Timestamp};
use ports::clock::Clock;
use ports::rate_limiter::{Admission, ProofUse, RateKey, RateLimiter};
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
    proofs: Proofs,
}

/// Proofs that were used, and until when each is kept.
#[derive(Default)]
struct Proofs {
    used: HashMap<(RateKey, [u8; 32]), Timestamp>,
    /// Number of proofs at which old ones are removed, in addition to [`FEW`].
    sweep_at: usize,
}

impl Proofs {
    /// Remembers a proof; `false` if it was used before.
    fn insert(&mut self, key: RateKey, proof: &ProofUse, now: Timestamp) -> bool {
        if self.used.len() >= FEW + self.sweep_at {
            // Another clock may be behind.
            self.used.retain(|_, until| now < until.plus_seconds(CLOCK_SLACK_SECONDS));
            self.sweep_at = 2 * self.used.len();
        }
        self.used.insert((key, proof.digest), proof.until).is_none()
    }
}

impl MemoryRateLimiter {
    /// Creates a limiter that follows this clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            windows: Mutex::new(Windows { usage: HashMap::new(), sweep_at: FEW, proofs: Proofs::default() }),
        }
    }
}

#[async_trait]
impl RateLimiter for MemoryRateLimiter {
    async fn admit_once(
        &self,
        key: RateKey,
        limit: u32,
        proof: Option<&ProofUse>,
    ) -> Result<Admission, StoreError> {
        let now = self.clock.now();
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.usage.len() >= windows.sweep_at {
            let oldest = now.as_millis().div_euclid(WINDOW_MILLIS) - 1;
            windows.usage.retain(|_, usage| usage.window >= oldest);
            windows.sweep_at = FEW.max(2 * windows.usage.len());
        }
        let before = windows.usage.get(&key).copied().unwrap_or_default();
        let mut after = before;
        let rate = after.admit(limit, now);
        let is_replay = proof.is_some_and(|proof| rate.admitted && !windows.proofs.insert(key, proof, now));
        windows.usage.insert(key, if is_replay { before } else { after });
        Ok(Admission { rate, is_replay })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use uuid::Uuid;

    use super::*;
    use domain::id::AgentId;

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
