//! Partitions of the audit log: one per month, created ahead of time.

use std::sync::PoisonError;

use crate::pool::failure::unavailable;
use crate::rows::codec::SqlTimestamp;
use crate::store::Postgres;
use domain::time::Timestamp;
use ports::store_error::StoreError;

/// Number of monthly partitions created at once: the given month's and those after it.
const AHEAD: i32 = 3;

const MAKE_ROOM: &str = "\
-- ensure_partition
SELECT make_audit_partitions($1, $2)";

impl Postgres {
    /// Ensures that events of this instant have a partition.
    ///
    /// The database is asked once per month.
    pub(crate) async fn ensure_partition(&self, at: Timestamp) -> Result<(), StoreError> {
        if self.months.lock().unwrap_or_else(PoisonError::into_inner).contains(&at.month()) {
            return Ok(());
        }
        self.make_partitions(at).await
    }

    /// Forgets which partitions exist, because a purge may have removed one.
    pub(crate) fn forget_partitions(&self) {
        self.months.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Creates the partition for this instant and those after it, if they are missing.
    pub(crate) async fn make_partitions(&self, at: Timestamp) -> Result<(), StoreError> {
        // Unavailable, not in doubt, because no event for these partitions has been sent yet.
        let made = self.run(MAKE_ROOM, &[&SqlTimestamp(at), &AHEAD]).await;
        made.map_err(|error| match error {
            StoreError::InDoubt { source, .. } => unavailable(source),
            other => other,
        })?;
        self.months.lock().unwrap_or_else(PoisonError::into_inner).insert(at.month());
        Ok(())
    }
}
