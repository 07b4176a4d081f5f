//! Those who prove nothing: counted by address, noted in the audit log, and told nothing.

use std::sync::Arc;

use super::audit_lane::AuditLane;
use super::event::{Deed, Events};
use super::visit::{NotAdmitted, Visit};
use crate::domain::audit::{Action, AuditEvent, Metadata};
use crate::domain::id::{AgentId, OrganizationId};
use crate::domain::plan::Limit;
use crate::ports::clock::Clock;
use crate::ports::rate_limiter::{RateKey, RateLimiter};

/// Deals with requests that fail to prove who they are.
#[derive(Clone)]
pub struct Strangers {
    pub(super) limiter: Arc<dyn RateLimiter>,
    pub(super) lane: Arc<AuditLane>,
    pub(super) events: Events,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) requests_per_minute: u32,
}

/// The client that a stranger claims to be, where there is such a client.
#[derive(Clone, Copy, Debug)]
pub struct Claimed {
    pub agent: AgentId,
    pub organization: OrganizationId,
}

impl Strangers {
    /// Counts a failure against the stranger's address.
    ///
    /// `Ok` lets the caller tell of the failure; otherwise the address has had its share. Who proves itself
    /// never comes here, so a full address stops nobody with a right secret behind the same NAT.
    pub async fn count(&self, visit: &Visit) -> Result<(), NotAdmitted> {
        let Some(address) = visit.origin.address else { return Ok(()) };
        let limit = Limit::AtMost(self.requests_per_minute);
        visit.admit(&*self.limiter, RateKey::of_address(address), limit).await
    }

    /// Counts a failed proof, and notes it in the audit log under the client that was claimed.
    pub(super) async fn failed(
        &self,
        visit: &Visit,
        claimed: Option<Claimed>,
        how: &'static str,
    ) -> Result<(), NotAdmitted> {
        let deed = Deed {
            actor: None,
            authority: None,
            action: Action::AuthFailed,
            resource: claimed.map(|claimed| claimed.agent.into()),
            origin: &visit.origin,
            metadata: Metadata::default().with("method", how),
        };
        self.lane.failed(AuditEvent {
            organization: claimed.map(|claimed| claimed.organization),
            draft: self.events.failure(deed, self.clock.now()),
        });
        self.count(visit).await
    }
}
