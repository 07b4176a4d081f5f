//! Storage of agents' credentials.

use std::sync::Arc;

use async_trait::async_trait;

use super::store_error::StoreError;
use super::write::{CallerRevoked, Write};
use domain::agent::Agent;
use domain::client::RegisteredClient;
use domain::credential::{Credential, CredentialStatus, MAX_UNREVOKED};
use domain::id::{AgentId, CredentialId};
use domain::page::{Page, PageRequest};
use domain::secret::{Fingerprint, SecretDigest};
use domain::tenancy::Tenancy;
use domain::time::Timestamp;

/// Stores credentials.
///
/// In addition to the common promises of [`ports`](super), the limit of live credentials holds however many
/// callers race. A *live* credential is neither revoked nor expired.
///
/// Changes take the agent as the caller saw it, and are refused if its revision has changed since. What was
/// decided by its capabilities and its status therefore still holds when the change is stored.
#[async_trait]
pub trait CredentialStore: Send + Sync {
    /// Checks, before work is spent on a new credential, that the limit of live ones has room.
    ///
    /// Returns [`LimitReached`](InsertCredentialError::LimitReached) if `max_live` credentials of the agent
    /// are live at `now`, in which case [`insert`](Self::insert) would refuse as well.
    async fn check_capacity(
        &self,
        agent: AgentId,
        max_live: u32,
        now: Timestamp,
    ) -> Result<(), InsertCredentialError>;

    /// Stores a new credential of the agent, with its event.
    ///
    /// Returns [`LostRace`](InsertCredentialError::LostRace) if the agent's stored revision differs,
    /// [`NoSuchIssuer`](InsertCredentialError::NoSuchIssuer) if a federated credential is of an issuer that the agent's
    /// organization does not trust, [`SubjectMissing`](InsertCredentialError::SubjectMissing) if that issuer demands a
    /// subject and the credential has none,
    /// [`LimitReached`](InsertCredentialError::LimitReached) if `max_live` of the agent's credentials are
    /// live at the event's time, and [`TooManyUnrevoked`](InsertCredentialError::TooManyUnrevoked) if
    /// [`MAX_UNREVOKED`] credentials of the same kind are not revoked.
    async fn insert(
        &self,
        agent: &Agent,
        credential: &Credential,
        max_live: u32,
        write: Write<'_>,
    ) -> Result<(), InsertCredentialError>;

    /// Returns the credential with this ID of this agent; `None` if it is unknown.
    ///
    /// Returns a [`StoreError`] if the store cannot answer.
    async fn find(&self, agent: AgentId, id: CredentialId) -> Result<Option<Arc<Credential>>, StoreError>;

    /// Returns a page of an agent's credentials, newest first, of the given status or of any.
    ///
    /// Returns a [`StoreError`] if the store cannot answer.
    async fn list(
        &self,
        agent: AgentId,
        status: Option<CredentialStatus>,
        page: PageRequest,
    ) -> Result<Page<Arc<Credential>>, StoreError>;

    /// Returns a page of the credentials within this tenancy that are not revoked and expire after the first instant and not
    /// after the second, those that expire first before the others.
    ///
    /// Returns a [`StoreError`] if the store cannot answer.
    async fn expiring(
        &self,
        within: Tenancy,
        after: Timestamp,
        until: Timestamp,
        page: PageRequest,
    ) -> Result<Page<Arc<Credential>>, StoreError>;

    /// Replaces `before` with `after`, and stores the event.
    ///
    /// If `agent_after` is given, it replaces the agent in the same change. Of an agent's revoked
    /// credentials, the newest [`MAX_REVOKED`](domain::credential::MAX_REVOKED) are kept.
    ///
    /// Returns [`LostRaceForAgent`](UpdateCredentialError::LostRaceForAgent) if the agent's stored revision
    /// differs, [`LostRace`](UpdateCredentialError::LostRace) if the stored revision is not that of `before`
    /// (of two callers with the same `before`, one is refused),
    /// [`LimitReached`](UpdateCredentialError::LimitReached) if an expired credential would become live again
    /// while `max_live` others are live, and [`LastAdministrator`](UpdateCredentialError::LastAdministrator)
    /// if the change would leave no active agent with `admin:orgs` and a live credential in any active
    /// organization, now or from the instant at which `after` expires.
    async fn update(
        &self,
        agent: &Agent,
        change: &CredentialUpdate<'_>,
        write: Write<'_>,
    ) -> Result<(), UpdateCredentialError>;

    /// Returns what is needed to authenticate a client, in one look-up; `None` if it is unknown.
    ///
    /// The candidates are the secrets with that fingerprint, expired and revoked ones too, so that a refusal can be
    /// explained; or all keys that are not revoked; or all federated credentials of a trusted issuer that are not revoked,
    /// together with that issuer.
    ///
    /// Returns a [`StoreError`] if the store cannot answer.
    async fn find_client(
        &self,
        agent: AgentId,
        kind: PresentedKind,
        freshness: Freshness,
    ) -> Result<Option<RegisteredClient>, StoreError>;

    /// Stores the digest of a credential's current secret, if that has this fingerprint and is not revoked.
    ///
    /// The revision stays, and there is no event. Returns a [`StoreError`] if the store failed.
    async fn set_digest(
        &self,
        agent: AgentId,
        id: CredentialId,
        fingerprint: Fingerprint,
        digest: SecretDigest,
    ) -> Result<(), StoreError>;

    /// Records that the credential was used in this minute, without an event.
    ///
    /// Returns a [`StoreError`] if the store failed.
    async fn touch(&self, agent: AgentId, id: CredentialId, minute: Timestamp) -> Result<(), StoreError>;
}

/// Change of one credential, and of its agent if the two change together.
#[derive(Debug)]
pub struct CredentialUpdate<'a> {
    /// The credential as the caller saw it.
    pub before: &'a Credential,
    /// The credential that replaces it.
    pub after: &'a Credential,
    /// Limit of the agent's live credentials.
    pub max_live: u32,
    /// The agent with a raised generation, if its tokens are revoked together with the old secret.
    pub agent_after: Option<&'a Agent>,
}

/// Kind of credential with which a client wants to authenticate.
#[derive(Clone, Debug)]
pub enum PresentedKind {
    /// A secret with this fingerprint, current or in its grace period.
    Secret(Fingerprint),
    /// An assertion signed by one of the client's registered keys.
    Key,
    /// An assertion signed by the trusted issuer with this `iss`.
    Federated(Arc<str>),
    /// No usable credential: only the identity of the client is wanted, without its credentials.
    None,
}

/// How current an answer must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// As of the question.
    Current,
    /// As of a minute ago at most.
    ///
    /// Enough for a caller that does nothing by the answer unless the store then confirms it, and that asks again
    /// before it refuses anything.
    Recent,
}

/// Error of [`CredentialStore::insert`].
#[derive(Debug, thiserror::Error)]
pub enum InsertCredentialError {
    /// The stored agent is of another revision than the given one.
    #[error("the agent was changed concurrently")]
    LostRace,
    /// The agent's organization does not trust the issuer.
    #[error("no such issuer")]
    NoSuchIssuer,
    /// The issuer requires a subject, or claims where the subject is optional.
    #[error("the issuer demands a subject")]
    SubjectMissing,
    /// The agent already has this many live credentials.
    #[error("the agent already has {0} active credentials")]
    LimitReached(u32),
    /// The agent already has [`MAX_UNREVOKED`] credentials of this kind that are not revoked.
    #[error("the agent already has {MAX_UNREVOKED} credentials of that kind that are not revoked")]
    TooManyUnrevoked,
    /// The caller no longer has the authority of the [`Write`].
    #[error(transparent)]
    CallerRevoked(#[from] CallerRevoked),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Error of [`CredentialStore::update`].
#[derive(Debug, thiserror::Error)]
pub enum UpdateCredentialError {
    /// The stored agent is of another revision than the given one.
    #[error("the agent was changed concurrently")]
    LostRaceForAgent,
    /// The stored credential is of another revision than `before`.
    #[error("the credential was changed concurrently")]
    LostRace,
    /// The agent already has this many live credentials.
    #[error("the agent already has {0} active credentials")]
    LimitReached(u32),
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
