//! A token store with a revocation cache as fallback.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::future::try_join_all;

use super::breaker::Breaker;
use crate::domain::audit::NewAuditEvent;
use crate::domain::id::AgentId;
use crate::domain::time::Month;
use crate::domain::token::{Claims, TokenStatus};
use crate::ports::revocation_cache::{MonthlyUsage, RevocationCache};
use crate::ports::store_error::StoreError;
use crate::ports::token_store::{IssueError, Revocation, SpentAssertion, TokenIssue, TokenStore};

/// Maximum number of clients' counts that wait to be published.
const MAX_SHOWN: usize = 10_000;
/// Maximum number of counts published at once.
const MAX_AT_ONCE: usize = 200;

/// Uses the store, and the revocation cache while the store is unavailable.
///
/// The cache can then still report that a token is revoked. While the store responds, the cache is not queried,
/// because it could add only a round trip.
pub struct FallbackTokenStore {
    store: Arc<dyn TokenStore>,
    cache: Arc<dyn RevocationCache>,
    breaker: Breaker,
    /// Token counts of clients that have not been published yet.
    used: Mutex<HashMap<(AgentId, Month), u64>>,
}

impl FallbackTokenStore {
    /// Creates a token store with this cache as fallback.
    pub fn new(store: Arc<dyn TokenStore>, cache: Arc<dyn RevocationCache>) -> Self {
        Self { store, cache, breaker: Breaker::new("Redis, for revocations"), used: Mutex::default() }
    }

    /// Publishes to the cache the token counts that have changed since the last call.
    ///
    /// A count that cannot be published is published with the client's next token.
    pub async fn show_usage(&self) -> Result<(), StoreError> {
        let used = std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner));
        let usage: Vec<_> = used
            .into_iter()
            .map(|((client, month), tokens)| MonthlyUsage { client, month, tokens })
            .collect();
        for usage in usage.chunks(MAX_AT_ONCE) {
            try_join_all(usage.iter().map(|usage| self.cache.show_usage(usage))).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl TokenStore for FallbackTokenStore {
    async fn issue(&self, issue: TokenIssue) -> Result<u64, IssueError> {
        let key = (issue.agent, issue.event.at.month());
        let tokens = self.store.issue(issue).await?;
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() < MAX_SHOWN || used.contains_key(&key) {
            let shown = used.entry(key).or_default();
            *shown = tokens.max(*shown);
        }
        Ok(tokens)
    }

    async fn spend(&self, agent: AgentId, assertion: &SpentAssertion) -> Result<bool, StoreError> {
        self.store.spend(agent, assertion).await
    }

    async fn revoke(&self, revocation: &Revocation, event: &NewAuditEvent) -> Result<(), StoreError> {
        self.store.revoke(revocation, event).await
    }

    async fn status(&self, claims: &Claims) -> Result<Option<TokenStatus>, StoreError> {
        let failure = match self.store.status(claims).await {
            Err(failure @ StoreError::Unavailable { .. }) if self.breaker.lets_through() => failure,
            outcome => return outcome,
        };
        match self.cache.is_revoked(claims).await {
            Ok(is_dead) => {
                self.breaker.close();
                if is_dead { Ok(None) } else { Err(failure) }
            }
            Err(error) => {
                self.breaker.open(&error);
                Err(failure)
            }
        }
    }
}
