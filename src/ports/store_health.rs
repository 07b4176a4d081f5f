//! Health of a store.

use async_trait::async_trait;

use super::store_error::StoreError;

/// Reports the health of a store, for the probes of load balancers.
#[async_trait]
pub trait StoreHealth: Send + Sync {
    /// Returns the name of the store.
    fn name(&self) -> &'static str;

    /// Returns whether the service needs this store to work.
    ///
    /// Without a store that is not essential, the service is degraded and keeps serving.
    fn is_essential(&self) -> bool;

    /// Returns whether the store, if it answers, has all that the service asks of it, such as connections.
    ///
    /// Otherwise the service is degraded and keeps serving.
    fn is_whole(&self) -> bool {
        true
    }

    /// Queries the store, and waits a short while for its response.
    ///
    /// Returns a [`StoreError`] if the store does not answer.
    async fn check(&self) -> Result<(), StoreError>;
}
