//! The first start: the organization `default`, and an administrator to begin with.

use std::sync::Arc;

use super::Ports;
use super::agents::NewAgent;
use super::events::{EventDetails, Events};
use super::organizations::NewOrganization;
use crate::domain::agent::{AgentType, DeploymentEnv, Email, Owner, Version};
use crate::domain::audit::{AuditAction, Metadata, Origin, Resource};
use crate::domain::credential::{Credential, CredentialKind, StoredSecret};
use crate::domain::id::{AgentId, CredentialId, OrganizationId};
use crate::domain::organization::{
    DEFAULT_SLUG, Name, Organization, OrganizationChange, OrganizationStatus, Slug,
};
use crate::domain::plan::{Limit, LimitOverrides, Plan};
use crate::domain::scope::{ManagementScope, Scopes};
use crate::domain::secret::ClientSecret;
use crate::domain::tenancy::Tenancy;
use crate::ports::agent_store::InsertAgentError;
use crate::ports::organization_store::{InsertOrganizationError, UpdateOrganizationError};
use crate::ports::secret_hasher::HasherError;
use crate::ports::store_error::StoreError;

/// The address of the first administrator. That it is taken says that there was one.
const FIRST_ADMINISTRATOR: &str = "administrator@agentidp.internal";

/// Makes what must be there before anybody can ask for anything.
#[derive(Clone)]
pub struct Bootstrap {
    ports: Ports,
    events: Events,
}

/// An administrator that was made just now. The secret is shown once.
#[derive(Debug)]
pub struct Administrator {
    pub client_id: AgentId,
    pub client_secret: ClientSecret,
}

impl Bootstrap {
    pub(super) fn new(ports: &Ports, events: Events) -> Self {
        Self { ports: ports.clone(), events }
    }

    /// The organization `default`, made if it is not there. Many instances may do this at once.
    pub async fn default_organization(&self) -> Result<Arc<Organization>, BootstrapError> {
        let slug = Slug::parse(DEFAULT_SLUG).expect("a constant of the right form");
        let new = NewOrganization {
            name: Name::parse("Default").expect("a constant of the right form"),
            slug: slug.clone(),
            plan: Plan::Enterprise,
            resources: Vec::new(),
            overrides: LimitOverrides::default(),
        };
        if let Some(there) = self.ports.stores.organizations.find_by_slug(&slug).await? {
            return Ok(there);
        }
        let at = self.ports.clock.now();
        let organization = new.into_organization(OrganizationId(self.ports.ids.next()), at);
        let metadata = Metadata::default().with("by", "operator");
        let details = by_operator(AuditAction::OrganizationCreated, organization.id, &metadata);
        let event = self.events.success(details, at);
        match self.ports.stores.organizations.insert(&organization, &event).await {
            Ok(()) => Ok(Arc::new(organization)),
            Err(InsertOrganizationError::SlugTaken) => {
                let there = self.ports.stores.organizations.find_by_slug(&slug).await?;
                there.ok_or(BootstrapError::Vanished)
            }
            Err(InsertOrganizationError::Store(failure)) => Err(failure.into()),
        }
    }

    /// The first administrator. Refused where there was one already.
    pub async fn first_administrator(&self) -> Result<Administrator, BootstrapError> {
        let metadata = Metadata::default().with("by", "operator");
        self.administrator(AgentId(self.ports.ids.next()), FIRST_ADMINISTRATOR, &metadata).await
    }

    /// One more administrator, for whoever operates the service and can do nothing any more. Where the
    /// organization `default` is suspended or full, that is lifted: nobody else could do that either.
    pub async fn another_administrator(&self) -> Result<Administrator, BootstrapError> {
        let metadata = Metadata::default().with("by", "operator").with("recovery", true);
        let before = self.default_organization().await?;
        if !before.is_active() {
            let status = Some(OrganizationStatus::Active);
            let change = OrganizationChange { status, ..OrganizationChange::default() };
            self.change(&before, change, AuditAction::OrganizationReactivated, &metadata).await?;
        }
        let id = AgentId(self.ports.ids.next());
        let email = format!("administrator-{id}@agentidp.internal");
        match self.administrator(id, &email, &metadata).await {
            Err(BootstrapError::NoRoom) => {}
            outcome => return outcome,
        }
        let before = self.default_organization().await?;
        let overrides = LimitOverrides { max_agents: Some(Limit::Unlimited), ..before.overrides };
        let change = OrganizationChange { overrides: Some(overrides), ..OrganizationChange::default() };
        let of_limits = metadata.clone().with("fields", vec!["limits"]);
        self.change(&before, change, AuditAction::OrganizationUpdated, &of_limits).await?;
        self.administrator(id, &email, &metadata).await
    }

    async fn change(
        &self,
        before: &Organization,
        change: OrganizationChange,
        action: AuditAction,
        metadata: &Metadata,
    ) -> Result<(), BootstrapError> {
        let at = self.ports.clock.now();
        let after = before.changed(change, at);
        let event = self.events.success(by_operator(action, after.id, metadata), at);
        Ok(self.ports.stores.organizations.update(before, &after, &[event]).await?)
    }

    async fn administrator(
        &self,
        id: AgentId,
        email: &str,
        metadata: &Metadata,
    ) -> Result<Administrator, BootstrapError> {
        let organization = self.default_organization().await?;
        let at = self.ports.clock.now();
        let capabilities = ManagementScope::ALL.map(ManagementScope::as_str);
        let new = NewAgent {
            organization: None,
            email: Email::parse(email).expect("a constant and an id of the right form"),
            agent_type: AgentType::Custom,
            version: Version::parse(env!("CARGO_PKG_VERSION")).expect("cargo demands SemVer"),
            capabilities: Scopes::capabilities(&capabilities).expect("the six are well formed"),
            owner: Owner::parse("operator").expect("a constant of the right form"),
            deployment_env: DeploymentEnv::Production,
        };
        let agent = new.into_agent(id, organization.id, at);
        let secret = self.ports.secrets.client_secret();
        let hash = self.ports.hasher.hash(&secret, organization.id).await?;
        let current = StoredSecret { fingerprint: secret.fingerprint(), hash };
        let credential = Credential {
            id: CredentialId(self.ports.ids.next()),
            agent: agent.id,
            kind: CredentialKind::Secret { current, previous: None },
            created_at: at,
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
            revision: 0,
        };
        let events = [
            self.events.success(by_operator(AuditAction::AgentCreated, agent.id, metadata), at),
            self.events.success(by_operator(AuditAction::CredentialGenerated, credential.id, metadata), at),
        ];
        self.ports.stores.agents.insert(Tenancy::All, &agent, Some(&credential), &events).await?;
        Ok(Administrator { client_id: agent.id, client_secret: secret })
    }
}

/// Done by whoever operates the service, at the machine itself.
fn by_operator(
    action: AuditAction,
    resource: impl Into<Resource>,
    metadata: &Metadata,
) -> EventDetails<'static> {
    const AT_THE_MACHINE: Origin = Origin { address: None, user_agent: None };
    EventDetails {
        actor: None,
        authority: None,
        action,
        resource: Some(resource.into()),
        origin: &AT_THE_MACHINE,
        metadata: metadata.clone(),
    }
}

/// Why no administrator was created.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    #[error("a first administrator exists already; `agentidp bootstrap --recover` creates another")]
    AlreadyDone,
    #[error("the organization `default` exists but cannot be found")]
    Vanished,
    #[error("the organization `default` is being changed; try again")]
    Contended,
    #[error("the organization `default` has reached its limit of agents")]
    NoRoom,
    #[error(transparent)]
    Hasher(#[from] HasherError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<InsertAgentError> for BootstrapError {
    fn from(error: InsertAgentError) -> Self {
        match error {
            InsertAgentError::EmailTaken => Self::AlreadyDone,
            InsertAgentError::NoSuchOrganization => Self::Vanished,
            InsertAgentError::LimitReached(_) => Self::NoRoom,
            InsertAgentError::Store(failure) => Self::Store(failure),
        }
    }
}

impl From<UpdateOrganizationError> for BootstrapError {
    fn from(error: UpdateOrganizationError) -> Self {
        match error {
            UpdateOrganizationError::LostRace | UpdateOrganizationError::LastAdministrator => Self::Contended,
            UpdateOrganizationError::Store(failure) => Self::Store(failure),
        }
    }
}
