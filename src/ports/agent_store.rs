//! Keeps agents.

use std::sync::Arc;

use async_trait::async_trait;

use super::store_error::StoreError;
use crate::domain::agent::{Agent, AgentStatus, AgentType, Owner};
use crate::domain::audit::NewAuditEvent;
use crate::domain::credential::Credential;
use crate::domain::id::AgentId;
use crate::domain::page::{Page, PageRequest};
use crate::domain::tenancy::Tenancy;

/// Keeps agents. Beside the common promises: an e-mail address is taken once in its organization, for ever;
/// the organization's limit of agents holds however many callers race; the last administrator stays.
#[async_trait]
pub trait AgentStore: Send + Sync {
    /// Stores a new agent with its events, and with its first credential where it is born with one.
    ///
    /// The limit is the organization's own at this moment, and counts all that are not decommissioned.
    async fn insert(
        &self,
        within: Tenancy,
        agent: &Agent,
        credential: Option<&Credential>,
        events: &[NewAuditEvent],
    ) -> Result<(), InsertAgentError>;

    /// The agent with that id.
    async fn find(&self, within: Tenancy, id: AgentId) -> Result<Option<Arc<Agent>>, StoreError>;

    /// A page of the agents that the filter admits, newest first.
    async fn list(
        &self,
        within: Tenancy,
        filter: &AgentFilter,
        page: PageRequest,
    ) -> Result<Page<Arc<Agent>>, StoreError>;

    /// Replaces `before` by `after`, with the events of the change.
    ///
    /// Refused where the stored row is no longer `before`, by its revision, and where the change would leave
    /// no active agent with `admin:orgs` and a live credential in any active organization. An agent that
    /// becomes decommissioned has its credentials revoked in the same change.
    async fn update(
        &self,
        before: &Agent,
        after: &Agent,
        events: &[NewAuditEvent],
    ) -> Result<(), UpdateAgentError>;
}

/// Which agents are wanted.
#[derive(Clone, Debug, Default)]
pub struct AgentFilter {
    pub owner: Option<Owner>,
    pub agent_type: Option<AgentType>,
    pub status: Option<AgentStatus>,
}

impl AgentFilter {
    /// Whether the agent is one of those wanted.
    pub fn matches(&self, agent: &Agent) -> bool {
        self.owner.as_ref().is_none_or(|owner| *owner == agent.owner)
            && self.agent_type.is_none_or(|agent_type| agent_type == agent.agent_type)
            && self.status.is_none_or(|status| status == agent.status)
    }
}

/// Why [`AgentStore::insert`] stored nothing.
#[derive(Debug, thiserror::Error)]
pub enum InsertAgentError {
    #[error("no such organization")]
    NoSuchOrganization,
    #[error("the email address is already used in this organization")]
    EmailTaken,
    #[error("the organization has reached its limit of {0} agents")]
    LimitReached(u32),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why [`AgentStore::update`] stored nothing.
#[derive(Debug, thiserror::Error)]
pub enum UpdateAgentError {
    #[error("the agent was changed concurrently")]
    LostRace,
    #[error("this would leave no administrator")]
    LastAdministrator,
    #[error(transparent)]
    Store(#[from] StoreError),
}
