//! Rate windows in Redis, by its own clock. One script checks and counts in one step.

use std::sync::Arc;

use async_trait::async_trait;

use super::client::{Redis, unavailable};
use super::script::Script;
use domain::rate::{RateDecision, WINDOW_MILLIS, WindowCounts};
use domain::time::Timestamp;
use ports::clock::Clock;
use ports::rate_limiter::{RateKey, RateLimiter};
use ports::store_error::StoreError;

/// Counts the requests of all instances.
pub struct RedisRateLimiter {
    redis: Arc<Redis>,
    script: Script,
    /// Clock used instead of Redis's own, for tests that control the time.
    clock: Option<Arc<dyn Clock>>,
}

impl RedisRateLimiter {
    /// Creates a limiter that follows `clock`, or Redis's own clock if `None`.
    pub fn new(redis: Arc<Redis>, clock: Option<Arc<dyn Clock>>) -> Self {
        Self { redis, script: Script::new(include_str!("rate.lua")), clock }
    }
}

#[async_trait]
impl RateLimiter for RedisRateLimiter {
    async fn admit(&self, key: RateKey, limit: u32) -> Result<RateDecision, StoreError> {
        let key = match key {
            RateKey::Client(id) => self.redis.key(&format!("rate:{{{id}}}")),
            RateKey::Address(address) => self.redis.key(&format!("rate:{{{address}}}")),
        };
        let now = self.clock.as_ref().map_or(String::new(), |clock| clock.now().as_millis().to_string());
        let answer: Vec<i64> = self.script.run(&self.redis, key, [limit.to_string(), now]).await?;
        let [admitted, current, previous, now] = answer[..] else {
            return Err(unavailable("the script returned an unexpected value"));
        };
        let count = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
        let (current, previous) = (count(current), count(previous));
        let usage = WindowCounts { window: now.div_euclid(WINDOW_MILLIS), current, previous };
        Ok(usage.decision(admitted == 1, limit, Timestamp::from_millis(now)))
    }
}
