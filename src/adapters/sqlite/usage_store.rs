//! Usage counts in SQLite.

use async_trait::async_trait;
use rusqlite::{Row, params};

use super::rows::column::{column, number};
use super::store::Sqlite;
use domain::id::AgentId;
use domain::tenancy::Tenancy;
use domain::time::Month;
use domain::usage::{MonthlyUsage, Usage};
use ports::store_error::StoreError;
use ports::usage_store::{UsageQuery, UsageStore};

#[async_trait]
impl UsageStore for Sqlite {
    async fn usage(&self, query: &UsageQuery) -> Result<Usage, StoreError> {
        const TOTAL: &str = "\
SELECT COALESCE(sum(tokens), 0) FROM monthly_tokens WHERE organization_id = ?1 AND month = ?2";
        const BUSIEST: &str = "\
SELECT agent_id, tokens FROM monthly_tokens
WHERE organization_id = ?1 AND month = ?2 AND (?3 IS NULL OR agent_id = ?3)
ORDER BY tokens DESC, agent_id LIMIT ?4";
        let query = *query;
        self.list_within("usage_store.usage", Tenancy::Only(query.organization), move |database| {
            let (organization, month) = (query.organization.0, query.month.to_string());
            let client = query.client.map(|client| client.0);
            let parameters = params![organization, month, client, query.clients];
            let mut by_client = database.all(BUSIEST, parameters, tokens_of_client)?;
            if let (Some(client), true) = (query.client, by_client.is_empty()) {
                by_client.push((client, 0));
            }
            let tokens = database.value::<i64>(TOTAL, params![organization, month])?.unsigned_abs();
            Ok(Usage { agents: database.registered_agents(query.organization)?, tokens, by_client })
        })
        .await
    }

    async fn monthly(&self, clients: &[(AgentId, Month)]) -> Result<Vec<MonthlyUsage>, StoreError> {
        let clients = clients.to_vec();
        self.list_within("usage_store.monthly", Tenancy::All, move |database| {
            let mut usage = Vec::new();
            for (client, month) in clients {
                let tokens = database.tokens(client.0, &month.to_string())?;
                if tokens > 0 {
                    usage.push(MonthlyUsage { client, month, tokens });
                }
            }
            Ok(usage)
        })
        .await
    }
}

fn tokens_of_client(row: &Row<'_>) -> Result<(AgentId, u32), StoreError> {
    let tokens = u32::try_from(number(row, "tokens")?).unwrap_or(u32::MAX);
    Ok((AgentId(column(row, "agent_id")?), tokens))
}
