//! New audit events.

use std::sync::Arc;

use crate::domain::audit::{AuditAction, Authority, Metadata, NewAuditEvent, Origin, Outcome, Resource};
use crate::domain::id::{AgentId, EventId};
use crate::domain::time::Timestamp;
use crate::ports::ids::Ids;

/// Makes events, each with an ID of its own.
#[derive(Clone)]
pub struct Events {
    ids: Arc<dyn Ids>,
}

impl Events {
    pub(super) const fn new(ids: Arc<dyn Ids>) -> Self {
        Self { ids }
    }

    /// Something that succeeded.
    pub fn success(&self, details: EventDetails<'_>, at: Timestamp) -> NewAuditEvent {
        self.new_event(details, Outcome::Success, at)
    }

    /// Something that was tried and refused.
    pub fn failure(&self, details: EventDetails<'_>, at: Timestamp) -> NewAuditEvent {
        self.new_event(details, Outcome::Failure, at)
    }

    fn new_event(&self, details: EventDetails<'_>, outcome: Outcome, at: Timestamp) -> NewAuditEvent {
        NewAuditEvent {
            id: EventId(self.ids.next()),
            actor: details.actor,
            authority: details.authority,
            action: details.action,
            outcome,
            resource: details.resource,
            origin: details.origin.clone(),
            metadata: details.metadata,
            at,
        }
    }
}

/// Who did what, to what, from where.
pub struct EventDetails<'a> {
    pub actor: Option<AgentId>,
    /// By what right, where it is a change that a caller asked for.
    pub authority: Option<Authority>,
    pub action: AuditAction,
    pub resource: Option<Resource>,
    pub origin: &'a Origin,
    pub metadata: Metadata,
}
