//! Transactional outbox in memory.

use async_trait::async_trait;

use super::Memory;
use ports::outbox::{Outbox, Pending, Sequence, Topic};
use ports::store_error::StoreError;

#[async_trait]
impl Outbox for Memory {
    async fn pending(&self, topic: Topic, limit: u32) -> Result<Vec<Pending>, StoreError> {
        let state = self.lock();
        let of_topic = state.outbox.iter().filter(|pending| pending.message.topic() == topic);
        Ok(of_topic.take(limit as usize).copied().collect())
    }

    async fn remove(&self, sequences: &[Sequence]) -> Result<(), StoreError> {
        self.lock().outbox.retain(|pending| !sequences.contains(&pending.sequence));
        Ok(())
    }
}
