//! Creation of audit events.

use std::sync::Arc;

use super::caller::Caller;
use domain::audit::{AuditAction, AuditEvent, Metadata, Origin, Outcome, Resource};
use domain::id::{AgentId, EventId};
use domain::time::Timestamp;
use ports::ids::Ids;

/// Creates audit events, each with a new ID.
#[derive(Clone)]
pub struct Events {
    ids: Arc<dyn Ids>,
}

impl Events {
    pub(super) const fn new(ids: Arc<dyn Ids>) -> Self {
        Self { ids }
    }

    /// Creates an event for an action that succeeded.
    pub fn success(&self, details: EventDetails<'_>, at: Timestamp) -> AuditEvent {
        self.new_event(details, Outcome::Success, at)
    }

    /// Creates the events of a change: one that names the fields that differ, if any does, and one of the new status.
    ///
    /// Each field is given with whether it differs.
    pub(super) fn of_change(
        &self,
        caller: &Caller,
        resource: impl Into<Resource>,
        (update, fields): (AuditAction, &[(&'static str, bool)]),
        status: Option<AuditAction>,
        at: Timestamp,
    ) -> Vec<AuditEvent> {
        let resource = resource.into();
        let named: Vec<&str> = fields.iter().filter(|(_, differs)| *differs).map(|(name, _)| *name).collect();
        let update = (!named.is_empty()).then(|| (update, Metadata::default().with("fields", named)));
        let status = status.map(|action| (action, Metadata::default()));
        let event = |(action, metadata)| self.success(caller.event(action, resource, metadata), at);
        update.into_iter().chain(status).map(event).collect()
    }

    /// Creates an event for an action that was attempted and refused.
    pub fn failure(&self, details: EventDetails<'_>, at: Timestamp) -> AuditEvent {
        self.new_event(details, Outcome::Failure, at)
    }

    fn new_event(&self, details: EventDetails<'_>, outcome: Outcome, at: Timestamp) -> AuditEvent {
        AuditEvent {
            organization: None,
            id: EventId(self.ids.next()),
            actor: details.actor,
            action: details.action,
            outcome,
            resource: details.resource,
            origin: details.origin.clone(),
            metadata: details.metadata,
            at,
        }
    }
}

/// Actor, action, resource and origin of an event.
pub struct EventDetails<'a> {
    /// Agent that acted; `None` for an unauthenticated caller and for the operator.
    pub actor: Option<AgentId>,
    /// Action that was performed or refused.
    pub action: AuditAction,
    /// Resource that was acted on; `None` if unknown.
    pub resource: Option<Resource>,
    /// Origin of the request.
    pub origin: &'a Origin,
    /// Further details of the event.
    pub metadata: Metadata,
}
