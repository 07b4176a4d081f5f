//! Transactional outbox of revocation notices.

use async_trait::async_trait;

use super::store_error::StoreError;
use domain::token::RevocationNotice;

/// Keeps revocation notices from the change that causes them until they are published.
///
/// A store adds a notice in the transaction of the change, so that no crash can separate the two. A notice is
/// removed only after it was published, so it may be published more than once. A notice past its time is
/// removed by [`AuditLog::purge`](super::audit_log::AuditLog::purge).
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Returns the oldest notices that are not published yet, at most `limit`.
    ///
    /// Returns a [`StoreError`] if the store cannot answer.
    async fn pending(&self, limit: u32) -> Result<Vec<PendingNotice>, StoreError>;

    /// Removes notices.
    ///
    /// Returns a [`StoreError`] if the store failed.
    async fn remove(&self, ids: &[NoticeId]) -> Result<(), StoreError>;
}

/// The ID of a notice in the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoticeId(pub i64);

/// A notice that is not published yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingNotice {
    /// ID of the notice in the outbox.
    pub id: NoticeId,
    /// The notice itself.
    pub notice: RevocationNotice,
}
