//! A rate limiter with a local fallback while the shared one is unavailable.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use async_trait::async_trait;

use super::breaker::Breaker;
use ports::rate_limiter::{Admission, ProofUse, RateKey, RateLimiter};
use ports::store_error::StoreError;
use ports::store_health::StoreHealth;

/// Key that probes are counted under: an address that no request comes from (RFC 1122 section 3.2.1.3).
const PROBE: RateKey = RateKey::Address(IpAddr::V4(Ipv4Addr::UNSPECIFIED));

/// Uses the shared limiter, and a local one while the shared one does not respond.
///
/// In a window in which the shared limiter fails or recovers, at most one limit for each instance and one more limit
/// is admitted.
pub struct FallbackRateLimiter {
    shared: Arc<dyn RateLimiter>,
    own: Arc<dyn RateLimiter>,
    breaker: Breaker,
}

impl FallbackRateLimiter {
    /// Creates a limiter from a shared and a local one.
    pub fn new(shared: Arc<dyn RateLimiter>, own: Arc<dyn RateLimiter>) -> Self {
        Self { shared, own, breaker: Breaker::new("Redis, for rate limits") }
    }
}

#[async_trait]
impl RateLimiter for FallbackRateLimiter {
    async fn admit_once(
        &self,
        key: RateKey,
        limit: u32,
        proof: Option<&ProofUse>,
    ) -> Result<Admission, StoreError> {
        if self.breaker.lets_through() {
            match self.shared.admit_once(key, limit, proof).await {
                Ok(decision) => {
                    self.breaker.close();
                    return Ok(decision);
                }
                Err(error) => self.breaker.open(&error),
            }
        }
        self.own.admit_once(key, limit, proof).await
    }
}

/// Tries the shared limiter as requests do.
///
/// `ok` therefore means that this instance counts with the others. A response closes the breaker immediately.
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
