//! Use cases of the audit log: list, find, purge.

use std::sync::Arc;

use super::caller::{Caller, Forbidden};
use crate::domain::audit::{AuditEvent, AuditFilter};
use crate::domain::id::{EventId, OrganizationId};
use crate::domain::scope::ManagementScope;
use crate::domain::tenancy::Tenancy;
use crate::ports::audit_log::{AuditLog, AuditQuery};
use crate::ports::clock::Clock;
use crate::ports::cursor_seal::CursorSeal;
use crate::ports::store_error::StoreError;

/// Reads and purges the audit log.
#[derive(Clone)]
pub struct Audit {
    pub(super) log: Arc<dyn AuditLog>,
    pub(super) cursors: Arc<dyn CursorSeal>,
    pub(super) clock: Arc<dyn Clock>,
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
        let binding = binding(caller, within, &request.filter);
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
            events.last().filter(|_| has_more).map(|last| self.cursors.seal(last.draft.position(), &binding));
        Ok(AuditPage { events, next_cursor })
    }

    /// Returns the event with this ID.
    ///
    /// Returns [`AuditError::NoSuchEvent`] if the ID is malformed (`None`) or unknown, or if the event is outside
    /// the caller's tenancy or past its retention.
    pub async fn find(&self, caller: &Caller, id: EventId) -> Result<Arc<AuditEvent>, AuditError> {
        caller.require(ManagementScope::AuditRead)?;
        let found = self.log.find(caller.tenancy(), id, self.clock.now()).await?;
        found.ok_or(AuditError::NoSuchEvent)
    }

    /// Removes events past their retention and its grace period.
    ///
    /// Returns approximately how many were removed.
    pub async fn purge(&self) -> Result<(), StoreError> {
        let removed = self.log.purge(self.clock.now()).await?;
        if removed > 0 {
            tracing::info!(removed, "removed audit events past their retention period");
        }
        Ok(())
    }
}

/// Returns what a cursor is bound to: the caller, its tenancy and the filter.
fn binding(caller: &Caller, within: Tenancy, filter: &AuditFilter) -> Vec<u8> {
    format!("{} {within:?} {filter:?}", caller.agent()).into_bytes()
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
