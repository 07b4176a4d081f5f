//! Counts of a whole service, for its operators.

use async_trait::async_trait;

use super::store_error::StoreError;
use domain::inventory::Inventory;
use domain::time::Timestamp;

/// Counts what a store holds, across all organizations.
#[async_trait]
pub trait InventoryStore: Send + Sync {
    /// Returns the counts of now. `after` and `until` are the period in which credentials expire, without and with its
    /// end.
    ///
    /// The counts need not be of the same moment. Returns a [`StoreError`] if the store cannot answer.
    async fn inventory(&self, after: Timestamp, until: Timestamp) -> Result<Inventory, StoreError>;
}
