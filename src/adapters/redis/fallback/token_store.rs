//! A token store with a revocation cache as fallback.

use std::sync::Arc;

use async_trait::async_trait;

use super::breaker::Breaker;
use domain::audit::AuditEvent;
use domain::id::OrganizationId;
use domain::token::{Claims, TokenStatus};
use ports::revocation_cache::RevocationCache;
use ports::store_error::StoreError;
use ports::token_store::{IssueError, Revocation, SpentAssertion, TokenIssue, TokenStore};

/// Uses the store, and the revocation cache while the store is unavailable.
///
/// The cache can then still report that a token is revoked. While the store responds, the cache is not queried,
/// because it could add only a round trip.
pub struct FallbackTokenStore {
    store: Arc<dyn TokenStore>,
    cache: Arc<dyn RevocationCache>,
    breaker: Breaker,
}

impl FallbackTokenStore {
    /// Creates a token store with this cache as fallback.
    pub fn new(store: Arc<dyn TokenStore>, cache: Arc<dyn RevocationCache>) -> Self {
        Self { store, cache, breaker: Breaker::new("Redis, for revocations") }
    }
}

#[async_trait]
impl TokenStore for FallbackTokenStore {
    async fn issue(&self, issue: TokenIssue) -> Result<(), IssueError> {
        self.store.issue(issue).await
    }

    async fn spend(&self, assertion: &SpentAssertion) -> Result<bool, StoreError> {
        self.store.spend(assertion).await
    }

    async fn is_spent(&self, assertion: &SpentAssertion) -> Result<bool, StoreError> {
        self.store.is_spent(assertion).await
    }

    async fn revoke(&self, revocation: &Revocation, event: &AuditEvent) -> Result<(), StoreError> {
        self.store.revoke(revocation, event).await
    }

    async fn statuses(
        &self,
        organization: OrganizationId,
        claims: &[Claims],
    ) -> Result<Vec<Option<TokenStatus>>, StoreError> {
        self.store.statuses(organization, claims).await
    }

    async fn status(&self, claims: &Claims) -> Result<Option<TokenStatus>, StoreError> {
        let failure = match self.store.status(claims).await {
            Err(failure @ StoreError::Unavailable { .. }) if self.breaker.lets_through() => failure,
            outcome => return outcome,
        };
        match self.cache.is_revoked(claims).await {
            Ok(is_revoked) => {
                self.breaker.close();
                if is_revoked { Ok(None) } else { Err(failure) }
            }
            Err(error) => {
                self.breaker.open(&error);
                Err(failure)
            }
        }
    }
}
