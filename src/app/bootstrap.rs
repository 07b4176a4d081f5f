//! Bootstrap: creates the organization `default` and its administrators.

use std::sync::Arc;

use super::Ports;
use super::agents::NewAgent;
use super::events::{EventDetails, Events};
use super::organizations::NewOrganization;
use domain::agent::{AgentType, DeploymentEnv, Email, Owner, Version};
use domain::audit::{AuditAction, Metadata, Origin, Resource};
use domain::credential::{Credential, CredentialKind};
use domain::id::{AgentId, CredentialId, OrganizationId};
use domain::may_act::MayAct;
use domain::organization::{DEFAULT_SLUG, Name, Organization, OrganizationChange, OrganizationStatus, Slug};
use domain::plan::{Limit, LimitOverrides, Plan};
use domain::proof::ProofRequirement;
use domain::scope::{ManagementScope, Scopes};
use domain::secret::ClientSecret;
use domain::tenancy::Tenancy;
use ports::agent_store::InsertAgentError;
use ports::organization_store::{InsertOrganizationError, UpdateOrganizationError};
use ports::secret_hasher::HasherError;
use ports::store_error::StoreError;
use ports::write::Write;

/// Email address of the first administrator. If the address is taken, a first administrator was already created.
const FIRST_ADMINISTRATOR: &str = "administrator@agentidp.internal";

/// Creates what must exist before any request can be authorized.
#[derive(Clone)]
pub struct Bootstrap {
    ports: Ports,
    events: Events,
}

/// A newly created administrator. The secret is shown only once.
#[derive(Debug)]
pub struct Administrator {
    /// Agent ID, which is the OAuth `client_id`.
    pub client_id: AgentId,
    /// Client secret.
    pub client_secret: ClientSecret,
}

impl Bootstrap {
    pub(super) fn new(ports: &Ports) -> Self {
        Self { ports: ports.clone(), events: Events::new(ports.ids.clone()) }
    }

    /// Returns the organization `default`, and creates it if it does not exist.
    ///
    /// Many instances may call this concurrently.
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
        match self
            .ports
            .stores
            .organizations
            .insert(&organization, Write { authority: None, events: &[event], at })
            .await
        {
            Ok(()) => Ok(Arc::new(organization)),
            Err(InsertOrganizationError::SlugTaken) => {
                let there = self.ports.stores.organizations.find_by_slug(&slug).await?;
                there.ok_or(BootstrapError::Vanished)
            }
            // A write of the operator has no authority that could be revoked.
            Err(InsertOrganizationError::CallerRevoked(_)) => Err(BootstrapError::Contended),
            Err(InsertOrganizationError::Store(failure)) => Err(failure.into()),
        }
    }

    /// Creates the first administrator.
    ///
    /// Returns [`BootstrapError::AlreadyDone`] if one was created before.
    pub async fn first_administrator(&self) -> Result<Administrator, BootstrapError> {
        let metadata = Metadata::default().with("by", "operator");
        self.administrator(AgentId(self.ports.ids.next()), FIRST_ADMINISTRATOR, &metadata).await
    }

    /// Creates another administrator, for an operator without a usable administrator.
    ///
    /// If the organization `default` is suspended, it is reactivated. If its limit of agents is reached, the limit
    /// is lifted. Without an administrator neither could be done otherwise.
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
        Ok(self
            .ports
            .stores
            .organizations
            .update(before, &after, Write { authority: None, events: &[event], at })
            .await?)
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
            capabilities: Scopes::capabilities(&capabilities).expect("they are well formed"),
            owner: Owner::parse("operator").expect("a constant of the right form"),
            default_resource: None,
            may_act: MayAct::NONE,
            redelegation: false,
            dpop: ProofRequirement::Optional,
            deployment_env: DeploymentEnv::Production,
            managed_by: None,
        };
        let agent = new.into_agent(id, organization.id, at);
        let secret = self.ports.secrets.client_secret();
        let current = self.ports.hasher.hash(&secret, organization.id).await?;
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
        self.ports
            .stores
            .agents
            .insert(Tenancy::All, &agent, Some(&credential), Write { authority: None, events: &events, at })
            .await?;
        Ok(Administrator { client_id: agent.id, client_secret: secret })
    }
}

/// Returns the details of an event caused by the operator, without actor and origin.
fn by_operator(
    action: AuditAction,
    resource: impl Into<Resource>,
    metadata: &Metadata,
) -> EventDetails<'static> {
    const AT_THE_MACHINE: Origin = Origin::NONE;
    EventDetails {
        actor: None,
        action,
        resource: Some(resource.into()),
        origin: &AT_THE_MACHINE,
        metadata: metadata.clone(),
    }
}

/// Error returned by the methods of [`Bootstrap`].
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// A first administrator was created before.
    #[error("a first administrator exists already; `agentidp bootstrap --recover` creates another")]
    AlreadyDone,
    /// The organization `default` existed and has disappeared.
    #[error("the organization `default` exists but cannot be found")]
    Vanished,
    /// The organization `default` was changed concurrently.
    #[error("the organization `default` is being changed; try again")]
    Contended,
    /// The organization `default` has reached its limit of agents.
    #[error("the organization `default` has reached its limit of agents")]
    NoRoom,
    /// The secret could not be hashed.
    #[error(transparent)]
    Hasher(#[from] HasherError),
    /// The store returned an error.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<InsertAgentError> for BootstrapError {
    fn from(error: InsertAgentError) -> Self {
        match error {
            InsertAgentError::EmailTaken => Self::AlreadyDone,
            InsertAgentError::NoSuchOrganization => Self::Vanished,
            InsertAgentError::LimitReached(_) => Self::NoRoom,
            InsertAgentError::CallerRevoked(_) => Self::Contended,
            InsertAgentError::Store(failure) => Self::Store(failure),
        }
    }
}

impl From<UpdateOrganizationError> for BootstrapError {
    fn from(error: UpdateOrganizationError) -> Self {
        match error {
            UpdateOrganizationError::LostRace
            | UpdateOrganizationError::LastAdministrator
            | UpdateOrganizationError::CallerRevoked(_) => Self::Contended,
            UpdateOrganizationError::Store(failure) => Self::Store(failure),
        }
    }
}
