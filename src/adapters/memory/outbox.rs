//! Transactional outbox of revocation notices, in memory.

use async_trait::async_trait;

use super::Memory;
use ports::outbox::{NoticeId, Outbox, PendingNotice};
use ports::store_error::StoreError;

#[async_trait]
impl Outbox for Memory {
    async fn pending(&self, limit: u32) -> Result<Vec<PendingNotice>, StoreError> {
        Ok(self.lock().outbox.iter().take(limit as usize).cloned().collect())
    }

    async fn remove(&self, ids: &[NoticeId]) -> Result<(), StoreError> {
        self.lock().outbox.retain(|pending| !ids.contains(&pending.id));
        Ok(())
    }
}
