//! Keeps the credentials of agents.

use std::sync::Arc;

use async_trait::async_trait;

use super::store_error::StoreError;
use crate::domain::agent::Agent;
use crate::domain::audit::NewAuditEvent;
use crate::domain::credential::{Credential, CredentialStatus, MAX_UNREVOKED};
use crate::domain::id::{AgentId, CredentialId};
use crate::domain::organization::Organization;
use crate::domain::page::{Page, PageRequest};
use crate::domain::secret::Fingerprint;
use crate::domain::time::Timestamp;

/// Keeps credentials. Beside the common promises: the limit of live ones holds however many callers race.
///
/// Changes take the agent as the caller saw it and are refused where it has changed since, by its revision:
/// so what was decided about its capabilities and its status still holds when the change is stored.
#[async_trait]
pub trait CredentialStore: Send + Sync {
    /// Refuses, before a hash is spent on it, a secret that [`insert`](Self::insert) would refuse now for want of room.
    async fn check_capacity(
        &self,
        agent: AgentId,
        max_live: u32,
        now: Timestamp,
    ) -> Result<(), InsertCredentialError>;

    /// Stores a new credential of that agent, with its event, while fewer than `max_live` of its credentials
    /// are live at the event's time; while fewer than [`MAX_UNREVOKED`] of its
    /// kind are not revoked.
    async fn insert(
        &self,
        agent: &Agent,
        credential: &Credential,
        max_live: u32,
        event: &NewAuditEvent,
    ) -> Result<(), InsertCredentialError>;

    /// The credential with that id of that agent.
    async fn find(&self, agent: AgentId, id: CredentialId) -> Result<Option<Arc<Credential>>, StoreError>;

    /// A page of an agent's credentials, newest first.
    async fn list(
        &self,
        agent: AgentId,
        status: Option<CredentialStatus>,
        page: PageRequest,
    ) -> Result<Page<Arc<Credential>>, StoreError>;

    /// Replaces `before` by `after` and, where `agent_after` is given, the agent by that, with the event.
    ///
    /// Of two callers with the same `before` one is refused. Refused too where the change would leave no
    /// active agent with `admin:orgs` and a live credential in any active organization, now or from when `after` expires,
    /// and where it brings an expired credential back while `max_live` others are live. Of an agent's revoked credentials
    /// the newest [`MAX_REVOKED`](crate::domain::credential::MAX_REVOKED) are kept.
    async fn update(
        &self,
        agent: &Agent,
        change: &CredentialUpdate<'_>,
        event: &NewAuditEvent,
    ) -> Result<(), UpdateCredentialError>;

    /// What is needed to authenticate a client, in one look-up; `None` for an unknown one.
    async fn find_client(&self, agent: AgentId, kind: PresentedKind) -> Result<Option<Client>, StoreError>;

    /// Notes that the credential was used in that minute. Makes no event.
    async fn touch(&self, agent: AgentId, id: CredentialId, minute: Timestamp) -> Result<(), StoreError>;
}

/// A change of one credential, and of its agent where the two go together.
#[derive(Debug)]
pub struct CredentialUpdate<'a> {
    pub before: &'a Credential,
    pub after: &'a Credential,
    pub max_live: u32,
    /// The agent with a higher generation, where its tokens go with the old secret.
    pub agent_after: Option<&'a Agent>,
}

/// With what a client wants to prove itself.
#[derive(Clone, Copy, Debug)]
pub enum PresentedKind {
    /// A secret with this fingerprint, current or in its grace.
    Secret(Fingerprint),
    /// An assertion signed by one of its registered keys.
    Key,
    /// Nothing that could prove it: who the client is is all that is wanted, without credentials.
    None,
}

/// A client as the stores know it: who it is, and the credentials that may match what it presents.
#[derive(Clone, Debug)]
pub struct Client {
    pub agent: Arc<Agent>,
    pub organization: Arc<Organization>,
    /// Dead ones may be among them.
    pub candidates: Vec<Arc<Credential>>,
}

/// Why [`CredentialStore::insert`] stored nothing.
#[derive(Debug, thiserror::Error)]
pub enum InsertCredentialError {
    #[error("the agent was changed concurrently")]
    LostRace,
    #[error("the agent already has {0} active credentials")]
    LimitReached(u32),
    #[error("the agent already has {MAX_UNREVOKED} credentials of that kind that are not revoked")]
    TooManyUnrevoked,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why [`CredentialStore::update`] stored nothing.
#[derive(Debug, thiserror::Error)]
pub enum UpdateCredentialError {
    #[error("the agent was changed concurrently")]
    LostRaceForAgent,
    #[error("the credential was changed concurrently")]
    LostRace,
    #[error("the agent already has {0} active credentials")]
    LimitReached(u32),
    #[error("this would leave no administrator")]
    LastAdministrator,
    #[error(transparent)]
    Store(#[from] StoreError),
}
