//! Use cases of the service: one file per entity, one method per operation.
//!
//! A use case authorizes its caller, applies the rules of [`domain`](crate::domain), and makes one write through a
//! port. Use cases depend on neither HTTP nor SQL.

pub mod agents;
pub mod audit;
pub mod audit_buffer;
pub mod auth_failures;
pub mod background;
pub mod bearer;
pub mod bootstrap;
pub mod caller;
pub mod client_auth;
pub mod credentials;
pub mod events;
pub mod introspection;
pub mod keys;
pub mod organizations;
pub mod readiness;
pub mod request_context;
pub mod revocation;
pub mod revocation_relay;
pub mod shutdown;
pub mod token;
pub mod usage;
pub mod usage_mirror;

use std::sync::Arc;

pub use crate::ports::secret_hasher::HasherError;
pub use crate::ports::store_error::{StoreError, with_causes};
pub use crate::ports::write::CallerRevoked;
use crate::ports::{
    assertion_verifier::AssertionVerifier, clock::Clock, cursor_seal::CursorSeal, ids::Ids,
    secret_hasher::SecretHasher, secrets::Secrets, stores::Stores, token_signer::TokenSigner,
};

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
    /// Seals the pagination cursors of the audit log.
    pub cursors: Arc<dyn CursorSeal>,
    /// Reads the current time.
    pub clock: Arc<dyn Clock>,
    /// Generates new IDs.
    pub ids: Arc<dyn Ids>,
    /// Generates new client secrets.
    pub secrets: Arc<dyn Secrets>,
}

/// Settings of the use cases, chosen by the operator.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Issuer identifier: the tokens' `iss`, and the audience of client assertions.
    pub issuer: Arc<str>,
    /// Second audience accepted in client assertions: the token endpoint's URL. `None` if only the issuer is
    /// accepted.
    pub token_endpoint_audience: Option<Arc<str>>,
    /// Lifetime of a token, in seconds.
    pub token_ttl_seconds: u32,
    /// Unauthenticated requests allowed per client address and minute.
    pub address_requests_per_minute: u32,
}

/// All use cases of the service.
#[derive(Clone)]
pub struct App {
    /// Use cases of agents.
    pub agents: agents::Agents,
    /// Use cases of organizations.
    pub organizations: organizations::Organizations,
    /// Use cases of credentials.
    pub credentials: credentials::Credentials,
    /// Issuance of access tokens.
    pub tokens: token::Tokens,
    /// Token introspection (RFC 7662).
    pub introspection: introspection::Introspection,
    /// Token revocation (RFC 7009).
    pub revocation: revocation::Revocations,
    /// Bearer token authentication (RFC 6750).
    pub bearer: bearer::Bearer,
    /// Client authentication.
    pub clients: client_auth::ClientAuth,
    /// Rate limiting and auditing of failed authentication.
    pub auth_failures: auth_failures::AuthFailures,
    /// Use cases of the audit log.
    pub audit: audit::Audit,
    /// Buffer of high-volume audit events.
    pub audit_buffer: Arc<audit_buffer::AuditBuffer>,
    /// Usage reports of organizations.
    pub usage: usage::UsageReports,
    /// Public keys with which tokens are verified.
    pub keys: keys::Keys,
    /// Creation of the organization `default` and of administrators.
    pub bootstrap: bootstrap::Bootstrap,
    /// Publishes monthly usage for operators.
    pub usage_publisher: usage_mirror::UsagePublisher,
    /// Relay of revocations to the shared cache.
    pub revocation_relay: revocation_relay::RevocationRelay,
    /// Issuer identifier (RFC 8414 section 2).
    pub issuer: Arc<str>,
    /// Readiness of the stores.
    pub readiness: Arc<readiness::Readiness>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
}

impl App {
    /// Creates the use cases on these ports.
    pub fn new(ports: &Ports, settings: &Settings) -> Self {
        let stores = &ports.stores;
        let events = events::Events::new(ports.ids.clone());
        let audit_buffer = Arc::new(audit_buffer::AuditBuffer::new(
            stores.audit.clone(),
            ports.clock.clone(),
            ports.ids.clone(),
        ));
        let auth_failures = auth_failures::AuthFailures {
            limiter: stores.limiter.clone(),
            buffer: audit_buffer.clone(),
            events: events.clone(),
            clock: ports.clock.clone(),
            requests_per_minute: settings.address_requests_per_minute,
            exhausted: Arc::default(),
        };
        let usage_publisher =
            usage_mirror::UsagePublisher::new(stores.usage.clone(), stores.usage_mirror.clone());
        let clients = client_auth::ClientAuth::new(ports, &auth_failures, settings);
        Self {
            agents: agents::Agents {
                store: stores.agents.clone(),
                events: events.clone(),
                ids: ports.ids.clone(),
                clock: ports.clock.clone(),
            },
            organizations: organizations::Organizations {
                store: stores.organizations.clone(),
                events: events.clone(),
                ids: ports.ids.clone(),
                clock: ports.clock.clone(),
            },
            credentials: credentials::Credentials {
                agents: stores.agents.clone(),
                store: stores.credentials.clone(),
                hasher: ports.hasher.clone(),
                verifier: ports.assertions.clone(),
                secrets: ports.secrets.clone(),
                events: events.clone(),
                ids: ports.ids.clone(),
                clock: ports.clock.clone(),
            },
            tokens: token::Tokens::new(ports, &clients, &auth_failures, &usage_publisher, &events, settings),
            introspection: introspection::Introspection {
                store: stores.tokens.clone(),
                signer: ports.signer.clone(),
                buffer: audit_buffer.clone(),
                events: events.clone(),
                clock: ports.clock.clone(),
                issuer: settings.issuer.clone(),
            },
            revocation: revocation::Revocations {
                store: stores.tokens.clone(),
                signer: ports.signer.clone(),
                events: events.clone(),
                clock: ports.clock.clone(),
            },
            bearer: bearer::Bearer {
                tokens: stores.tokens.clone(),
                signer: ports.signer.clone(),
                limiter: stores.limiter.clone(),
                auth_failures: auth_failures.clone(),
                clock: ports.clock.clone(),
            },
            audit: audit::Audit {
                log: stores.audit.clone(),
                cursors: ports.cursors.clone(),
                clock: ports.clock.clone(),
            },
            usage: usage::UsageReports {
                store: stores.usage.clone(),
                agents: stores.agents.clone(),
                organizations: stores.organizations.clone(),
                clock: ports.clock.clone(),
            },
            keys: keys::Keys { signer: ports.signer.clone() },
            bootstrap: bootstrap::Bootstrap::new(ports, events),
            revocation_relay: revocation_relay::RevocationRelay {
                outbox: stores.outbox.clone(),
                cache: stores.revocation_cache.clone(),
            },
            issuer: settings.issuer.clone(),
            readiness: Arc::new(readiness::Readiness::new(stores.health.clone())),
            usage_publisher,
            clients,
            auth_failures,
            audit_buffer,
            clock: ports.clock.clone(),
            ids: ports.ids.clone(),
        }
    }

    /// Returns a new ID for a request that has none.
    pub fn new_request_id(&self) -> String {
        self.ids.next().to_string()
    }

    /// Returns the current time, for validation while a request is parsed.
    pub fn now(&self) -> crate::domain::time::Timestamp {
        self.clock.now()
    }
}
