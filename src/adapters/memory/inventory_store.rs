//! Counts of the whole service, in memory.

use async_trait::async_trait;

use super::Memory;
use domain::agent::AgentStatus;
use domain::inventory::Inventory;
use domain::time::Timestamp;
use ports::inventory_store::InventoryStore;
use ports::store_error::StoreError;

#[async_trait]
impl InventoryStore for Memory {
    async fn inventory(&self, after: Timestamp, until: Timestamp) -> Result<Inventory, StoreError> {
        let state = self.lock();
        let mut agents = AgentStatus::ALL.map(|(_, status)| (status, 0));
        for agent in state.agents.values() {
            for (_, count) in agents.iter_mut().filter(|(status, _)| *status == agent.status) {
                *count += 1;
            }
        }
        let credentials = state.credentials.values().flatten();
        let expiring = credentials.filter(|credential| credential.expires_within(after, until));
        Ok(Inventory {
            agents: agents.into(),
            expiring_credentials: expiring.count() as u64,
            pending_messages: state.outbox.len() as u64,
        })
    }
}
