//! Reading of the audit log, and tallies of events that no change carries.

use std::sync::Arc;

use async_trait::async_trait;

use super::store_error::StoreError;
use domain::audit::{AuditEvent, AuditFilter, Position, Tally};
use domain::id::{EventId, OrganizationId, TokenId};
use domain::tenancy::Tenancy;
use domain::time::Timestamp;

/// Append-only log of audit events.
///
/// The stores of the changed entities add the events of changes. In addition to the common promises of
/// [`ports`](super), an event older than its organization's retention is neither listed nor found.
#[async_trait]
pub trait AuditLog: Send + Sync {
    /// Adds what one instance has seen to tallies, and stores the first samples of each in full.
    ///
    /// All of the tallies are stored or none. However many instances add to one tally, at most
    /// [`MAX_SAMPLES`](domain::audit::MAX_SAMPLES) of its samples are stored in full; the rest are
    /// counted.
    ///
    /// Returns a [`StoreError`] if the store failed.
    async fn tally(&self, tallies: &[Tally]) -> Result<(), StoreError>;

    /// Closes the tallies of minutes before `end`. Each that counted something becomes one event with its
    /// `count`.
    ///
    /// Of several callers, one creates that event. Returns a [`StoreError`] if the store failed.
    async fn settle(&self, end: Timestamp) -> Result<(), StoreError>;

    /// Returns at most `limit` events that match the filter, newest first, from just past `after`.
    ///
    /// Continuing each time from the last event of the result returns every event that was stored before the
    /// first call exactly once, whatever is stored in between.
    ///
    /// Returns a [`StoreError`] if the store cannot answer.
    async fn list(&self, query: &AuditQuery) -> Result<Vec<Arc<AuditEvent>>, StoreError>;

    /// Returns at most `limit` events of tokens that were obtained by exchange from this token, at any depth, oldest first.
    ///
    /// The events are of one organization, and within its retention at `now`. Returns a [`StoreError`] if the store cannot
    /// answer.
    async fn exchanged_from(
        &self,
        organization: OrganizationId,
        root: TokenId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Arc<AuditEvent>>, StoreError>;

    /// Returns the event with this ID.
    ///
    /// `None` if it is unknown, outside `within`, or past its retention at `now`. Returns a [`StoreError`] if
    /// the store cannot answer.
    async fn find(
        &self,
        within: Tenancy,
        id: EventId,
        now: Timestamp,
    ) -> Result<Option<Arc<AuditEvent>>, StoreError>;
}

/// Query of [`AuditLog::list`].
#[derive(Clone, Debug)]
pub struct AuditQuery {
    /// Organizations whose events are listed.
    pub within: Tenancy,
    /// Filter that the events match.
    pub filter: AuditFilter,
    /// Position after which the list starts; at the newest event if `None`.
    pub after: Option<Position>,
    /// Maximum number of events.
    pub limit: u32,
    /// Instant by which retention is judged.
    pub now: Timestamp,
}
