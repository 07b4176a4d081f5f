//! Removal of expired data.

use async_trait::async_trait;

use super::store_error::StoreError;
use domain::time::Timestamp;

/// Removes what a store keeps for a limited time.
#[async_trait]
pub trait Retention: Send + Sync {
    /// Removes expired data, and returns about how many audit events were removed.
    ///
    /// Events are removed [`GRACE_DAYS`] after their retention period:
    /// [`Organization::audit_keeping`](domain::organization::Organization::audit_keeping). A shortened
    /// retention takes effect only [`GRACE_DAYS`] after the change. Other data that a store keeps for a
    /// limited time (revocations, assertions, messages of the outbox, counts of past months) is removed once that time has been over
    /// for [`CLOCK_SLACK_SECONDS`](domain::time::CLOCK_SLACK_SECONDS). A store that several instances
    /// share also judges by its own clock: if `now` is later than that clock, only what is past by both is
    /// removed.
    ///
    /// Returns a [`StoreError`] if the store failed.
    async fn purge(&self, now: Timestamp) -> Result<u64, StoreError>;
}

/// Days of grace before expired events are removed and before a shortened retention takes effect.
///
/// An event is kept this long after its retention period is over. Within the grace, a downgrade can be undone.
pub const GRACE_DAYS: u32 = 30;
