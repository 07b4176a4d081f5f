//! Limits of requests per minute.

use std::net::IpAddr;

use async_trait::async_trait;

use super::store_error::StoreError;
use domain::id::AgentId;
use domain::rate::{RateDecision, network_of};
use domain::time::Timestamp;

/// Limits requests by the sliding window of [`domain::rate`].
#[async_trait]
pub trait RateLimiter: Send + Sync {
    /// Admits a request and counts it, or refuses it without counting it.
    ///
    /// Check and count are one step, so of several racing callers exactly as many pass as there is room for.
    ///
    /// With a proof of possession, the request is also refused if that was used before with this key. In the same step, the
    /// proof of an admitted request is remembered. A limiter that has lost its data admits each once more.
    ///
    /// Returns a [`StoreError`] if the limiter cannot answer.
    async fn admit_once(
        &self,
        key: RateKey,
        limit: u32,
        proof: Option<&ProofUse>,
    ) -> Result<Admission, StoreError>;

    /// Same as [`admit_once`](Self::admit_once), without a proof.
    async fn admit(&self, key: RateKey, limit: u32) -> Result<RateDecision, StoreError> {
        Ok(self.admit_once(key, limit, None).await?.rate)
    }
}

/// A proof of possession that comes with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProofUse {
    /// The SHA-256 of its key and `jti`.
    pub digest: [u8; 32],
    /// Instant from which it is refused as too old, and may be forgotten.
    pub until: Timestamp,
}

/// Answer to a request that is to be admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Whether it fits into the limit. If its proof was used before, it is not counted.
    pub rate: RateDecision,
    /// Whether its proof was used before.
    pub is_replay: bool,
}

/// Key by which requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RateKey {
    /// An authenticated client.
    Client(AgentId),
    /// The network of a caller that is not authenticated: an IPv4 address or an IPv6 /64.
    Address(IpAddr),
}

impl RateKey {
    /// Returns the key of requests from this address.
    pub fn of_address(address: IpAddr) -> Self {
        Self::Address(network_of(address))
    }
}
