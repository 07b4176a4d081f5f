//! Monthly usage, shown to operators outside the durable store.

use async_trait::async_trait;

use super::store_error::StoreError;
use domain::usage::MonthlyUsage;

/// Best-effort copy of monthly usage for operators to read. No limit depends on it.
#[async_trait]
pub trait UsageMirror: Send + Sync {
    /// Stores how many tokens a client was issued in a month, until the end of that month.
    ///
    /// The number is only ever raised, so publishing it again or late is harmless. Returns a [`StoreError`] if
    /// the mirror failed.
    async fn publish(&self, usage: &MonthlyUsage) -> Result<(), StoreError>;
}
