//! Mirror of monthly usage in Redis.

use std::sync::Arc;

use async_trait::async_trait;

use super::client::Redis;
use super::raised_number::RaisedNumbers;
use domain::usage::MonthlyUsage;
use ports::clock::Clock;
use ports::store_error::StoreError;
use ports::usage_mirror::UsageMirror;

/// Keeps each count under `monthly:<client>:<year>:<month>`.
pub struct RedisUsageMirror(RaisedNumbers);

impl RedisUsageMirror {
    /// Creates a mirror that derives the lifetime of counts from this clock.
    pub fn new(redis: Arc<Redis>, clock: Arc<dyn Clock>) -> Self {
        Self(RaisedNumbers::new(redis, clock))
    }
}

#[async_trait]
impl UsageMirror for RedisUsageMirror {
    async fn publish(&self, usage: &MonthlyUsage) -> Result<(), StoreError> {
        let MonthlyUsage { client, month, tokens } = usage;
        let (year, month_of_year) = month.year_and_month();
        self.0.raise(&format!("monthly:{client}:{year}:{month_of_year}"), *tokens, month.end()).await
    }
}
