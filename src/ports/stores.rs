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
use super::usage_mirror::UsageMirror;
use super::usage_store::UsageStore;

/// Stores that belong together: data written through one is visible to the others.
#[derive(Clone)]
pub struct Stores {
    /// Storage of agents.
    pub agents: Arc<dyn AgentStore>,
    /// Storage of organizations.
    pub organizations: Arc<dyn OrganizationStore>,
    /// Storage of credentials.
    pub credentials: Arc<dyn CredentialStore>,
    /// Issuance, revocation and status of tokens.
    pub tokens: Arc<dyn TokenStore>,
    /// The audit log.
    pub audit: Arc<dyn AuditLog>,
    /// Usage counts.
    pub usage: Arc<dyn UsageStore>,
    /// Outbox of revocation notices.
    pub outbox: Arc<dyn Outbox>,
    /// Cache in which instances share revocations; `None` if no such cache is configured.
    pub revocation_cache: Option<Arc<dyn RevocationCache>>,
    /// Copy of monthly usage for operators; `None` if none is configured.
    pub usage_mirror: Option<Arc<dyn UsageMirror>>,
    /// Health checks of the stores.
    pub health: Vec<Arc<dyn StoreHealth>>,
    /// Limiter of requests per minute.
    pub limiter: Arc<dyn RateLimiter>,
}

impl Stores {
    /// Creates the stores from one object that implements all of them, and a rate limiter.
    ///
    /// No revocation cache is set.
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
            usage_mirror: None,
            health: vec![store.clone()],
            limiter,
        }
    }
}
