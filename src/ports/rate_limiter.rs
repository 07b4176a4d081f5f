//! Limits of requests per minute.

use std::net::IpAddr;

use async_trait::async_trait;

use super::store_error::StoreError;
use domain::id::AgentId;
use domain::rate::{RateDecision, network_of};

/// Limits requests by the sliding window of [`domain::rate`].
#[async_trait]
pub trait RateLimiter: Send + Sync {
    /// Admits a request and counts it, or refuses it without counting it.
    ///
    /// Check and count are one step, so of several racing callers exactly as many pass as there is room for.
    ///
    /// Returns a [`StoreError`] if the limiter cannot answer.
    async fn admit(&self, key: RateKey, limit: u32) -> Result<RateDecision, StoreError>;
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
