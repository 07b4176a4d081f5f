//! Drafts of audit events.

use std::sync::Arc;

use crate::domain::audit::{Action, Authority, EventDraft, Metadata, Origin, Outcome, Resource};
use crate::domain::id::{AgentId, EventId};
use crate::domain::time::Timestamp;
use crate::ports::ids::Ids;

/// Writes drafts of events, each with an id of its own.
#[derive(Clone)]
pub struct Events {
    ids: Arc<dyn Ids>,
}

impl Events {
    pub(super) const fn new(ids: Arc<dyn Ids>) -> Self {
        Self { ids }
    }

    /// Something that succeeded.
    pub fn success(&self, deed: Deed<'_>, at: Timestamp) -> EventDraft {
        self.draft(deed, Outcome::Success, at)
    }

    /// Something that was tried and refused.
    pub fn failure(&self, deed: Deed<'_>, at: Timestamp) -> EventDraft {
        self.draft(deed, Outcome::Failure, at)
    }

    fn draft(&self, deed: Deed<'_>, outcome: Outcome, at: Timestamp) -> EventDraft {
        EventDraft {
            id: EventId(self.ids.next()),
            actor: deed.actor,
            authority: deed.authority,
            action: deed.action,
            outcome,
            resource: deed.resource,
            origin: deed.origin.clone(),
            metadata: deed.metadata,
            at,
        }
    }
}

/// Who did what, to what, from where.
pub struct Deed<'a> {
    pub actor: Option<AgentId>,
    /// By what right, where it is a change that a caller asked for.
    pub authority: Option<Authority>,
    pub action: Action,
    pub resource: Option<Resource>,
    pub origin: &'a Origin,
    pub metadata: Metadata,
}
