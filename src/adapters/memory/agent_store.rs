//! Agents, in memory.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;

use super::Memory;
use super::state::page_of;
use domain::agent::{Agent, AgentFilter, AgentStatus};
use domain::credential::Credential;
use domain::id::AgentId;
use domain::page::{Page, PageRequest};
use domain::plan::Limit;
use domain::tenancy::Tenancy;
use ports::agent_store::{AgentStore, InsertAgentError, UpdateAgentError};
use ports::store_error::StoreError;
use ports::write::Write;

#[async_trait]
impl AgentStore for Memory {
    async fn insert(
        &self,
        within: Tenancy,
        agent: &Agent,
        credential: Option<&Credential>,
        write: Write<'_>,
    ) -> Result<(), InsertAgentError> {
        let state = &mut *self.lock();
        state.allow(write)?;
        let organization = state.organizations.get(&agent.organization);
        let Some(organization) = organization.filter(|found| within.contains(found.id)) else {
            return Err(InsertAgentError::NoSuchOrganization);
        };
        let address = (agent.organization, agent.email.clone());
        if state.emails.contains_key(&address) {
            return Err(InsertAgentError::EmailTaken);
        }
        let registered = state.registered_agents.get(&agent.organization).copied().unwrap_or(0);
        if let Limit::AtMost(limit) = organization.limits().max_agents
            && registered >= limit
        {
            return Err(InsertAgentError::LimitReached(limit));
        }
        state.emails.insert(address, agent.id);
        state.agents_by_age.insert((agent.created_at, agent.id));
        state.put_agent(Arc::new(agent.clone()));
        state.credentials.entry(agent.id).or_default().extend(credential.cloned().map(Arc::new));
        state.record_all(agent.organization, write.events);
        Ok(())
    }

    async fn find(&self, within: Tenancy, id: AgentId) -> Result<Option<Arc<Agent>>, StoreError> {
        let state = self.lock();
        Ok(state.agents.get(&id).filter(|agent| within.contains(agent.organization)).cloned())
    }

    async fn find_all(&self, within: Tenancy, ids: &[AgentId]) -> Result<Vec<Arc<Agent>>, StoreError> {
        let state = self.lock();
        let ids: HashSet<&AgentId> = ids.iter().collect();
        let found = ids.into_iter().filter_map(|id| state.agents.get(id));
        Ok(found.filter(|agent| within.contains(agent.organization)).cloned().collect())
    }

    async fn list(
        &self,
        within: Tenancy,
        filter: &AgentFilter,
        page: PageRequest,
    ) -> Result<Page<Arc<Agent>>, StoreError> {
        let state = self.lock();
        let newest_first = state.agents_by_age.iter().rev().filter_map(|(_, id)| state.agents.get(id));
        let wanted =
            newest_first.filter(|agent| within.contains(agent.organization) && filter.matches(agent));
        Ok(page_of(wanted.cloned(), page))
    }

    async fn update(&self, before: &Agent, after: &Agent, write: Write<'_>) -> Result<(), UpdateAgentError> {
        let state = &mut *self.lock();
        state.allow(write)?;
        let stored = state.agents.get(&before.id);
        let Some(stored) = stored.filter(|stored| stored.revision == before.revision).cloned() else {
            return Err(UpdateAgentError::LostRace);
        };
        let now = after.updated_at;
        let was_administrator = state.is_administrator(&stored, now);
        state.put_agent(Arc::new(after.clone()));
        if was_administrator && !state.has_administrator(now) {
            state.put_agent(stored);
            return Err(UpdateAgentError::LastAdministrator);
        }
        if after.status == AgentStatus::Decommissioned
            && let Some(credentials) = state.credentials.get_mut(&after.id)
        {
            for credential in credentials {
                if let Ok(revoked) = credential.revoked(now) {
                    *credential = Arc::new(revoked);
                }
            }
        }
        state.announce(before.generation, after);
        state.record_all(after.organization, write.events);
        Ok(())
    }
}
