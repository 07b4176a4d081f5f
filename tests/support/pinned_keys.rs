//! Keys of trusted issuers without a network.

use std::sync::Arc;

use agentidp::domain::id::OrganizationId;
use agentidp::domain::issuer::{IssuerUrl, KeySource};
use agentidp::domain::issuer_key::IssuerKey;
use agentidp::ports::issuer_keys::{IssuerKeys, KeysState, KeysStatus, KeysUnavailable};
use async_trait::async_trait;

/// Knows pinned keys. No others can be fetched.
pub struct PinnedKeys;

#[async_trait]
impl IssuerKeys for PinnedKeys {
    fn check_url(&self, _: &str) -> Result<(), &'static str> {
        Ok(())
    }

    async fn keys(
        &self,
        _: OrganizationId,
        _: &IssuerUrl,
        source: &KeySource,
        _: Option<&str>,
    ) -> Result<Arc<[IssuerKey]>, KeysUnavailable> {
        match source {
            KeySource::Jwks(keys) => Ok(keys.clone()),
            _ => Err(KeysUnavailable { retry_after: 30 }),
        }
    }

    fn status(&self, _: &IssuerUrl, _: &KeySource) -> KeysStatus {
        KeysStatus { state: KeysState::Unknown, checked_at: None, error: None }
    }

    fn stale(&self) -> usize {
        0
    }
}
