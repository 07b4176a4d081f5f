//! Best-effort cache of revocations, shared by all instances.

use async_trait::async_trait;

use super::store_error::StoreError;
use crate::domain::id::AgentId;
use crate::domain::time::Month;
use crate::domain::token::{Claims, RevocationNotice};

/// Best-effort cache of revocations that all instances read and write.
///
/// The cache may lose some or all of its entries. It can report that a token is revoked, never that a token
/// is active.
#[async_trait]
pub trait RevocationCache: Send + Sync {
    /// Stores a notice until its time.
    ///
    /// A generation is only ever raised, so publishing a notice again or late is harmless. Returns a
    /// [`StoreError`] if the cache failed.
    async fn publish(&self, notice: &RevocationNotice) -> Result<(), StoreError>;

    /// Returns whether a notice says that the token is revoked.
    ///
    /// `false` means nothing: the token may be revoked all the same. Returns a [`StoreError`] if the cache
    /// cannot answer.
    async fn is_revoked(&self, claims: &Claims) -> Result<bool, StoreError>;

    /// Stores how many tokens a client was issued in a month, until the end of that month.
    ///
    /// The number is only ever raised. It is for operators to read; no limit depends on it. Returns a
    /// [`StoreError`] if the cache failed.
    async fn show_usage(&self, usage: &MonthlyUsage) -> Result<(), StoreError>;
}

/// Number of tokens that a client was issued in a month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MonthlyUsage {
    /// The client.
    pub client: AgentId,
    /// The month.
    pub month: Month,
    /// Number of its tokens in that month.
    pub tokens: u64,
}
