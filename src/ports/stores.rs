//! All stores of one service.

use std::sync::Arc;

use super::agent_store::AgentStore;
use super::audit_log::AuditLog;
use super::credential_store::CredentialStore;
use super::organization_store::OrganizationStore;
use super::outbox::Outbox;
use super::rate_limiter::RateLimiter;
use super::revocation_cache::RevocationCache;
use super::store_health::StoreHealth;
use super::token_store::TokenStore;
use super::usage_store::UsageStore;

/// The stores that belong together: what one of them stores the others see.
#[derive(Clone)]
pub struct Stores {
    pub agents: Arc<dyn AgentStore>,
    pub organizations: Arc<dyn OrganizationStore>,
    pub credentials: Arc<dyn CredentialStore>,
    pub tokens: Arc<dyn TokenStore>,
    pub audit: Arc<dyn AuditLog>,
    pub usage: Arc<dyn UsageStore>,
    pub outbox: Arc<dyn Outbox>,
    /// Where instances tell one another of the dead; none where there is only one.
    pub revocation_cache: Option<Arc<dyn RevocationCache>>,
    pub health: Vec<Arc<dyn StoreHealth>>,
    pub limiter: Arc<dyn RateLimiter>,
}

impl Stores {
    /// One store that is all of them, with a limiter beside it.
    pub fn of<S>(store: &Arc<S>, limiter: Arc<dyn RateLimiter>) -> Self
    where
        S: AgentStore
            + OrganizationStore
            + CredentialStore
            + TokenStore
            + AuditLog
            + UsageStore
            + Outbox
            + StoreHealth
            + 'static,
    {
        Self {
            agents: store.clone(),
            organizations: store.clone(),
            credentials: store.clone(),
            tokens: store.clone(),
            audit: store.clone(),
            usage: store.clone(),
            outbox: store.clone(),
            revocation_cache: None,
            health: vec![store.clone()],
            limiter,
        }
    }
}
