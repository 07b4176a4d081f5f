//! Rate limiting and auditing of failed authentication, by client address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::audit_buffer::AuditBuffer;
use super::events::{EventDetails, Events};
use super::ports::Ports;
use super::request_context::{AdmissionError, RequestContext};
use super::settings::Settings;
use domain::audit::{AuditAction, AuditEvent, Metadata};
use domain::federation::Check;
use domain::id::{AgentId, OrganizationId};
use domain::names::name_of;
use domain::plan::Limit;
use domain::rate::network_of;
use domain::time::Timestamp;
use ports::clock::Clock;
use ports::rate_limiter::{RateKey, RateLimiter};

/// Counts and records failed authentications.
#[derive(Clone)]
pub struct AuthFailures {
    limiter: Arc<dyn RateLimiter>,
    buffer: Arc<AuditBuffer>,
    events: Events,
    clock: Arc<dyn Clock>,
    requests_per_minute: u32,
    exhausted: Arc<ExhaustedNetworks>,
}

/// Networks that have exceeded their limit of failures.
///
/// Each is stored with the end of its exhaustion, in seconds since the epoch. A lookup does not query the limiter.
#[derive(Default)]
pub struct ExhaustedNetworks(Mutex<HashMap<IpAddr, i64>>);

/// Maximum number of networks kept. Above it all are dropped, and each is added again at its next failure.
const MAX_EXHAUSTED: usize = 10_000;

impl ExhaustedNetworks {
    fn note(&self, network: IpAddr, until: i64) {
        let mut exhausted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if exhausted.len() >= MAX_EXHAUSTED {
            exhausted.clear();
        }
        exhausted.insert(network, until);
    }

    fn has(&self, network: IpAddr, now: Timestamp) -> bool {
        let exhausted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        exhausted.get(&network).is_some_and(|until| now.as_seconds() < *until)
    }
}

/// Existing client that an unauthenticated request claims to be.
#[derive(Clone, Copy, Debug)]
pub struct ClaimedClient {
    /// ID of the client.
    pub agent: AgentId,
    /// Organization of the client.
    pub organization: OrganizationId,
}

/// A failed authentication.
#[derive(Debug)]
pub struct AuthFailure {
    /// Name of the method in audit events.
    pub method: &'static str,
    /// Client that the request claims to come from; `None` if there is no such client.
    pub claimed: Option<ClaimedClient>,
    /// Reason of the failure.
    pub reason: AuthFailureReason,
}

/// Reason of a failed authentication, for the audit log and the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthFailureReason {
    /// The credential cannot be read: no such secret, token or assertion could exist.
    Format,
    /// No client has this ID.
    UnknownClient,
    /// The client has no such secret.
    Secret,
    /// The credential or the token has expired, or the grace period of a rotated secret is over.
    Expired,
    /// The credential or the token was revoked.
    Revoked,
    /// The client has no key with this `kid`, or none at all.
    UnknownKey,
    /// The algorithm is not that of the key.
    Algorithm,
    /// No key made the signature.
    Signature,
    /// `iss` is another.
    Issuer,
    /// `aud` is another.
    Audience,
    /// `exp` is missing or too far ahead.
    Lifetime,
    /// `nbf` or `iat` lies ahead.
    NotBefore,
    /// `jti` is missing.
    Jti,
    /// The assertion or the proof was used before.
    Replayed,
    /// This check of an assertion of a trusted issuer failed.
    Check(Check),
    /// A token that is bound to a key came without a proof by that key for the request, or any token with the wrong scheme.
    Proof,
    /// The agent or its organization is not active, or all tokens issued before were revoked.
    Inactive,
}

impl AuthFailureReason {
    /// Returns the name of the reason in audit events and in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::UnknownClient => "unknown_client",
            Self::Secret => "secret",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::UnknownKey => "unknown_key",
            Self::Algorithm => "algorithm",
            Self::Signature => "signature",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Lifetime => "lifetime",
            Self::NotBefore => "not_before",
            Self::Jti => "jti",
            Self::Replayed => "replayed",
            Self::Check(check) => name_of(&Check::ALL, &check),
            Self::Proof => "proof",
            Self::Inactive => "inactive",
        }
    }
}

impl AuthFailures {
    pub(super) fn new(ports: &Ports, buffer: Arc<AuditBuffer>, settings: &Settings) -> Self {
        Self {
            limiter: ports.stores.limiter.clone(),
            buffer,
            events: Events::new(ports.ids.clone()),
            clock: ports.clock.clone(),
            requests_per_minute: settings.address_requests_per_minute,
            exhausted: Arc::default(),
        }
    }

    /// Counts a failure against the client address.
    ///
    /// On `Ok` the failure may be reported to the client. Returns [`AdmissionError::RateLimited`] if the address has
    /// exceeded its limit. Successful authentication never calls this, so an exhausted address does not block
    /// clients with a correct secret behind the same NAT.
    pub async fn count(&self, context: &RequestContext) -> Result<(), AdmissionError> {
        let Some(address) = context.origin.address else { return Ok(()) };
        let limit = Limit::AtMost(self.requests_per_minute);
        let outcome = context.admit(&*self.limiter, RateKey::of_address(address), limit).await;
        if let (Err(AdmissionError::RateLimited), Some(rate)) = (&outcome, context.rate_limit()) {
            self.exhausted.note(network_of(address), rate.reset_at);
        }
        outcome
    }

    /// Returns whether the address has exceeded its limit of failures.
    ///
    /// Clients at such an address can still authenticate, but the work spent on them is limited.
    pub(super) fn is_exhausted(&self, context: &RequestContext) -> bool {
        let address = context.origin.address.map(network_of);
        address.is_some_and(|network| self.exhausted.has(network, self.clock.now()))
    }

    /// Records in the audit log that the exchange of a subject token was refused. No address is counted.
    pub(super) fn record_refusal(&self, context: &RequestContext, client: ClaimedClient, reason: &str) {
        let details = EventDetails {
            actor: Some(client.agent),
            action: AuditAction::TokenRefused,
            resource: None,
            origin: &context.origin,
            metadata: Metadata::default().with("reason", reason),
        };
        let event = self.events.failure(details, self.clock.now());
        let organization = Some(client.organization);
        self.buffer.refused(client.agent, AuditEvent { organization, ..event });
    }

    /// Counts a failed authentication, and records it in the audit log under the claimed client.
    ///
    /// Unless the address has exceeded its limit, the context has the failure too, for the line of the request.
    pub(super) async fn record(
        &self,
        context: &RequestContext,
        failure: AuthFailure,
    ) -> Result<(), AdmissionError> {
        let AuthFailure { method, claimed, reason } = failure;
        let details = EventDetails {
            actor: None,
            action: AuditAction::AuthFailed,
            resource: claimed.map(|claimed| claimed.agent.into()),
            origin: &context.origin,
            metadata: Metadata::default().with("method", method).with("reason", reason.as_str()),
        };
        self.buffer.failed(AuditEvent {
            organization: claimed.map(|claimed| claimed.organization),
            ..self.events.failure(details, self.clock.now())
        });
        self.count(context).await?;
        context.set_failure(failure);
        Ok(())
    }
}
