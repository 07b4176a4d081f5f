//! Credentials: making, page, rotating and revoking them.

use std::sync::Arc;

use super::caller::{Caller, Forbidden};
use super::events::Events;
use crate::domain::agent::{Agent, Decommissioned};
use crate::domain::audit::{AuditAction, Metadata};
use crate::domain::credential::{
    AlreadyRevokedError, Credential, CredentialKind, CredentialStatus, MAX_LIVE_CREDENTIALS, MAX_UNREVOKED,
    RotationError, StoredSecret,
};
use crate::domain::id::{AgentId, CredentialId, OrganizationId};
use crate::domain::jwk::PublicKey;
use crate::domain::page::{Page, PageRequest};
use crate::domain::scope::ManagementScope;
use crate::domain::secret::ClientSecret;
use crate::domain::time::Timestamp;
use crate::ports::agent_store::AgentStore;
use crate::ports::assertion_verifier::AssertionVerifier;
use crate::ports::clock::Clock;
use crate::ports::credential_store::{
    CredentialStore, CredentialUpdate, InsertCredentialError, UpdateCredentialError,
};
use crate::ports::ids::Ids;
use crate::ports::secret_hasher::{HasherError, SecretHasher};
use crate::ports::secrets::Secrets;
use crate::ports::store_error::StoreError;

/// How often a change is tried again when the agent is being changed at the same time.
const ATTEMPTS: usize = 8;

/// The use cases of credentials.
#[derive(Clone)]
pub struct Credentials {
    pub(super) agents: Arc<dyn AgentStore>,
    pub(super) store: Arc<dyn CredentialStore>,
    pub(super) hasher: Arc<dyn SecretHasher>,
    pub(super) verifier: Arc<dyn AssertionVerifier>,
    pub(super) secrets: Arc<dyn Secrets>,
    pub(super) events: Events,
    pub(super) ids: Arc<dyn Ids>,
    pub(super) clock: Arc<dyn Clock>,
}

/// A credential that is to be made.
#[derive(Clone, Debug)]
pub struct NewCredential {
    pub kind: NewCredentialKind,
    pub expires_at: Option<Timestamp>,
}

/// What it is to be made of.
#[derive(Clone, Debug)]
pub enum NewCredentialKind {
    /// A secret that we make.
    Secret,
    /// A key that the agent has made.
    Key(PublicKey),
}

/// How a secret is to be replaced.
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    /// When the new secret ends; when the old one would have, where nothing is said.
    pub expires_at: Option<Timestamp>,
    /// How much longer the old secret works.
    pub grace_seconds: u32,
    /// Whether the agent's tokens die with the old secret.
    pub revoke_tokens: bool,
}

/// A credential, and its secret where one was made just now: it is shown once.
#[derive(Debug)]
pub struct MadeCredential {
    pub credential: Credential,
    pub secret: Option<ClientSecret>,
}

impl Credentials {
    /// Gives an agent a new credential, to use beside those it has.
    pub async fn generate(
        &self,
        caller: &Caller,
        agent: Option<AgentId>,
        new: NewCredential,
    ) -> Result<MadeCredential, CredentialsError> {
        let mut target = self.writable(caller, agent).await?;
        refuse_inactive(&target)?;
        // What will be refused costs neither a hash nor the judgement of a key.
        self.store.check_capacity(target.id, MAX_LIVE_CREDENTIALS, self.clock.now()).await?;
        let (kind, secret) = match new.kind {
            NewCredentialKind::Secret => {
                let (stored, secret) = self.make_secret(target.organization).await?;
                (CredentialKind::Secret { current: stored, previous: None }, Some(secret))
            }
            NewCredentialKind::Key(key) => {
                self.verifier.check_key(&key).map_err(CredentialsError::UnfitKey)?;
                (CredentialKind::Key(key), None)
            }
        };
        let at = self.clock.now();
        let credential = Credential {
            id: CredentialId(self.ids.next()),
            agent: target.id,
            kind,
            created_at: at,
            expires_at: new.expires_at,
            revoked_at: None,
            last_used_at: None,
            revision: 0,
        };
        let metadata = Metadata::default().with("agentId", target.id.to_string());
        let event =
            self.events.success(caller.event(AuditAction::CredentialGenerated, credential.id, metadata), at);
        for _ in 0..ATTEMPTS {
            match self.store.insert(&target, &credential, MAX_LIVE_CREDENTIALS, &event).await {
                Ok(()) => return Ok(MadeCredential { credential, secret }),
                Err(InsertCredentialError::LostRace) => {
                    target = self.writable(caller, agent).await?;
                    refuse_inactive(&target)?;
                }
                Err(refused) => return Err(refused.into()),
            }
        }
        Err(CredentialsError::AgentChanged)
    }

    /// A page of an agent's credentials, newest first.
    pub async fn list(
        &self,
        caller: &Caller,
        agent: Option<AgentId>,
        status: Option<CredentialStatus>,
        page: PageRequest,
    ) -> Result<Page<Arc<Credential>>, CredentialsError> {
        use ManagementScope::{AgentsRead, CredentialsWrite};
        let id = self.lookup_as(caller, agent, AgentsRead, CredentialsWrite).await?.id;
        Ok(self.store.list(id, status, page).await?)
    }

    /// Replaces a secret under the same id. Of two at once one succeeds.
    pub async fn rotate(
        &self,
        caller: &Caller,
        agent: Option<AgentId>,
        id: Option<CredentialId>,
        rotation: Rotation,
    ) -> Result<MadeCredential, CredentialsError> {
        let mut target = self.writable(caller, agent).await?;
        target.ensure_not_decommissioned()?;
        let before = self.lookup_credential(&target, id).await?;
        // No hash is spent on what will be refused.
        before.rotatable()?;
        let ends_at = rotation.expires_at.or(before.expires_at);
        if ends_at.is_some_and(|end| end <= self.clock.now()) {
            return Err(CredentialsError::Expired);
        }
        let (stored, secret) = self.make_secret(target.organization).await?;
        let at = self.clock.now();
        let grace = i64::from(rotation.grace_seconds);
        let grace_until = (grace > 0).then(|| at.plus_seconds(grace));
        let after = before.rotated(stored, ends_at, grace_until)?;
        let metadata = Metadata::default()
            .with("agentId", target.id.to_string())
            .with("graceSeconds", rotation.grace_seconds)
            .with("revokeTokens", rotation.revoke_tokens);
        let event = self.events.success(caller.event(AuditAction::CredentialRotated, after.id, metadata), at);
        for _ in 0..ATTEMPTS {
            let killed = if rotation.revoke_tokens { Some(target.with_tokens_revoked(at)?) } else { None };
            let change = CredentialUpdate {
                before: &before,
                after: &after,
                max_live: MAX_LIVE_CREDENTIALS,
                agent_after: killed.as_ref(),
            };
            match self.store.update(&target, &change, &event).await {
                Ok(()) => return Ok(MadeCredential { credential: after, secret: Some(secret) }),
                Err(UpdateCredentialError::LostRaceForAgent) => {
                    target = self.writable(caller, agent).await?;
                    target.ensure_not_decommissioned()?;
                }
                Err(refused) => return Err(refused.into()),
            }
        }
        Err(CredentialsError::AgentChanged)
    }

    /// Ends a credential.
    pub async fn revoke(
        &self,
        caller: &Caller,
        agent: Option<AgentId>,
        id: Option<CredentialId>,
    ) -> Result<(), CredentialsError> {
        for _ in 0..ATTEMPTS {
            let target = self.writable(caller, agent).await?;
            target.ensure_not_decommissioned()?;
            let before = self.lookup_credential(&target, id).await?;
            let at = self.clock.now();
            let after = before.revoked(at)?;
            let metadata = Metadata::default().with("agentId", target.id.to_string());
            let event =
                self.events.success(caller.event(AuditAction::CredentialRevoked, after.id, metadata), at);
            let change = CredentialUpdate {
                before: &before,
                after: &after,
                max_live: MAX_LIVE_CREDENTIALS,
                agent_after: None,
            };
            match self.store.update(&target, &change, &event).await {
                Ok(()) => return Ok(()),
                Err(UpdateCredentialError::LostRaceForAgent | UpdateCredentialError::LostRace) => {}
                Err(refused) => return Err(refused.into()),
            }
        }
        Err(CredentialsError::AgentChanged)
    }

    /// A new secret, and what is kept of it.
    pub(super) async fn make_secret(
        &self,
        whose: OrganizationId,
    ) -> Result<(StoredSecret, ClientSecret), CredentialsError> {
        let secret = self.secrets.client_secret();
        let hash = self.hasher.hash(&secret, whose).await?;
        Ok((StoredSecret { fingerprint: secret.fingerprint(), hash }, secret))
    }

    /// The agent, where the caller may write its credentials.
    async fn writable(
        &self,
        caller: &Caller,
        agent: Option<AgentId>,
    ) -> Result<Arc<Agent>, CredentialsError> {
        use ManagementScope::{AgentsWrite, CredentialsWrite};
        let target = self.lookup_as(caller, agent, AgentsWrite, CredentialsWrite).await?;
        caller.ensure_may_manage(target.capabilities.management())?;
        Ok(target)
    }

    async fn lookup_as(
        &self,
        caller: &Caller,
        agent: Option<AgentId>,
        scope: ManagementScope,
        own: ManagementScope,
    ) -> Result<Arc<Agent>, CredentialsError> {
        let Some(id) = agent else {
            caller.require(scope)?;
            return Err(CredentialsError::NoSuchAgent);
        };
        caller.require_or_own(scope, own, id)?;
        self.agents.find(caller.tenancy(), id).await?.ok_or(CredentialsError::NoSuchAgent)
    }

    async fn lookup_credential(
        &self,
        agent: &Agent,
        id: Option<CredentialId>,
    ) -> Result<Arc<Credential>, CredentialsError> {
        let id = id.ok_or(CredentialsError::NoSuchCredential)?;
        self.store.find(agent.id, id).await?.ok_or(CredentialsError::NoSuchCredential)
    }
}

fn refuse_inactive(agent: &Agent) -> Result<(), CredentialsError> {
    agent.ensure_not_decommissioned()?;
    if agent.is_active() { Ok(()) } else { Err(CredentialsError::NotActive) }
}

/// Why a use case of credentials did nothing.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    #[error("no such agent")]
    NoSuchAgent,
    #[error("no such credential")]
    NoSuchCredential,
    #[error(transparent)]
    Decommissioned(#[from] Decommissioned),
    #[error("the agent is suspended; reactivate it first")]
    NotActive,
    #[error("the agent already has {0} credentials that are active and not expired")]
    LimitReached(u32),
    #[error(
        "the agent already has {MAX_UNREVOKED} credentials of this type that are not revoked; revoke those that have expired"
    )]
    TooManyUnrevoked,
    #[error("the key cannot be registered: {0}")]
    UnfitKey(&'static str),
    #[error("the credential has expired; set a new expiresAt")]
    Expired,
    #[error(transparent)]
    NotASecret(RotationError),
    #[error(transparent)]
    AlreadyRevoked(#[from] AlreadyRevokedError),
    #[error("the agent was changed concurrently; try again")]
    AgentChanged,
    #[error("the credential was changed concurrently; read it and try again")]
    Conflict,
    #[error("this would leave no active agent with admin:orgs and an active credential")]
    LastAdministrator,
    #[error(transparent)]
    Hasher(#[from] HasherError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<RotationError> for CredentialsError {
    fn from(refusal: RotationError) -> Self {
        match refusal {
            RotationError::Revoked => Self::AlreadyRevoked(AlreadyRevokedError),
            RotationError::PublicKey => Self::NotASecret(refusal),
        }
    }
}

impl From<InsertCredentialError> for CredentialsError {
    fn from(error: InsertCredentialError) -> Self {
        match error {
            InsertCredentialError::LostRace => Self::AgentChanged,
            InsertCredentialError::LimitReached(limit) => Self::LimitReached(limit),
            InsertCredentialError::TooManyUnrevoked => Self::TooManyUnrevoked,
            InsertCredentialError::Store(failure) => Self::Store(failure),
        }
    }
}

impl From<UpdateCredentialError> for CredentialsError {
    fn from(error: UpdateCredentialError) -> Self {
        match error {
            UpdateCredentialError::LostRaceForAgent => Self::AgentChanged,
            UpdateCredentialError::LostRace => Self::Conflict,
            UpdateCredentialError::LimitReached(limit) => Self::LimitReached(limit),
            UpdateCredentialError::LastAdministrator => Self::LastAdministrator,
            UpdateCredentialError::Store(failure) => Self::Store(failure),
        }
    }
}
