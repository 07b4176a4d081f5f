//! A token store with a revocation cache in addition.

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

/// How many clients' counts may wait to be shown.
const MAX_SHOWN: usize = 10_000;
/// How many of them are shown at once.
const MAX_AT_ONCE: usize = 200;

/// Answers from the store; where that cannot answer, a notice may still say that a token is dead.
///
/// The cache is not asked while the store answers: it could add nothing to the truth but a round trip.
pub struct FallbackTokenStore {
    store: Arc<dyn TokenStore>,
    cache: Arc<dyn RevocationCache>,
    breaker: Breaker,
    /// What clients have used since it was last shown.
    used: Mutex<HashMap<(AgentId, Month), u64>>,
}

impl FallbackTokenStore {
    /// A store with that cache beside it.
    pub fn new(store: Arc<dyn TokenStore>, cache: Arc<dyn RevocationCache>) -> Self {
        Self { store, cache, breaker: Breaker::new("Redis, for revocations"), used: Mutex::default() }
    }

    /// Shows on the cache what clients have used since the last time. What cannot be shown is shown with the
    /// client's next token.
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
