//! Reading and retention of the audit log, and tallies of events that no change carries.

use std::sync::Arc;

use async_trait::async_trait;

use super::store_error::StoreError;
use domain::audit::{AuditEvent, AuditFilter, Position, Tally};
use domain::id::EventId;
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

    /// Removes events that are past their keeping time by [`GRACE_DAYS`], and returns about how many.
    ///
    /// Events are kept for
    /// [`Organization::audit_keeping`](domain::organization::Organization::audit_keeping). A shortened
    /// retention takes effect only [`GRACE_DAYS`] after the change. Other data that a store keeps for a
    /// limited time (revocations, assertions, counts of past months) is removed once that time has been over
    /// for [`CLOCK_SLACK_SECONDS`](domain::time::CLOCK_SLACK_SECONDS). A store that several instances
    /// share also judges by its own clock: if `now` is later than that clock, only what is past by both is
    /// removed.
    ///
    /// Returns a [`StoreError`] if the store failed.
    async fn purge(&self, now: Timestamp) -> Result<u64, StoreError>;
}

/// Days of grace before expired events are removed and before a shortened retention takes effect.
///
/// An event is kept this long after its keeping time is over. Within the grace, a downgrade can be undone.
pub const GRACE_DAYS: u32 = 30;

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
