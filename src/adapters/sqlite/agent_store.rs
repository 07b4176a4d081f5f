//! Agents in SQLite.

use std::sync::Arc;

use async_trait::async_trait;

use super::database::Database;
use super::facts::Facts as _;
use super::filter::Filter;
use super::rows::agents::agent;
use super::store::Sqlite;
use domain::agent::{Agent, AgentFilter, AgentStatus, AgentType, Email, Owner};
use domain::credential::Credential;
use domain::id::{AgentId, OrganizationId};
use domain::names::name_of;
use domain::page::{Page, PageRequest};
use domain::plan::Limit;
use domain::tenancy::Tenancy;
use domain::token::RevocationNotice;
use ports::agent_store::{AgentStore, InsertAgentError, UpdateAgentError};
use ports::store_error::StoreError;
use ports::write::Write;

#[async_trait]
impl AgentStore for Sqlite {
    async fn insert(
        &self,
        within: Tenancy,
        agent: &Agent,
        credential: Option<&Credential>,
        write: Write<'_>,
    ) -> Result<(), InsertAgentError> {
        let (agent, credential) = (agent.clone(), credential.cloned());
        self.write("agent_store.insert", write, move |database, write| {
            let organization = database.organization(agent.organization)?;
            let Some(organization) = organization.filter(|found| within.contains(found.id)) else {
                return Err(InsertAgentError::NoSuchOrganization);
            };
            if database.has_email(agent.organization, &agent.email)? {
                return Err(InsertAgentError::EmailTaken);
            }
            if let Limit::AtMost(limit) = organization.limits().max_agents
                && database.registered_agents(agent.organization)? >= u64::from(limit)
            {
                return Err(InsertAgentError::LimitReached(limit));
            }
            database.put_agent(&agent)?;
            if let Some(credential) = &credential {
                database.put_credential(credential)?;
            }
            Ok(database.record_all(agent.organization, write.events)?)
        })
        .await
    }

    async fn find(&self, within: Tenancy, id: AgentId) -> Result<Option<Arc<Agent>>, StoreError> {
        let agent = self
            .kept_or_looked_up("agent_store.find", self.rows().agent(id), move |database| database.agent(id))
            .await?;
        Ok(agent.filter(|agent| within.contains(agent.organization)))
    }

    async fn find_all(&self, within: Tenancy, ids: &[AgentId]) -> Result<Vec<Arc<Agent>>, StoreError> {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        self.list_within("agent_store.find_all", within, move |database| {
            let found = ids.iter().filter_map(|id| database.agent(*id).transpose());
            let is_within = |agent: &Result<Arc<Agent>, _>| {
                agent.as_ref().map_or(true, |agent| within.contains(agent.organization))
            };
            found.filter(is_within).collect()
        })
        .await
    }

    async fn list(
        &self,
        within: Tenancy,
        filter: &AgentFilter,
        page: PageRequest,
    ) -> Result<Page<Arc<Agent>>, StoreError> {
        let mut counted = Filter::default();
        if let Some(organization) = within.organization() {
            counted.add_id("organization_id = ?", organization.0);
        }
        if let Some(agent_type) = filter.agent_type {
            counted.add("agent_type = ?", name_of(&AgentType::ALL, &agent_type).to_owned());
        }
        if let Some(status) = filter.status {
            counted.add("status = ?", name_of(&AgentStatus::ALL, &status).to_owned());
        }
        // The total comes from `agent_counts` unless the filter has an address or an owner, which have an index.
        let mut wanted = counted.clone();
        if let Some(email) = &filter.email {
            wanted.add("email = ?", Email::as_str(email).to_owned());
        }
        if let Some(owner) = &filter.owner {
            wanted.add("owner = ?", Owner::as_str(owner).to_owned());
        }
        let is_counted = filter.email.is_none() && filter.owner.is_none();
        self.list_within("agent_store.list", within, move |database| {
            let total = match is_counted {
                true => database.count("SELECT COALESCE(sum(agents), 0) FROM agent_counts", &counted)?,
                false => database.count("SELECT count(*) FROM agents", &wanted)?,
            };
            let items = database.page("agents", "agent_id", &wanted, page, agent)?;
            Ok(Page { items, total })
        })
        .await
    }

    async fn update(&self, before: &Agent, after: &Agent, write: Write<'_>) -> Result<(), UpdateAgentError> {
        let (before, after) = (before.clone(), after.clone());
        self.write("agent_store.update", write, move |database, write| {
            let now = after.updated_at;
            if !database.is_still(&before)? {
                return Err(UpdateAgentError::LostRace);
            }
            let may_be_last = before.could_administer() && !after.could_administer();
            let was_administrator = may_be_last && database.has_administrator(Some(before.id), now)?;
            database.replace_agent(before.generation, &after)?;
            if was_administrator && !database.has_administrator(None, now)? {
                return Err(UpdateAgentError::LastAdministrator);
            }
            if after.status == AgentStatus::Decommissioned {
                database.revoke_credentials(after.id, now)?;
            }
            Ok(database.record_all(after.organization, write.events)?)
        })
        .await
    }
}

impl Database {
    fn has_email(&self, organization: OrganizationId, email: &Email) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM agents WHERE organization_id = ?1 AND email = ?2)";
        self.value(sql, rusqlite::params![organization.0, email.as_str()])
    }

    /// Counts the organization's agents that are not decommissioned.
    pub fn registered_agents(&self, organization: OrganizationId) -> Result<u64, StoreError> {
        const COUNT: &str = "\
SELECT COALESCE(sum(agents), 0) FROM agent_counts WHERE organization_id = ?1 AND status <> 'decommissioned'";
        self.value::<i64>(COUNT, [organization.0]).map(i64::unsigned_abs)
    }

    /// Returns whether the stored agent is of the same revision.
    pub fn is_still(&self, agent: &Agent) -> Result<bool, StoreError> {
        Ok(self.agent(agent.id)?.is_some_and(|stored| stored.revision == agent.revision))
    }

    /// Replaces an agent. A message says so if its generation rose.
    pub fn replace_agent(&self, generation_before: u64, after: &Agent) -> Result<(), StoreError> {
        self.put_agent(after)?;
        if after.generation > generation_before {
            self.notify(&RevocationNotice::of_agent(after, after.updated_at))?;
        }
        Ok(())
    }
}
