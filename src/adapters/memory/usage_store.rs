//! Usage counts, in memory.

use std::cmp::Reverse;

use async_trait::async_trait;

use super::Memory;
use domain::id::AgentId;
use domain::time::Month;
use domain::usage::{MonthlyUsage, Usage};
use ports::store_error::StoreError;
use ports::usage_store::{UsageQuery, UsageStore};

#[async_trait]
impl UsageStore for Memory {
    async fn usage(&self, query: &UsageQuery) -> Result<Usage, StoreError> {
        let state = self.lock();
        let of_organization = |agent: &AgentId| {
            state.agents.get(agent).is_some_and(|agent| agent.organization == query.organization)
        };
        let mut by_client: Vec<(AgentId, u32)> = state
            .monthly
            .iter()
            .filter(|((agent, month), _)| *month == query.month && of_organization(agent))
            .map(|((agent, _), count)| (*agent, *count))
            .collect();
        let tokens = by_client.iter().map(|(_, count)| u64::from(*count)).sum();
        if let Some(client) = query.client {
            by_client.retain(|(agent, _)| *agent == client);
            if by_client.is_empty() {
                by_client.push((client, 0));
            }
        }
        by_client.sort_by_key(|(agent, count)| (Reverse(*count), *agent));
        by_client.truncate(query.clients as usize);
        let agents = state.registered_agents.get(&query.organization).copied().unwrap_or(0).into();
        Ok(Usage { agents, tokens, by_client })
    }

    async fn monthly(&self, clients: &[(AgentId, Month)]) -> Result<Vec<MonthlyUsage>, StoreError> {
        let state = self.lock();
        let usage = clients.iter().filter_map(|key @ (client, month)| {
            let tokens = u64::from(*state.monthly.get(key)?);
            Some(MonthlyUsage { client: *client, month: *month, tokens })
        });
        Ok(usage.collect())
    }
}
