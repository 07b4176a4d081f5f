//! Counts of the whole service, in PostgreSQL.

use async_trait::async_trait;

use super::rows::codec::{SqlTimestamp, named, number, parsed};
use super::store::Postgres;
use domain::agent::AgentStatus;
use domain::inventory::Inventory;
use domain::time::Timestamp;
use ports::inventory_store::InventoryStore;
use ports::store_error::StoreError;

const AGENTS: &str = "\
-- inventory_store.agents
SELECT status, sum(agents)::bigint AS agents FROM agent_counts GROUP BY status";

const COUNTS: &str = "\
-- inventory_store.counts
SELECT
    (SELECT count(*) FROM credentials WHERE revoked_at IS NULL AND expires_at > $1 AND expires_at <= $2) AS expiring,
    (SELECT count(*) FROM outbox) AS pending";

#[async_trait]
impl InventoryStore for Postgres {
    async fn inventory(&self, after: Timestamp, until: Timestamp) -> Result<Inventory, StoreError> {
        let counts = self.read(COUNTS, &[&SqlTimestamp(after), &SqlTimestamp(until)]).await?;
        let mut agents = Vec::new();
        for row in &self.read(AGENTS, &[]).await? {
            agents.push((
                parsed(row, "status", |text| named(&AgentStatus::ALL, text))?,
                number(row, "agents")?,
            ));
        }
        Ok(Inventory {
            agents,
            expiring_credentials: number(&counts[0], "expiring")?,
            pending_messages: number(&counts[0], "pending")?,
        })
    }
}
