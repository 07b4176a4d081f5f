//! Whether a store answers.

use async_trait::async_trait;

use super::store_error::StoreError;

/// Tells how a store is, for the probes of load balancers.
#[async_trait]
pub trait StoreHealth: Send + Sync {
    /// What the store is called.
    fn name(&self) -> &'static str;

    /// Whether nothing works without it. Without another the service is degraded, and serves on.
    fn is_essential(&self) -> bool;

    /// Asks the store for an answer, and waits for it a short while.
    async fn check(&self) -> Result<(), StoreError>;
}
