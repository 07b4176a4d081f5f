//! Holds callers to so many requests a minute.

use std::net::IpAddr;

use async_trait::async_trait;

use super::store_error::StoreError;
use crate::domain::id::AgentId;
use crate::domain::rate::RateDecision;

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
        Self::Address(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
            v4 => v4,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_ipv6_network_is_one_key_and_mapped_ipv4_is_ipv4() {
        let key = |text: &str| RateKey::of_address(text.parse().expect("an address"));
        assert_eq!(key("2001:db8:0:1::1"), key("2001:db8:0:1:ffff::2"));
        assert_ne!(key("2001:db8:0:1::1"), key("2001:db8:0:2::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }
}
