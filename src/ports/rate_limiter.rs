//! Holds callers to so many requests a minute.

use std::net::IpAddr;

use async_trait::async_trait;

use super::store_error::StoreError;
use crate::domain::id::AgentId;
use crate::domain::rate::{RateDecision, network_of};

/// Counts requests by the sliding window of [`domain::rate`](crate::domain::rate).
#[async_trait]
pub trait RateLimiter: Send + Sync {
    /// Lets a request in and counts it, or refuses it uncounted; check and count are one step, so of many
    /// racing callers exactly as many pass as there is room for.
    async fn admit(&self, key: RateKey, limit: u32) -> Result<RateDecision, StoreError>;
}

/// Whose requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RateKey {
    /// A client that has proved itself.
    Client(AgentId),
    /// A network address that nothing was proved from: an IPv4 address or an IPv6 /64.
    Address(IpAddr),
}

impl RateKey {
    /// The key of whoever speaks from that address.
    pub fn of_address(address: IpAddr) -> Self {
        Self::Address(network_of(address))
    }
}
