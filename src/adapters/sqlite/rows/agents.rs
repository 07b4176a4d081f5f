//! Agents as rows.

use std::sync::Arc;

use rusqlite::{Row, named_params};

use super::column::{column, instant, json_of, named, number, parsed, parsed_if_any, signed, texts};
use crate::database::Database;
use crate::row_cache::RowKey;
use crate::rows::column::invalid;
use domain::agent::{Agent, AgentStatus, AgentType, DeploymentEnv, Email, Owner, Version};
use domain::id::{AgentId, OrganizationId};
use domain::managed_by::ManagedBy;
use domain::may_act::MayAct;
use domain::names::name_of;
use domain::proof::ProofRequirement;
use domain::resource_indicator::ResourceIndicator;
use domain::scope::Scopes;
use ports::store_error::StoreError;

/// Reads an agent from all columns of its table.
pub fn agent(row: &Row<'_>) -> Result<Arc<Agent>, StoreError> {
    let may_act = texts(row, "may_act")?;
    let may_act: Vec<&str> = may_act.iter().map(String::as_str).collect();
    Ok(Arc::new(Agent {
        id: AgentId(column(row, "agent_id")?),
        organization: OrganizationId(column(row, "organization_id")?),
        email: parsed(row, "email", |text| Email::parse(text).ok())?,
        agent_type: named(row, "agent_type", &AgentType::ALL)?,
        version: parsed(row, "version", |text| Version::parse(text).ok())?,
        // More than a change would allow, if a scope became reserved or was added since.
        capabilities: parsed(row, "capabilities", |text| Some(Scopes::of_token(text)))?,
        owner: parsed(row, "owner", |text| Owner::parse(text).ok())?,
        default_resource: parsed_if_any(row, "default_resource", |text| ResourceIndicator::parse(text).ok())?,
        may_act: MayAct::of_names(&may_act).ok_or_else(|| invalid("may_act"))?,
        redelegation: column(row, "redelegation")?,
        dpop: named(row, "dpop", &ProofRequirement::ALL)?,
        deployment_env: named(row, "deployment_env", &DeploymentEnv::ALL)?,
        managed_by: parsed_if_any(row, "managed_by", |text| ManagedBy::parse(text).ok())?,
        status: named(row, "status", &AgentStatus::ALL)?,
        created_at: instant(row, "created_at")?,
        updated_at: instant(row, "updated_at")?,
        generation: number(row, "generation")?,
        revision: number(row, "revision")?,
    }))
}

impl Database {
    /// Stores an agent in place of the one with its ID, if there is one.
    pub fn put_agent(&self, agent: &Agent) -> Result<(), StoreError> {
        const PUT: &str = "\
INSERT INTO agents (agent_id, organization_id, email, agent_type, version, capabilities, owner, default_resource, may_act,
    redelegation, dpop, deployment_env, managed_by, status, created_at, updated_at, generation, revision)
VALUES (:agent_id, :organization_id, :email, :agent_type, :version, :capabilities, :owner, :default_resource, :may_act,
    :redelegation, :dpop, :deployment_env, :managed_by, :status, :created_at, :updated_at, :generation, :revision)
ON CONFLICT (agent_id) DO UPDATE SET agent_type = :agent_type, version = :version, capabilities = :capabilities,
    owner = :owner, default_resource = :default_resource, may_act = :may_act, redelegation = :redelegation,
    dpop = :dpop, deployment_env = :deployment_env, status = :status, updated_at = :updated_at,
    generation = :generation, revision = :revision";
        let may_act = agent.may_act.names();
        let parameters = named_params! {
            ":agent_id": agent.id.0,
            ":organization_id": agent.organization.0,
            ":email": agent.email.as_str(),
            ":agent_type": name_of(&AgentType::ALL, &agent.agent_type),
            ":version": agent.version.as_str(),
            ":capabilities": agent.capabilities.as_str(),
            ":owner": agent.owner.as_str(),
            ":default_resource": agent.default_resource.as_ref().map(ResourceIndicator::as_str),
            ":may_act": json_of(may_act.iter().map(String::as_str)),
            ":redelegation": agent.redelegation,
            ":dpop": name_of(&ProofRequirement::ALL, &agent.dpop),
            ":deployment_env": name_of(&DeploymentEnv::ALL, &agent.deployment_env),
            ":managed_by": agent.managed_by.as_ref().map(ManagedBy::as_str),
            ":status": name_of(&AgentStatus::ALL, &agent.status),
            ":created_at": agent.created_at.as_millis(),
            ":updated_at": agent.updated_at.as_millis(),
            ":generation": signed(agent.generation),
            ":revision": signed(agent.revision),
        };
        self.cached_rows().mark_changed(RowKey::Agent(agent.id));
        self.execute(PUT, parameters).map(drop)
    }
}
