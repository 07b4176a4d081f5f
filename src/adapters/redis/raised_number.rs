//! Numbers in Redis that only rise.

use std::sync::Arc;

use super::client::Redis;
use super::script::Script;
use domain::time::Timestamp;
use ports::clock::Clock;
use ports::store_error::StoreError;

/// Raises numbers, and sets how long they are kept.
pub(super) struct RaisedNumbers {
    redis: Arc<Redis>,
    script: Script,
    clock: Arc<dyn Clock>,
}

impl RaisedNumbers {
    /// Derives lifetimes from this clock.
    pub(super) fn new(redis: Arc<Redis>, clock: Arc<dyn Clock>) -> Self {
        Self { redis, script: Script::new(include_str!("raise.lua")), clock }
    }

    /// Raises the number of that name to at least `to`, and keeps it until then.
    pub(super) async fn raise(&self, name: &str, to: u64, until: Timestamp) -> Result<(), StoreError> {
        let arguments = [to.to_string(), self.life_millis(until).to_string()];
        self.script.run::<i64>(&self.redis, &[self.redis.key(name)], &arguments).await.map(drop)
    }

    /// Returns the time left until then in milliseconds, at least 1.
    pub(super) fn life_millis(&self, until: Timestamp) -> i64 {
        (until.as_millis() - self.clock.now().as_millis()).max(1)
    }
}
