//! Storage of agents.

use std::sync::Arc;

use async_trait::async_trait;

use super::store_error::StoreError;
use super::write::{CallerRevoked, Write};
use domain::agent::{Agent, AgentFilter};
use domain::credential::Credential;
use domain::id::AgentId;
use domain::page::{Page, PageRequest};
use domain::tenancy::Tenancy;

/// Stores agents.
///
/// In addition to the common promises of [`ports`](super), an email address is used only once in its
/// organization, permanently; the organization's limit of agents holds however many callers race; and the
/// last administrator is never removed. A *live* credential is neither revoked nor expired.
#[async_trait]
pub trait AgentStore: Send + Sync {
    /// Stores a new agent with its events, and with its first credential if one is given.
    ///
    /// The limit is the organization's own at this moment. It counts all agents that are not decommissioned.
    ///
    /// Returns [`NoSuchOrganization`](InsertAgentError::NoSuchOrganization) if the agent's organization is
    /// unknown or outside `within`, [`EmailTaken`](InsertAgentError::EmailTaken) if the organization has an
    /// agent with that email address, decommissioned or not, and
    /// [`LimitReached`](InsertAgentError::LimitReached) if the organization has as many agents as its limit
    /// allows.
    async fn insert(
        &self,
        within: Tenancy,
        agent: &Agent,
        credential: Option<&Credential>,
        write: Write<'_>,
    ) -> Result<(), InsertAgentError>;

    /// Returns the agent with this ID; `None` if it is unknown or outside `within`.
    ///
    /// Returns a [`StoreError`] if the store cannot answer.
    async fn find(&self, within: Tenancy, id: AgentId) -> Result<Option<Arc<Agent>>, StoreError>;

    /// Returns those of these agents that exist within `within`, in any order, each once.
    ///
    /// Returns a [`StoreError`] if the store cannot answer.
    async fn find_all(&self, within: Tenancy, ids: &[AgentId]) -> Result<Vec<Arc<Agent>>, StoreError>;

    /// Returns a page of the agents that match the filter, newest first.
    ///
    /// Returns a [`StoreError`] if the store cannot answer.
    async fn list(
        &self,
        within: Tenancy,
        filter: &AgentFilter,
        page: PageRequest,
    ) -> Result<Page<Arc<Agent>>, StoreError>;

    /// Replaces `before` with `after`, and stores the events of the change.
    ///
    /// If the agent becomes decommissioned, its credentials are revoked in the same change.
    ///
    /// Returns [`LostRace`](UpdateAgentError::LostRace) if the stored revision is not that of `before`, and
    /// [`LastAdministrator`](UpdateAgentError::LastAdministrator) if the change would leave no active agent
    /// with `admin:orgs` and a live credential in any active organization.
    async fn update(&self, before: &Agent, after: &Agent, write: Write<'_>) -> Result<(), UpdateAgentError>;
}

/// Error of [`AgentStore::insert`].
#[derive(Debug, thiserror::Error)]
pub enum InsertAgentError {
    /// The organization is unknown or outside the given tenancy.
    #[error("no such organization")]
    NoSuchOrganization,
    /// The organization has, or had, an agent with this email address.
    #[error("the email address is already used in this organization")]
    EmailTaken,
    /// The organization has reached this limit of agents.
    #[error("the organization has reached its limit of {0} agents")]
    LimitReached(u32),
    /// The caller no longer has the authority of the [`Write`].
    #[error(transparent)]
    CallerRevoked(#[from] CallerRevoked),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Error of [`AgentStore::update`].
#[derive(Debug, thiserror::Error)]
pub enum UpdateAgentError {
    /// The stored agent is of another revision than `before`.
    #[error("the agent was changed concurrently")]
    LostRace,
    /// No active agent with `admin:orgs` and a live credential would be left.
    #[error("this would leave no administrator")]
    LastAdministrator,
    /// The caller no longer has the authority of the [`Write`].
    #[error(transparent)]
    CallerRevoked(#[from] CallerRevoked),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
