//! Usage in PostgreSQL.

use async_trait::async_trait;
use uuid::Uuid;

use super::pool::failure::inconsistent;
use super::rows::codec::{column, number};
use super::store::Postgres;
use domain::id::AgentId;
use domain::time::Month;
use domain::usage::{MonthlyUsage, Usage};
use ports::store_error::StoreError;
use ports::usage_store::{UsageQuery, UsageStore};

const TOTALS: &str = "\
-- usage_store.usage
SELECT
    (SELECT COALESCE(sum(agents), 0)::bigint FROM agent_counts
     WHERE organization_id = $1 AND status <> 'decommissioned') AS agents,
    (SELECT COALESCE(sum(tokens), 0)::bigint FROM monthly_tokens
     WHERE organization_id = $1 AND month = to_date($2, 'YYYY-MM')) AS tokens";

const BUSIEST: &str = "\
-- usage_store.busiest
SELECT agent_id, tokens FROM monthly_tokens
WHERE organization_id = $1 AND month = to_date($2, 'YYYY-MM') AND tokens > 0
ORDER BY tokens DESC, agent_id LIMIT $3";

const OF_CLIENT: &str = "\
-- usage_store.of_client
SELECT agent_id, tokens FROM monthly_tokens
WHERE organization_id = $1 AND month = to_date($2, 'YYYY-MM') AND agent_id = $3";

const MONTHLY: &str = "\
-- usage_store.monthly
SELECT asked.place, m.tokens
FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY AS asked (agent_id, month, place)
JOIN monthly_tokens m ON m.agent_id = asked.agent_id AND m.month = to_date(asked.month, 'YYYY-MM')";

#[async_trait]
impl UsageStore for Postgres {
    async fn usage(&self, query: &UsageQuery) -> Result<Usage, StoreError> {
        let organization = query.organization.0;
        let month = query.month.to_string();
        let _place = self.place(Some(query.organization), false).await?;
        let totals = self.read(TOTALS, &[&organization, &month]).await?;
        let rows = match query.client {
            None => self.read(BUSIEST, &[&organization, &month, &i64::from(query.clients)]).await?,
            Some(client) => self.read(OF_CLIENT, &[&organization, &month, &client.0]).await?,
        };
        let mut by_client = Vec::with_capacity(rows.len());
        for row in &rows {
            let tokens = u32::try_from(number(row, "tokens")?).unwrap_or(u32::MAX);
            by_client.push((AgentId(column(row, "agent_id")?), tokens));
        }
        if let (Some(client), true) = (query.client, by_client.is_empty()) {
            by_client.push((client, 0));
        }
        Ok(Usage { agents: number(&totals[0], "agents")?, tokens: number(&totals[0], "tokens")?, by_client })
    }

    async fn monthly(&self, clients: &[(AgentId, Month)]) -> Result<Vec<MonthlyUsage>, StoreError> {
        let agents: Vec<Uuid> = clients.iter().map(|(client, _)| client.0).collect();
        let months: Vec<String> = clients.iter().map(|(_, month)| month.to_string()).collect();
        let rows = self.read(MONTHLY, &[&agents, &months]).await?;
        let usage = rows.iter().map(|row| {
            // Ordinality counts from 1.
            let place = usize::try_from(number(row, "place")?).unwrap_or_default().wrapping_sub(1);
            let (client, month) =
                *clients.get(place).ok_or_else(|| inconsistent("a client that was not asked for"))?;
            Ok(MonthlyUsage { client, month, tokens: number(row, "tokens")? })
        });
        usage.collect()
    }
}
