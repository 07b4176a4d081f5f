//! Rate windows in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::domain::rate::{RateDecision, WINDOW_MILLIS, WindowCounts};
use crate::ports::clock::Clock;
use crate::ports::rate_limiter::{RateKey, RateLimiter};
use crate::ports::store_error::StoreError;

/// How many windows may be kept before old ones are swept out.
const FEW: usize = 1_024;

/// Counts requests of this process.
pub struct MemoryRateLimiter {
    clock: Arc<dyn Clock>,
    windows: Mutex<Windows>,
}

struct Windows {
    usage: HashMap<RateKey, WindowCounts>,
    /// At this size the old ones are swept out; twice what was left after the last time.
    sweep_at: usize,
}

impl MemoryRateLimiter {
    /// A limiter that goes by this clock.
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
