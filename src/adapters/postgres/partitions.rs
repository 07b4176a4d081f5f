//! Room in the audit log: a partition a month, made ahead.

use std::sync::PoisonError;

use super::failure::unavailable;
use super::store::Postgres;
use crate::domain::time::Timestamp;
use crate::ports::store_error::StoreError;

/// How many months are made at once: the present one and those after it.
const AHEAD: i32 = 3;

const MAKE_ROOM: &str = "\
-- ensure_partition
SELECT make_audit_partitions($1, $2)";

impl Postgres {
    /// Sees to it that events of that instant have a partition. It asks the database once a month.
    pub(super) async fn ensure_partition(&self, at: Timestamp) -> Result<(), StoreError> {
        if self.months.lock().unwrap_or_else(PoisonError::into_inner).contains(&at.month()) {
            return Ok(());
        }
        self.make_partitions(at).await
    }

    /// Asks the database again from now on: a purge may have removed a partition.
    pub(super) fn forget_partitions(&self) {
        self.months.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Makes the partition of that instant and those after it, where they are missing.
    pub(super) async fn make_partitions(&self, at: Timestamp) -> Result<(), StoreError> {
        // Whether they were made or not: of what is to be stored there nothing has been sent.
        let made = self.run(MAKE_ROOM, &[&at, &AHEAD]).await;
        made.map_err(|error| match error {
            StoreError::InDoubt { source, .. } => unavailable(source),
            other => other,
        })?;
        self.months.lock().unwrap_or_else(PoisonError::into_inner).insert(at.month());
        Ok(())
    }
}
