//! Rate windows in Redis, by its own clock. One script checks and counts in one step.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::client::{Redis, unavailable};
use super::script::Script;
use domain::rate::{WINDOW_MILLIS, WindowCounts};
use domain::time::Timestamp;
use ports::clock::Clock;
use ports::rate_limiter::{Admission, ProofUse, RateKey, RateLimiter};
use ports::store_error::StoreError;

/// Answer of the script to a request whose proof was used before.
const REPLAY: i64 = 2;

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
    async fn admit_once(
        &self,
        key: RateKey,
        limit: u32,
        proof: Option<&ProofUse>,
    ) -> Result<Admission, StoreError> {
        let counted = match key {
            RateKey::Client(id) => id.to_string(),
            RateKey::Address(address) => address.to_string(),
        };
        let mut keys = vec![self.redis.key(&format!("rate:{{{counted}}}"))];
        // In the same slot of a Cluster.
        keys.extend(proof.map(|proof| {
            let digest = URL_SAFE_NO_PAD.encode(proof.digest);
            self.redis.key(&format!("proof:{{{counted}}}:{digest}"))
        }));
        let now = self.clock.as_ref().map_or(String::new(), |clock| clock.now().as_millis().to_string());
        let answer: Vec<i64> = self.script.run(&self.redis, &keys, &[limit.to_string(), now]).await?;
        let [admitted, current, previous, now] = answer[..] else {
            return Err(unavailable("the script returned an unexpected value"));
        };
        let count = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
        let (current, previous) = (count(current), count(previous));
        let usage = WindowCounts { window: now.div_euclid(WINDOW_MILLIS), current, previous };
        let is_replay = admitted == REPLAY;
        let rate = usage.decision(is_replay || admitted == 1, limit, Timestamp::from_millis(now));
        Ok(Admission { rate, is_replay })
    }
}
