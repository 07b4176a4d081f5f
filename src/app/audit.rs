//! Use cases of the audit log: list, find.

use std::sync::Arc;

use uuid::Uuid;

use super::caller::{Caller, Forbidden};
use super::ports::Ports;
use domain::audit::{AuditAction, AuditEvent, AuditFilter, Outcome, ResourceType};
use domain::id::{AgentId, EventId, OrganizationId};
use domain::names::name_of;
use domain::scope::ManagementScope;
use domain::tenancy::Tenancy;
use domain::time::Timestamp;
use ports::audit_log::{AuditLog, AuditQuery};
use ports::clock::Clock;
use ports::cursor_seal::CursorSeal;
use ports::store_error::StoreError;

/// Reads the audit log.
#[derive(Clone)]
pub struct Audit {
    log: Arc<dyn AuditLog>,
    cursors: Arc<dyn CursorSeal>,
    clock: Arc<dyn Clock>,
}

/// Parameters of a list of audit events.
#[derive(Clone, Debug)]
pub struct AuditRequest {
    /// Organization to list; all within the caller's tenancy if `None`.
    pub organization: Option<OrganizationId>,
    /// Conditions that listed events meet.
    pub filter: AuditFilter,
    /// Cursor from the previous page; `None` for the first page.
    pub cursor: Option<String>,
    /// Maximum number of events on the page.
    pub limit: u32,
}

/// A page of the audit log, newest first.
#[derive(Clone, Debug)]
pub struct AuditPage {
    /// Events of the page.
    pub events: Vec<Arc<AuditEvent>>,
    /// Cursor of the next page; `None` on the last page.
    pub next_cursor: Option<String>,
}

impl Audit {
    pub(super) fn new(ports: &Ports) -> Self {
        Self { log: ports.stores.audit.clone(), cursors: ports.cursors.clone(), clock: ports.clock.clone() }
    }

    /// Returns a page of events.
    ///
    /// Following the cursors yields each event stored before the first page exactly once. Returns
    /// [`AuditError::InvalidCursor`] if the cursor was not issued to this caller for these filters.
    pub async fn list(&self, caller: &Caller, request: &AuditRequest) -> Result<AuditPage, AuditError> {
        caller.require(ManagementScope::AuditRead)?;
        let Some(within) = caller.tenancy().narrowed_to(request.organization) else {
            return match request.cursor {
                Some(_) => Err(AuditError::InvalidCursor),
                None => Ok(AuditPage { events: Vec::new(), next_cursor: None }),
            };
        };
        let binding = binding(caller.agent(), within, &request.filter);
        let after = match &request.cursor {
            None => None,
            Some(cursor) => Some(self.cursors.open(cursor, &binding).ok_or(AuditError::InvalidCursor)?),
        };
        let query = AuditQuery {
            within,
            filter: request.filter.clone(),
            after,
            limit: request.limit + 1,
            now: self.clock.now(),
        };
        let mut events = self.log.list(&query).await?;
        let has_more = events.len() > request.limit as usize;
        events.truncate(request.limit as usize);
        let next_cursor =
            events.last().filter(|_| has_more).map(|last| self.cursors.seal(last.position(), &binding));
        Ok(AuditPage { events, next_cursor })
    }

    /// Returns the event with this ID.
    ///
    /// Returns [`AuditError::NoSuchEvent`] if the ID is unknown, or if the event is outside
    /// the caller's tenancy or past its retention.
    pub async fn find(&self, caller: &Caller, id: EventId) -> Result<Arc<AuditEvent>, AuditError> {
        caller.require(ManagementScope::AuditRead)?;
        let found = self.log.find(caller.tenancy(), id, self.clock.now()).await?;
        found.ok_or(AuditError::NoSuchEvent)
    }
}

/// Returns what a cursor is bound to: the caller, the organizations it may see, and the filter.
///
/// Wire names and IDs of the filters that are set, so that versions of this service accept each other's cursors, also
/// where one of them has a filter more.
fn binding(caller: AgentId, within: Tenancy, filter: &AuditFilter) -> Vec<u8> {
    let AuditFilter { actor, action, outcome, resource_type, resource_id, from, to } = filter;
    let id = |id: Option<Uuid>| id.map(|id| id.to_string());
    let millis = |at: Option<Timestamp>| at.map(|at| at.as_millis().to_string());
    let name = |name: Option<&'static str>| name.map(str::to_owned);
    let parts = [
        ("caller", Some(caller.to_string())),
        ("organization", id(within.organization().map(|id| id.0))),
        ("agent", id(actor.map(|actor| actor.0))),
        ("action", name(action.map(|action| name_of(&AuditAction::ALL, &action)))),
        ("outcome", name(outcome.map(|outcome| name_of(&Outcome::ALL, &outcome)))),
        ("resourceType", name(resource_type.map(|kind| name_of(&ResourceType::ALL, &kind)))),
        ("resourceId", id(*resource_id)),
        ("from", millis(*from)),
        ("to", millis(*to)),
    ];
    let present = parts.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?)));
    present.collect::<Vec<_>>().join(" ").into_bytes()
}

/// Error returned by the use cases of the audit log.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The caller lacks `audit:read`.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// No visible event has this ID.
    #[error("no such audit event")]
    NoSuchEvent,
    /// The cursor was not issued to this caller for these filters.
    #[error("the cursor does not belong to this query; start again without it")]
    InvalidCursor,
    /// The store returned an error.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_bound_to_the_same_text_by_every_version() {
        let (caller, organization) = (AgentId(Uuid::from_u128(1)), OrganizationId(Uuid::from_u128(2)));
        let all = binding(caller, Tenancy::All, &AuditFilter::default());
        assert_eq!(
            all, b"caller=00000000-0000-0000-0000-000000000001",
            "a filter that is not set leaves no trace"
        );
        let filter = AuditFilter {
            actor: Some(AgentId(Uuid::from_u128(3))),
            action: Some(AuditAction::TokenIssued),
            outcome: Some(Outcome::Success),
            resource_type: Some(ResourceType::Token),
            resource_id: Some(Uuid::from_u128(4)),
            from: Some(Timestamp::from_millis(-5)),
            to: Some(Timestamp::from_millis(6)),
        };
        let text = "caller=00000000-0000-0000-0000-000000000001 organization=00000000-0000-0000-0000-000000000002 \
                    agent=00000000-0000-0000-0000-000000000003 action=token.issued outcome=success resourceType=token \
                    resourceId=00000000-0000-0000-0000-000000000004 from=-5 to=6";
        assert_eq!(binding(caller, Tenancy::Only(organization), &filter), text.as_bytes());
    }
}
