//! What the service does: one file a noun, one method a sentence of the contract.
//!
//! A use case authorizes its caller, decides by the rules of [`domain`](crate::domain), and makes one write
//! through a port. It knows neither HTTP nor SQL.

pub mod agents;
pub mod audit;
pub mod audit_buffer;
pub mod auth_failures;
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
pub mod token;
pub mod usage;

use std::sync::Arc;

pub use crate::ports::secret_hasher::HasherError;
pub use crate::ports::store_error::{StoreError, with_causes};
use crate::ports::{
    assertion_verifier::AssertionVerifier, clock::Clock, cursor_seal::CursorSeal, ids::Ids,
    secret_hasher::SecretHasher, secrets::Secrets, stores::Stores, token_signer::TokenSigner,
};

/// Everything that the core needs of the world.
#[derive(Clone)]
pub struct Ports {
    pub stores: Stores,
    pub hasher: Arc<dyn SecretHasher>,
    pub signer: Arc<dyn TokenSigner>,
    pub assertions: Arc<dyn AssertionVerifier>,
    pub cursors: Arc<dyn CursorSeal>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
    pub secrets: Arc<dyn Secrets>,
}

/// What an operator may choose about the core.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who we are: the tokens' `iss`, and the audience of client assertions.
    pub issuer: Arc<str>,
    /// A second audience that client assertions may name: the token endpoint's URL, where that is allowed.
    pub token_endpoint_audience: Option<Arc<str>>,
    /// How long a token lives.
    pub token_ttl_seconds: u32,
    /// How many requests a minute an address may make that prove nothing.
    pub address_requests_per_minute: u32,
}

/// The whole core, ready to be driven.
#[derive(Clone)]
pub struct App {
    pub agents: agents::Agents,
    pub organizations: organizations::Organizations,
    pub credentials: credentials::Credentials,
    pub tokens: token::Tokens,
    pub introspection: introspection::Introspection,
    pub revocation: revocation::Revocations,
    pub bearer: bearer::Bearer,
    pub clients: client_auth::ClientAuth,
    pub auth_failures: auth_failures::AuthFailures,
    pub audit: audit::Audit,
    pub audit_buffer: Arc<audit_buffer::AuditBuffer>,
    pub usage: usage::UsageReports,
    pub keys: keys::Keys,
    pub bootstrap: bootstrap::Bootstrap,
    pub revocation_relay: revocation_relay::RevocationRelay,
    pub readiness: Arc<readiness::Readiness>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
}

impl App {
    /// Puts the core together on these ports.
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
        let clients = client_auth::ClientAuth {
            store: stores.credentials.clone(),
            tokens: stores.tokens.clone(),
            hasher: ports.hasher.clone(),
            verifier: ports.assertions.clone(),
            limiter: stores.limiter.clone(),
            auth_failures: auth_failures.clone(),
            clock: ports.clock.clone(),
            settings: settings.clone(),
        };
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
            tokens: token::Tokens {
                clients: clients.clone(),
                store: stores.tokens.clone(),
                signer: ports.signer.clone(),
                auth_failures: auth_failures.clone(),
                events: events.clone(),
                ids: ports.ids.clone(),
                clock: ports.clock.clone(),
                settings: settings.clone(),
            },
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
            readiness: Arc::new(readiness::Readiness::new(stores.health.clone())),
            clients,
            auth_failures,
            audit_buffer,
            clock: ports.clock.clone(),
            ids: ports.ids.clone(),
        }
    }

    /// A name for a request that brings none.
    pub fn new_request_id(&self) -> String {
        self.ids.next().to_string()
    }

    /// The present instant, for what must be judged by it while a request is read.
    pub fn now(&self) -> crate::domain::time::Timestamp {
        self.clock.now()
    }
}
