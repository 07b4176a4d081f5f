//! A limiter that counts by itself while the shared one is away.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use async_trait::async_trait;

use super::breaker::Breaker;
use crate::domain::rate::RateDecision;
use crate::ports::rate_limiter::{RateKey, RateLimiter};
use crate::ports::store_error::StoreError;
use crate::ports::store_health::StoreHealth;

/// Whose requests probes are counted as: an address that none comes from (RFC 1122 section 3.2.1.3).
const PROBE: RateKey = RateKey::Address(IpAddr::V4(Ipv4Addr::UNSPECIFIED));

/// Asks the limiter that all instances share, and its own while that does not answer.
///
/// In a window in which the shared one goes or comes back, at most one limit for each instance and one more
/// pass.
pub struct FallbackRateLimiter {
    shared: Arc<dyn RateLimiter>,
    own: Arc<dyn RateLimiter>,
    breaker: Breaker,
}

impl FallbackRateLimiter {
    /// A limiter on those two.
    pub fn new(shared: Arc<dyn RateLimiter>, own: Arc<dyn RateLimiter>) -> Self {
        Self { shared, own, breaker: Breaker::new("Redis, for rate limits") }
    }
}

#[async_trait]
impl RateLimiter for FallbackRateLimiter {
    async fn admit(&self, key: RateKey, limit: u32) -> Result<RateDecision, StoreError> {
        if self.breaker.lets_through() {
            match self.shared.admit(key, limit).await {
                Ok(decision) => {
                    self.breaker.close();
                    return Ok(decision);
                }
                Err(error) => self.breaker.open(&error),
            }
        }
        self.own.admit(key, limit).await
    }
}

/// The shared limiter is asked as requests ask it, so `ok` means that this instance counts with the others: an answer closes
/// the breaker at once.
#[async_trait]
impl StoreHealth for FallbackRateLimiter {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn is_essential(&self) -> bool {
        false
    }

    async fn check(&self) -> Result<(), StoreError> {
        match self.shared.admit(PROBE, u32::MAX).await {
            Ok(_) => {
                self.breaker.close();
                Ok(())
            }
            Err(error) => {
                self.breaker.open(&error);
                Err(error)
            }
        }
    }
}
