//! Removal of expired data.

use std::sync::Arc;

use super::ports::Ports;
use ports::clock::Clock;
use ports::store_error::StoreError;

/// Removes expired data.
#[derive(Clone)]
pub struct Retention {
    store: Arc<dyn ports::retention::Retention>,
    clock: Arc<dyn Clock>,
}

impl Retention {
    pub(super) fn new(ports: &Ports) -> Self {
        Self { store: ports.stores.retention.clone(), clock: ports.clock.clone() }
    }

    /// Removes events past their retention and its grace period.
    ///
    /// Logs approximately how many were removed.
    pub async fn purge(&self) -> Result<(), StoreError> {
        let removed = self.store.purge(self.clock.now()).await?;
        if removed > 0 {
            tracing::info!(removed, "removed audit events past their retention period");
        }
        Ok(())
    }
}
