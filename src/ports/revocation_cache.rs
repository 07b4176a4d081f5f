//! Best-effort cache of revocations, shared by all instances.

use async_trait::async_trait;

use super::store_error::StoreError;
use domain::token::{Claims, RevocationNotice};

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
}
