//! Reading the audit log.

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

/// Shows what happened.
#[derive(Clone)]
pub struct Audit {
    pub(super) log: Arc<dyn AuditLog>,
    pub(super) cursors: Arc<dyn CursorSeal>,
    pub(super) clock: Arc<dyn Clock>,
}

/// A part of the log that a caller asks for.
#[derive(Clone, Debug)]
pub struct AuditRequest {
    /// Only that organization's events; all within reach where none is named.
    pub organization: Option<OrganizationId>,
    pub filter: AuditFilter,
    /// What an earlier answer gave to go on with.
    pub cursor: Option<String>,
    pub limit: u32,
}

/// A part of the log, newest first.
#[derive(Clone, Debug)]
pub struct AuditPage {
    pub events: Vec<Arc<AuditEvent>>,
    /// To go on with; none at the end.
    pub next_cursor: Option<String>,
}

impl Audit {
    /// A page of events. Going on by its cursors shows each event once that was there before the first page.
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

    /// One event.
    pub async fn find(&self, caller: &Caller, id: Option<EventId>) -> Result<Arc<AuditEvent>, AuditError> {
        caller.require(ManagementScope::AuditRead)?;
        let id = id.ok_or(AuditError::NoSuchEvent)?;
        let found = self.log.find(caller.tenancy(), id, self.clock.now()).await?;
        found.ok_or(AuditError::NoSuchEvent)
    }

    /// Removes what is past its retention and its grace; says how much that was.
    pub async fn purge(&self) -> Result<u64, StoreError> {
        self.log.purge(self.clock.now()).await
    }
}

/// Everything that a cursor must not be used without: who asked, how far that reached, and for what.
fn binding(caller: &Caller, within: Tenancy, filter: &AuditFilter) -> Vec<u8> {
    format!("{} {within:?} {filter:?}", caller.agent()).into_bytes()
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    #[error("no such audit event")]
    NoSuchEvent,
    #[error("the cursor does not belong to this query; start again without it")]
    InvalidCursor,
    #[error(transparent)]
    Store(#[from] StoreError),
}
