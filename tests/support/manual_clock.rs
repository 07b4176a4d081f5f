//! A clock that stands still until a test moves it.

use std::sync::atomic::{AtomicI64, Ordering};

use agentidp::domain::time::Timestamp;
use agentidp::ports::clock::Clock;

/// 2026-01-15T12:00:00Z, the instant at which each [`ManualClock`] begins. A rate window starts there.
pub const NOON: Timestamp = Timestamp::from_millis(1_768_478_400_000);

/// A clock that stands still at [`NOON`] until it is advanced.
pub struct ManualClock(AtomicI64);

impl Default for ManualClock {
    fn default() -> Self {
        Self(AtomicI64::new(NOON.as_millis()))
    }
}

impl ManualClock {
    /// Moves the clock forward, or back if `millis` is negative.
    pub fn advance_millis(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}
