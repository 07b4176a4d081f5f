//! All use cases as one value.

use std::sync::Arc;

use super::metrics::register;
use super::ports::Ports;
use super::settings::Settings;
use super::{
    agents, audit, audit_buffer, auth_failures, bearer, bootstrap, client_auth, credentials, forward_auth,
    introspection, issuers, keys, monitoring, organizations, outbox_relay, readiness, retention, revocation,
    token, token_tree, usage, usage_mirror,
};
use ports::clock::Clock;
use ports::ids::Ids;

/// All use cases of the service.
#[derive(Clone)]
pub struct App {
    /// Use cases of agents.
    pub agents: agents::Agents,
    /// Use cases of organizations.
    pub organizations: organizations::Organizations,
    /// Use cases of trusted issuers.
    pub issuers: issuers::Issuers,
    /// Use cases of credentials.
    pub credentials: credentials::Credentials,
    /// Issuance of access tokens.
    pub tokens: token::Tokens,
    /// Use cases of tokens that are known by their ID.
    pub token_trees: token_tree::TokenTrees,
    /// Token introspection (RFC 7662).
    pub introspection: introspection::Introspection,
    /// Token revocation (RFC 7009).
    pub revocation: revocation::Revocations,
    /// Bearer token authentication (RFC 6750).
    pub bearer: bearer::Bearer,
    /// Forward authentication for proxies.
    pub forward_auth: forward_auth::ForwardAuth,
    /// Client authentication.
    pub clients: client_auth::ClientAuth,
    /// Rate limiting and auditing of failed authentication.
    pub auth_failures: auth_failures::AuthFailures,
    /// Use cases of the audit log.
    pub audit: audit::Audit,
    /// Removal of expired data.
    pub retention: retention::Retention,
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
    /// Delivery of the messages of the outbox.
    pub outbox_relay: outbox_relay::OutboxRelay,
    /// Issuer identifier (RFC 8414 section 2).
    pub issuer: Arc<str>,
    /// Readiness of the stores.
    pub readiness: Arc<readiness::Readiness>,
    /// Gauges for operators; `None` if metrics are off.
    pub monitoring: Option<monitoring::Monitoring>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
}

impl App {
    /// Creates the use cases on these ports.
    pub fn new(ports: &Ports, settings: &Settings) -> Self {
        register();
        let stores = &ports.stores;
        let audit_buffer = Arc::new(audit_buffer::AuditBuffer::new(
            stores.audit.clone(),
            ports.clock.clone(),
            ports.ids.clone(),
        ));
        let auth_failures = auth_failures::AuthFailures::new(ports, audit_buffer.clone(), settings);
        let usage_publisher =
            usage_mirror::UsagePublisher::new(stores.usage.clone(), stores.usage_mirror.clone());
        let clients = client_auth::ClientAuth::new(ports, &auth_failures, settings);
        let readiness = Arc::new(readiness::Readiness::new(stores.health.clone()));
        let bearer = bearer::Bearer::new(ports, auth_failures.clone(), settings);
        Self {
            agents: agents::Agents::new(ports),
            organizations: organizations::Organizations::new(ports),
            issuers: issuers::Issuers::new(ports, settings),
            credentials: credentials::Credentials::new(ports),
            tokens: token::Tokens::new(ports, &clients, &auth_failures, &usage_publisher, settings),
            token_trees: token_tree::TokenTrees::new(ports),
            introspection: introspection::Introspection::new(ports, audit_buffer.clone(), settings),
            revocation: revocation::Revocations::new(ports),
            forward_auth: forward_auth::ForwardAuth::new(bearer.clone(), settings),
            bearer,
            audit: audit::Audit::new(ports),
            retention: retention::Retention::new(ports),
            usage: usage::UsageReports::new(ports),
            keys: keys::Keys::new(ports),
            bootstrap: bootstrap::Bootstrap::new(ports),
            outbox_relay: outbox_relay::OutboxRelay::new(ports),
            issuer: settings.issuer.clone(),
            monitoring: settings.has_metrics.then(|| monitoring::Monitoring::new(ports, &readiness)),
            readiness,
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
    pub fn now(&self) -> domain::time::Timestamp {
        self.clock.now()
    }
}
