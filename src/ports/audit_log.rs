//! Reads the audit log, and tallies what no change carries.

use std::sync::Arc;

use async_trait::async_trait;

use super::store_error::StoreError;
use crate::domain::audit::{AuditEvent, AuditFilter, Position, Tally};
use crate::domain::id::EventId;
use crate::domain::tenancy::Tenancy;
use crate::domain::time::Timestamp;

/// The append-only record. Events of changes come into it through the stores of what changed.
///
/// Beside the common promises: an event older than its organization's retention is neither listed nor found.
#[async_trait]
pub trait AuditLog: Send + Sync {
    /// Adds to tallies what one instance has seen, and writes of each the first events in full. All or none.
    ///
    /// However many instances add to one tally, [`MAX_SAMPLES`](crate::domain::audit::MAX_SAMPLES) events of it
    /// are written in full, and the rest is counted.
    async fn tally(&self, tallies: &[Tally]) -> Result<(), StoreError>;

    /// Ends the tallies of minutes before `end`: each that has counted something becomes one event, with its
    /// `count`. Of many callers one makes it.
    async fn settle(&self, end: Timestamp) -> Result<(), StoreError>;

    /// Events that the filter admits, newest first, from just past `after` on, at most `limit`.
    ///
    /// Going on from the last of each answer shows every event that was stored before the first one exactly
    /// once, whatever is stored in between.
    async fn list(&self, query: &AuditQuery) -> Result<Vec<Arc<AuditEvent>>, StoreError>;

    /// The event with that id.
    async fn find(
        &self,
        within: Tenancy,
        id: EventId,
        now: Timestamp,
    ) -> Result<Option<Arc<AuditEvent>>, StoreError>;

    /// Removes events that are past their keeping by [`GRACE_DAYS`], and returns about how many those were.
    ///
    /// Events are kept for [`Organization::audit_keeping`](crate::domain::organization::Organization::audit_keeping); a
    /// retention that was made shorter counts only [`GRACE_DAYS`] after that. What else a store remembers for a time
    /// (revocations, assertions, counts of past months) goes with them once that time is over by
    /// [`CLOCK_SLACK_SECONDS`](crate::domain::time::CLOCK_SLACK_SECONDS). A store that instances share judges by its own
    /// clock as well: where `now` is later than that, nothing goes that is not past by both.
    async fn purge(&self, now: Timestamp) -> Result<u64, StoreError>;
}

/// For how long an event is kept after its keeping is over, and for how long a shorter retention does not count yet: a
/// downgrade can be taken back in that time.
pub const GRACE_DAYS: u32 = 30;

/// A part of the log.
#[derive(Clone, Debug)]
pub struct AuditQuery {
    pub within: Tenancy,
    pub filter: AuditFilter,
    /// From just past this place on; from the newest where there is none.
    pub after: Option<Position>,
    pub limit: u32,
    /// The instant that retention is reckoned from.
    pub now: Timestamp,
}
