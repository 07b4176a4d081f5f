//! The ports that the use cases depend on, as one value.

use std::sync::Arc;

use ports::agent_store::AgentStore;
use ports::assertion_verifier::AssertionVerifier;
use ports::audit_log::AuditLog;
use ports::clock::Clock;
use ports::credential_store::CredentialStore;
use ports::cursor_seal::CursorSeal;
use ports::ids::Ids;
use ports::inventory_store::InventoryStore;
use ports::issuer_keys::IssuerKeys;
use ports::issuer_store::IssuerStore;
use ports::organization_store::OrganizationStore;
use ports::outbox::Outbox;
use ports::proof_verifier::ProofVerifier;
use ports::rate_limiter::RateLimiter;
use ports::retention::Retention;
use ports::revocation_cache::RevocationCache;
use ports::secret_hasher::SecretHasher;
use ports::secrets::Secrets;
use ports::store_health::StoreHealth;
use ports::token_signer::TokenSigner;
use ports::token_store::TokenStore;
use ports::usage_mirror::UsageMirror;
use ports::usage_store::UsageStore;

/// Ports that the use cases depend on.
#[derive(Clone)]
pub struct Ports {
    /// All stores.
    pub stores: Stores,
    /// Hashes and verifies client secrets.
    pub hasher: Arc<dyn SecretHasher>,
    /// Signs and verifies access tokens.
    pub signer: Arc<dyn TokenSigner>,
    /// Verifies client assertions (RFC 7523).
    pub assertions: Arc<dyn AssertionVerifier>,
    /// Verifies proofs of possession (RFC 9449).
    pub proofs: Arc<dyn ProofVerifier>,
    /// Finds the keys of trusted issuers.
    pub issuer_keys: Arc<dyn IssuerKeys>,
    /// Seals the pagination cursors of the audit log.
    pub cursors: Arc<dyn CursorSeal>,
    /// Reads the current time.
    pub clock: Arc<dyn Clock>,
    /// Generates new IDs.
    pub ids: Arc<dyn Ids>,
    /// Generates new client secrets.
    pub secrets: Arc<dyn Secrets>,
}

/// Stores that belong together: data written through one is visible to the others.
#[derive(Clone)]
pub struct Stores {
    /// Storage of agents.
    pub agents: Arc<dyn AgentStore>,
    /// Storage of organizations.
    pub organizations: Arc<dyn OrganizationStore>,
    /// Storage of trusted issuers.
    pub issuers: Arc<dyn IssuerStore>,
    /// Storage of credentials.
    pub credentials: Arc<dyn CredentialStore>,
    /// Issuance, revocation and status of tokens.
    pub tokens: Arc<dyn TokenStore>,
    /// The audit log.
    pub audit: Arc<dyn AuditLog>,
    /// Removal of expired data.
    pub retention: Arc<dyn Retention>,
    /// Usage counts.
    pub usage: Arc<dyn UsageStore>,
    /// Counts for operators.
    pub inventory: Arc<dyn InventoryStore>,
    /// Transactional outbox.
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
            + IssuerStore
            + TokenStore
            + AuditLog
            + Retention
            + UsageStore
            + InventoryStore
            + Outbox
            + StoreHealth
            + 'static,
    {
        Self {
            agents: store.clone(),
            organizations: store.clone(),
            issuers: store.clone(),
            credentials: store.clone(),
            tokens: store.clone(),
            audit: store.clone(),
            retention: store.clone(),
            usage: store.clone(),
            inventory: store.clone(),
            outbox: store.clone(),
            revocation_cache: None,
            usage_mirror: None,
            health: vec![store.clone()],
            limiter,
        }
    }
}
