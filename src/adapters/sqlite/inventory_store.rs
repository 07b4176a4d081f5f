//! Counts of the whole service, in SQLite.

use async_trait::async_trait;
use rusqlite::params;

use super::rows::column::{named, number};
use super::store::Sqlite;
use domain::agent::AgentStatus;
use domain::inventory::Inventory;
use domain::tenancy::Tenancy;
use domain::time::Timestamp;
use ports::inventory_store::InventoryStore;
use ports::store_error::StoreError;

#[async_trait]
impl InventoryStore for Sqlite {
    async fn inventory(&self, after: Timestamp, until: Timestamp) -> Result<Inventory, StoreError> {
        const AGENTS: &str = "SELECT status, sum(agents) AS agents FROM agent_counts GROUP BY status";
        const EXPIRING: &str = "\
SELECT count(*) FROM credentials WHERE revoked_at IS NULL AND expires_at > ?1 AND expires_at <= ?2";
        const PENDING: &str = "SELECT count(*) FROM outbox";
        self.list_within("inventory_store.inventory", Tenancy::All, move |database| {
            let period = params![after.as_millis(), until.as_millis()];
            Ok(Inventory {
                agents: database.all(AGENTS, (), |row| {
                    Ok((named(row, "status", &AgentStatus::ALL)?, number(row, "agents")?))
                })?,
                expiring_credentials: database.value::<i64>(EXPIRING, period)?.unsigned_abs(),
                pending_messages: database.value::<i64>(PENDING, ())?.unsigned_abs(),
            })
        })
        .await
    }
}
