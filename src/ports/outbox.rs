//! What was decided and has still to be told.

use async_trait::async_trait;

use super::store_error::StoreError;
use crate::domain::token::RevocationNotice;

/// Keeps notices of what kills tokens, from the change that makes them until they are told.
///
/// A store puts a notice in together with the change: a crash between the two cannot be. It is taken out only
/// once it was told, so it may be told twice. One whose time is over is removed by
/// [`AuditLog::purge`](super::audit_log::AuditLog::purge).
#[async_trait]
pub trait Outbox: Send + Sync {
    /// The oldest notices that are not told yet, at most `limit`.
    async fn pending(&self, limit: u32) -> Result<Vec<PendingNotice>, StoreError>;

    /// Takes notices out.
    async fn remove(&self, ids: &[NoticeId]) -> Result<(), StoreError>;
}

/// Which notice of the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoticeId(pub i64);

/// A notice that is not told yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingNotice {
    pub id: NoticeId,
    pub notice: RevocationNotice,
}
