//! Those who prove nothing: counted by address, noted in the audit log, and told nothing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::audit_buffer::AuditBuffer;
use super::events::{EventDetails, Events};
use super::request_context::{AdmissionError, RequestContext};
use crate::domain::audit::{AuditAction, AuditEvent, Metadata};
use crate::domain::id::{AgentId, OrganizationId};
use crate::domain::plan::Limit;
use crate::domain::rate::network_of;
use crate::domain::time::Timestamp;
use crate::ports::clock::Clock;
use crate::ports::rate_limiter::{RateKey, RateLimiter};

/// Deals with requests that fail to prove who they are.
#[derive(Clone)]
pub struct AuthFailures {
    pub(super) limiter: Arc<dyn RateLimiter>,
    pub(super) buffer: Arc<AuditBuffer>,
    pub(super) events: Events,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) requests_per_minute: u32,
    pub(super) exhausted: Arc<ExhaustedNetworks>,
}

/// Networks that have had their share of failures, each until when. To know them costs no question to the limiter.
#[derive(Default)]
pub struct ExhaustedNetworks(Mutex<HashMap<IpAddr, i64>>);

/// How many of them are known at once. Beyond that all are forgotten, and known again with their next failure.
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

/// The client that a stranger claims to be, where there is such a client.
#[derive(Clone, Copy, Debug)]
pub struct ClaimedClient {
    pub agent: AgentId,
    pub organization: OrganizationId,
}

impl AuthFailures {
    /// Counts a failure against the stranger's address.
    ///
    /// `Ok` lets the caller tell of the failure; otherwise the address has had its share. Who proves itself
    /// never comes here, so an exhausted address stops nobody with a right secret behind the same NAT.
    pub async fn count(&self, context: &RequestContext) -> Result<(), AdmissionError> {
        let Some(address) = context.origin.address else { return Ok(()) };
        let limit = Limit::AtMost(self.requests_per_minute);
        let outcome = context.admit(&*self.limiter, RateKey::of_address(address), limit).await;
        if let (Err(AdmissionError::RateLimited), Some(rate)) = (&outcome, context.rate_limit()) {
            self.exhausted.note(network_of(address), rate.reset_at);
        }
        outcome
    }

    /// Whether the address has had its share of failures. It may still prove itself, but not at any cost.
    pub(super) fn is_exhausted(&self, context: &RequestContext) -> bool {
        let address = context.origin.address.map(network_of);
        address.is_some_and(|network| self.exhausted.has(network, self.clock.now()))
    }

    /// Counts a failed proof, and notes it in the audit log under the client that was claimed.
    pub(super) async fn record(
        &self,
        context: &RequestContext,
        claimed: Option<ClaimedClient>,
        how: &'static str,
    ) -> Result<(), AdmissionError> {
        let details = EventDetails {
            actor: None,
            authority: None,
            action: AuditAction::AuthFailed,
            resource: claimed.map(|claimed| claimed.agent.into()),
            origin: &context.origin,
            metadata: Metadata::default().with("method", how),
        };
        self.buffer.failed(AuditEvent {
            organization: claimed.map(|claimed| claimed.organization),
            draft: self.events.failure(details, self.clock.now()),
        });
        self.count(context).await
    }
}
