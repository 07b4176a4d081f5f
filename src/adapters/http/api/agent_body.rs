//! Agents in responses.

use std::sync::Arc;

use poem_openapi::Object;
use uuid::Uuid;

use crate::extract::wire::{EnumName, Instant};
use domain::agent::{Agent, AgentStatus, AgentType, DeploymentEnv};
use domain::page::{Page, PageRequest};
use domain::proof::ProofRequirement;

/// An agent
#[derive(Object)]
#[oai(rename = "Agent", rename_all = "camelCase", skip_serializing_if_is_none)]
pub struct AgentBody {
    agent_id: Uuid,
    organization_id: Uuid,
    email: String,
    agent_type: EnumName<AgentType>,
    version: String,
    capabilities: Vec<String>,
    owner: String,
    default_resource: Option<String>,
    /// Agents that may act for this one: `["*"]` for every agent of the organization
    may_act: Vec<String>,
    redelegation: bool,
    dpop: EnumName<ProofRequirement>,
    deployment_env: EnumName<DeploymentEnv>,
    /// Tool or team that manages the agent
    managed_by: Option<String>,
    status: EnumName<AgentStatus>,
    created_at: Instant,
    updated_at: Instant,
}

impl From<&Agent> for AgentBody {
    fn from(agent: &Agent) -> Self {
        Self {
            agent_id: agent.id.0,
            organization_id: agent.organization.0,
            email: agent.email.as_str().to_owned(),
            agent_type: EnumName(agent.agent_type),
            version: agent.version.as_str().to_owned(),
            capabilities: agent.capabilities.iter().map(str::to_owned).collect(),
            owner: agent.owner.as_str().to_owned(),
            default_resource: agent.default_resource.as_ref().map(|resource| resource.as_str().to_owned()),
            may_act: agent.may_act.names(),
            redelegation: agent.redelegation,
            dpop: EnumName(agent.dpop),
            deployment_env: EnumName(agent.deployment_env),
            managed_by: agent.managed_by.as_ref().map(|name| name.as_str().to_owned()),
            status: EnumName(agent.status),
            created_at: Instant(agent.created_at),
            updated_at: Instant(agent.updated_at),
        }
    }
}

/// A page of agents
#[derive(Object)]
pub struct AgentPage {
    data: Vec<AgentBody>,
    /// Number of agents on all pages
    total: u64,
    page: u32,
    limit: u32,
}

impl AgentPage {
    /// Builds the response of a list.
    pub fn of(listing: &Page<Arc<Agent>>, page: PageRequest) -> Self {
        Self {
            data: listing.items.iter().map(|agent| (&**agent).into()).collect(),
            total: listing.total,
            page: page.number,
            limit: page.limit,
        }
    }
}
