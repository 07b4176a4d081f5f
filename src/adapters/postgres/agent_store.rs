//! Agents in PostgreSQL.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::pool::statement::Parameter;
use super::rows::codec::{self, AGENT, ORGANIZATION, SqlTimestamp, empty_page, number, page_of, signed};
use super::rows::where_clause::WhereClause;
use super::store::Postgres;
use super::transaction::Transaction;
use domain::agent::{Agent, AgentFilter, AgentStatus, AgentType, DeploymentEnv, Email, Owner};
use domain::credential::Credential;
use domain::id::AgentId;
use domain::names::name_of;
use domain::page::{Page, PageRequest};
use domain::plan::Limit;
use domain::proof::ProofRequirement;
use domain::resource_indicator::ResourceIndicator;
use domain::tenancy::Tenancy;
use domain::token::RevocationNotice;
use ports::agent_store::{AgentStore, InsertAgentError, UpdateAgentError};
use ports::store_error::StoreError;
use ports::write::Write;

/// Number of agents of the organization `$1` that count against its limit.
const REGISTERED: &str = "(SELECT COALESCE(sum(agents), 0)::bigint FROM agent_counts \
    WHERE organization_id = $1 AND status <> 'decommissioned')";

const UPDATE: &str = "\
-- agent_store.update
UPDATE agents SET agent_type = $3, version = $4, capabilities = $5, owner = $6, default_resource = $7,
    deployment_env = $8, status = $9, updated_at = $10, generation = $11, revision = $12, may_act = $13, redelegation = $14,
    dpop = $15
WHERE agent_id = $1 AND revision = $2";

const REVOKE_CREDENTIALS: &str = "\
-- agent_store.revoke_credentials
UPDATE credentials SET revoked_at = $2, secret_digest = NULL, revision = revision + 1
WHERE agent_id = $1 AND revoked_at IS NULL";

#[async_trait]
impl AgentStore for Postgres {
    async fn insert(
        &self,
        within: Tenancy,
        agent: &Agent,
        credential: Option<&Credential>,
        write: Write<'_>,
    ) -> Result<(), InsertAgentError> {
        self.refuse_if_full(within, agent).await?;
        if !within.contains(agent.organization) {
            // That the caller was stopped would come first.
            self.begin(write).await??;
            return Err(InsertAgentError::NoSuchOrganization);
        }
        if credential.is_none()
            && let [event] = write.events
            && let Some(outcome) = self.register_in_batch(agent, event, write.authority).await?
        {
            return outcome;
        }
        self.register_alone(agent, credential, write).await
    }

    async fn find(&self, within: Tenancy, id: AgentId) -> Result<Option<Arc<Agent>>, StoreError> {
        let agent = self.lookup.agent(id).await?;
        Ok(agent.filter(|agent| within.contains(agent.organization)))
    }

    async fn find_all(&self, within: Tenancy, ids: &[AgentId]) -> Result<Vec<Arc<Agent>>, StoreError> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        let sql = format!("-- agent_store.find_all\nSELECT {AGENT} FROM agents WHERE agent_id = ANY ($1)");
        let _place = self.place(within.organization(), false).await?;
        let rows = self.read(&sql, &[&ids]).await?;
        let agents = rows.iter().map(|row| codec::agent(row).map(Arc::new)).collect::<Result<Vec<_>, _>>()?;
        Ok(agents.into_iter().filter(|agent| within.contains(agent.organization)).collect())
    }

    async fn list(
        &self,
        within: Tenancy,
        filter: &AgentFilter,
        page: PageRequest,
    ) -> Result<Page<Arc<Agent>>, StoreError> {
        let organization = within.organization().map(|id| id.0);
        let email = filter.email.as_ref().map(Email::as_str);
        let owner = filter.owner.as_ref().map(Owner::as_str);
        let agent_type = filter.agent_type.map(|kind| name_of(&AgentType::ALL, &kind));
        let status = filter.status.map(|status| name_of(&AgentStatus::ALL, &status));
        let mut clause = WhereClause::default();
        if let Some(organization) = &organization {
            clause.add("organization_id", organization, Type::UUID);
        }
        if let Some(agent_type) = agent_type {
            clause.add_word("agent_type", agent_type);
        }
        if let Some(status) = status {
            clause.add_word("status", status);
        }
        // The total comes from `agent_counts` unless the filter has an address or an owner, which have an index.
        let counted = clause.condition.clone();
        if let Some(email) = &email {
            clause.add("email", email, Type::TEXT);
        }
        if let Some(owner) = &owner {
            clause.add("owner", owner, Type::TEXT);
        }
        let count = match clause.condition == counted {
            true => format!("(SELECT COALESCE(sum(agents), 0)::bigint FROM agent_counts {counted})"),
            false => format!("(SELECT count(*) FROM agents {})", clause.condition),
        };
        let sql = format!(
            "-- agent_store.list\nSELECT {AGENT}, {count} AS total FROM agents {} \
             ORDER BY created_at DESC, agent_id DESC LIMIT {} OFFSET {}",
            clause.condition,
            page.limit,
            signed(page.offset())
        );
        let _place = self.place(within.organization(), false).await?;
        let rows = self.read_planned(&sql, &clause.parameters).await?;
        if rows.is_empty() {
            let sql = format!("-- agent_store.count\nSELECT {count} AS total");
            return empty_page(&self.read_planned(&sql, &clause.parameters).await?);
        }
        page_of(&rows, codec::agent)
    }

    async fn update(&self, before: &Agent, after: &Agent, write: Write<'_>) -> Result<(), UpdateAgentError> {
        let now = after.updated_at;
        let is_revocation = after.generation > before.generation;
        let mut change = self.begin_exclusive(after.organization, is_revocation, write).await??;
        let may_be_last = before.could_administer() && !after.could_administer();
        if may_be_last {
            change.lock_administrators().await?;
        }
        let was_administrator = may_be_last && change.has_administrator(Some(before.id), now).await?;
        if !change.update_agent(before, after).await? {
            return Err(UpdateAgentError::LostRace);
        }
        if was_administrator && !change.has_administrator(None, now).await? {
            return Err(UpdateAgentError::LastAdministrator);
        }
        if after.status == AgentStatus::Decommissioned {
            change.execute(REVOKE_CREDENTIALS, &[&after.id.0, &SqlTimestamp(now)]).await?;
        }
        change.record(after.organization, write.events).await?;
        Ok(change.commit().await?)
    }
}

impl Postgres {
    /// Refuses an agent early if its organization was recently at its limit and still is.
    ///
    /// The registration lock is not taken, because a tenant that keeps trying must not keep its own requests, or
    /// those of other tenants, from the pool.
    async fn refuse_if_full(&self, within: Tenancy, agent: &Agent) -> Result<(), InsertAgentError> {
        if !within.contains(agent.organization) || !self.full.contains_key(&agent.organization.0) {
            return Ok(());
        }
        let sql = format!(
            "-- agent_store.refuse_if_full\n\
             SELECT {ORGANIZATION}, {REGISTERED} AS registered, \
             EXISTS (SELECT FROM agents WHERE organization_id = $1 AND email = $2) AS is_taken \
             FROM organizations WHERE organization_id = $1"
        );
        let _place = self.place(Some(agent.organization), false).await?;
        let rows = self.read(&sql, &[&agent.organization.0, &agent.email.as_str()]).await?;
        let Some(row) = rows.first() else { return Ok(()) };
        let registered = number(row, "registered")?;
        match codec::organization(row)?.limits().max_agents {
            _ if codec::column(row, "is_taken")? => Err(InsertAgentError::EmailTaken),
            Limit::AtMost(limit) if registered >= limit.into() => Err(InsertAgentError::LimitReached(limit)),
            _ => {
                self.full.invalidate(&agent.organization.0);
                Ok(())
            }
        }
    }
}

impl Transaction<'_> {
    /// Replaces `before` by `after`. Returns `false` if the stored agent is no longer `before`.
    ///
    /// If the change revokes the agent's tokens, a revocation notice is added to the outbox.
    pub async fn update_agent(&mut self, before: &Agent, after: &Agent) -> Result<bool, StoreError> {
        let capabilities: Vec<&str> = after.capabilities.iter().collect();
        let default_resource = after.default_resource.as_ref().map(ResourceIndicator::as_str);
        let may_act = after.may_act.names();
        let parameters: [Parameter<'_>; 15] = [
            &before.id.0,
            &signed(before.revision),
            &name_of(&AgentType::ALL, &after.agent_type),
            &after.version.as_str(),
            &capabilities,
            &after.owner.as_str(),
            &default_resource,
            &name_of(&DeploymentEnv::ALL, &after.deployment_env),
            &name_of(&AgentStatus::ALL, &after.status),
            &SqlTimestamp(after.updated_at),
            &signed(after.generation),
            &signed(after.revision),
            &may_act,
            &after.redelegation,
            &name_of(&ProofRequirement::ALL, &after.dpop),
        ];
        if self.execute(UPDATE, &parameters).await? == 0 {
            return Ok(false);
        }
        if after.generation > before.generation {
            self.notify(&RevocationNotice::of_agent(after, after.updated_at)).await?;
        }
        Ok(true)
    }
}
