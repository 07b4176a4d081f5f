//! Use cases of agents: register, find, list, change, decommission, revoke tokens.

use std::sync::Arc;

use super::caller::{Caller, Forbidden};
use super::events::Events;
use super::metrics::{RevocationCounts, RevocationKind};
use super::ports::Ports;
use domain::agent::{
    Agent, AgentChange, AgentFilter, AgentStatus, AgentType, Decommissioned, DeploymentEnv, Email, Owner,
    Version,
};
use domain::audit::{AuditAction, AuditEvent, Metadata};
use domain::id::{AgentId, OrganizationId};
use domain::managed_by::ManagedBy;
use domain::may_act::MayAct;
use domain::page::{Page, PageRequest};
use domain::proof::ProofRequirement;
use domain::resource_indicator::ResourceIndicator;
use domain::scope::{ManagementScope, Scopes};
use domain::tenancy::Tenancy;
use domain::time::Timestamp;
use ports::agent_store::{AgentStore, InsertAgentError, UpdateAgentError};
use ports::clock::Clock;
use ports::ids::Ids;
use ports::organization_store::OrganizationStore;
use ports::store_error::StoreError;
use ports::write::{CallerRevoked, Write};

/// Maximum attempts to revoke, suspend or decommission when concurrent changes conflict.
///
/// Conflicts are retried this often because repeated changes must not prevent a revocation.
pub(super) const REVOCATION_ATTEMPTS: usize = 16;

/// Use cases of agents.
#[derive(Clone)]
pub struct Agents {
    store: Arc<dyn AgentStore>,
    organizations: Arc<dyn OrganizationStore>,
    events: Events,
    ids: Arc<dyn Ids>,
    clock: Arc<dyn Clock>,
    revocations: RevocationCounts,
}

/// An agent to be registered.
#[derive(Clone, Debug)]
pub struct NewAgent {
    /// Organization of the agent; the caller's if `None`. Naming one requires `admin:orgs`.
    pub organization: Option<OrganizationId>,
    /// Email address, unique within the organization.
    pub email: Email,
    /// Kind of work that the agent does.
    pub agent_type: AgentType,
    /// Version of the agent (SemVer 2.0.0).
    pub version: Version,
    /// Scopes that the agent may be granted.
    pub capabilities: Scopes,
    /// Team or person responsible for the agent.
    pub owner: Owner,
    /// Audience of its tokens if none is requested; one of the organization's resources.
    pub default_resource: Option<ResourceIndicator>,
    /// Agents that may act for it.
    pub may_act: MayAct,
    /// Whether an actor may pass on the authority that it holds for the agent.
    pub redelegation: bool,
    /// Whether its tokens must be bound to a key.
    pub dpop: ProofRequirement,
    /// Environment that the agent runs in.
    pub deployment_env: DeploymentEnv,
    /// Tool or team that manages it.
    pub managed_by: Option<ManagedBy>,
}

impl Agents {
    pub(super) fn new(ports: &Ports) -> Self {
        Self {
            store: ports.stores.agents.clone(),
            organizations: ports.stores.organizations.clone(),
            events: Events::new(ports.ids.clone()),
            ids: ports.ids.clone(),
            clock: ports.clock.clone(),
            revocations: RevocationCounts::new(),
        }
    }

    /// Registers an agent.
    pub async fn register(&self, caller: &Caller, mut new: NewAgent) -> Result<Agent, AgentsError> {
        caller.require(ManagementScope::AgentsWrite)?;
        if new.organization.is_some() {
            caller.require(ManagementScope::AdminOrgs)?;
        }
        caller.ensure_may_manage(new.capabilities.management())?;

        let organization = new.organization.unwrap_or(caller.agent.organization);
        let mut faults = Vec::new();
        if let Some(asked) = &new.default_resource {
            new.default_resource = self.listed(caller, organization, asked).await?;
            faults.extend(new.default_resource.is_none().then(unlisted));
        }
        faults.extend(self.faults_of_actors(organization, None, &new.may_act).await?);
        refuse(faults)?;
        let agent = new.into_agent(AgentId(self.ids.next()), organization, self.clock.now());
        let details = caller.event(AuditAction::AgentCreated, agent.id, Metadata::default());
        let event = self.events.success(details, agent.created_at);
        let write = Write { authority: Some(&caller.authority()), events: &[event], at: agent.created_at };
        match self.store.insert(caller.tenancy(), &agent, None, write).await {
            Ok(()) => Ok(agent),
            Err(InsertAgentError::EmailTaken) => {
                Err(AgentsError::EmailTaken(self.existing(caller, &agent).await?))
            }
            Err(refused) => Err(refused.into()),
        }
    }

    /// Returns the agent with this ID.
    ///
    /// Returns [`AgentsError::NoSuchAgent`] if the ID is unknown or outside the caller's
    /// tenancy.
    pub async fn find(&self, caller: &Caller, id: AgentId) -> Result<Arc<Agent>, AgentsError> {
        caller.require(ManagementScope::AgentsRead)?;
        self.lookup(caller, id).await
    }

    /// Returns a page of agents, newest first.
    ///
    /// The page is empty if `organization` is outside the caller's tenancy.
    pub async fn list(
        &self,
        caller: &Caller,
        organization: Option<OrganizationId>,
        filter: &AgentFilter,
        page: PageRequest,
    ) -> Result<Page<Arc<Agent>>, AgentsError> {
        caller.require(ManagementScope::AgentsRead)?;
        match caller.tenancy().narrowed_to(organization) {
            Some(within) => Ok(self.store.list(within, filter, page).await?),
            None => Ok(Page { items: Vec::new(), total: 0 }),
        }
    }

    /// Replaces the fields named in the change.
    ///
    /// If nothing differs, nothing is stored and no event is recorded.
    pub async fn change(
        &self,
        caller: &Caller,
        id: AgentId,
        mut change: AgentChange,
    ) -> Result<Agent, AgentsError> {
        caller.require(ManagementScope::AgentsWrite)?;
        if change.default_resource.is_some() || change.may_act.is_some() {
            let organization = self.lookup(caller, id).await?.organization;
            let mut faults = Vec::new();
            if let Some(Some(asked)) = &change.default_resource {
                let listed = self.listed(caller, organization, asked).await?;
                faults.extend(listed.is_none().then(unlisted));
                change.default_resource = Some(listed);
            }
            if let Some(may_act) = &change.may_act {
                faults.extend(self.faults_of_actors(organization, Some(id), may_act).await?);
            }
            refuse(faults)?;
        }
        let attempts = if change.is_active == Some(false) { REVOCATION_ATTEMPTS } else { 1 };
        self.update(caller, id, attempts, |before, at| {
            let after = before.changed(change.clone(), at)?;
            let events = self.events_of_change(caller, before, &after, at);
            Ok((after, events))
        })
        .await
    }

    /// Decommissions an agent permanently, and revokes its tokens and credentials.
    pub async fn decommission(&self, caller: &Caller, id: AgentId) -> Result<(), AgentsError> {
        self.update(caller, id, REVOCATION_ATTEMPTS, |before, at| {
            let details = caller.event(AuditAction::AgentDecommissioned, before.id, Metadata::default());
            Ok((before.decommissioned(at)?, vec![self.events.success(details, at)]))
        })
        .await?;
        Ok(())
    }

    /// Revokes all tokens issued to an agent so far (kill switch).
    ///
    /// The agent can obtain new tokens afterwards.
    pub async fn revoke_tokens(&self, caller: &Caller, id: AgentId) -> Result<(), AgentsError> {
        self.update(caller, id, REVOCATION_ATTEMPTS, |before, at| {
            let after = before.with_tokens_revoked(at)?;
            let metadata = Metadata::default().with("generation", after.generation);
            let details = caller.event(AuditAction::TokenRevoked, before.id, metadata);
            Ok((after, vec![self.events.success(details, at)]))
        })
        .await?;
        Ok(())
    }

    /// Reads an agent, applies `decide`, and stores the result unless the agent has changed since.
    ///
    /// A conflict is retried until `attempts` attempts were made.
    async fn update(
        &self,
        caller: &Caller,
        id: AgentId,
        attempts: usize,
        decide: impl Fn(&Agent, Timestamp) -> Result<(Agent, Vec<AuditEvent>), Decommissioned>,
    ) -> Result<Agent, AgentsError> {
        caller.require(ManagementScope::AgentsWrite)?;
        for _ in 0..attempts {
            let before = self.lookup(caller, id).await?;
            caller.ensure_may_manage(before.capabilities.management())?;
            let at = self.clock.now();
            let (after, events) = decide(&before, at)?;
            caller.ensure_may_manage(after.capabilities.management())?;
            if after == *before {
                return Ok(after);
            }
            let write = Write { authority: Some(&caller.authority()), events: &events, at };
            match self.store.update(&before, &after, write).await {
                Ok(()) => {
                    self.revocations.count_if_raised(
                        RevocationKind::Agent,
                        before.generation,
                        after.generation,
                    );
                    return Ok(after);
                }
                Err(UpdateAgentError::LostRace) => {}
                Err(UpdateAgentError::LastAdministrator) => return Err(AgentsError::LastAdministrator),
                Err(UpdateAgentError::CallerRevoked(error)) => return Err(error.into()),
                Err(UpdateAgentError::Store(failure)) => return Err(failure.into()),
            }
        }
        Err(AgentsError::Conflict)
    }

    fn events_of_change(
        &self,
        caller: &Caller,
        before: &Agent,
        after: &Agent,
        at: Timestamp,
    ) -> Vec<AuditEvent> {
        let named = [
            ("agentType", before.agent_type != after.agent_type),
            ("version", before.version != after.version),
            ("capabilities", before.capabilities != after.capabilities),
            ("owner", before.owner != after.owner),
            ("defaultResource", before.default_resource != after.default_resource),
            ("mayAct", before.may_act != after.may_act),
            ("redelegation", before.redelegation != after.redelegation),
            ("dpop", before.dpop != after.dpop),
            ("deploymentEnv", before.deployment_env != after.deployment_env),
        ];
        let status = match (before.status, after.status) {
            (AgentStatus::Active, AgentStatus::Suspended) => Some(AuditAction::AgentSuspended),
            (AgentStatus::Suspended, AgentStatus::Active) => Some(AuditAction::AgentReactivated),
            _ => None,
        };
        self.events.of_change(caller, after.id, (AuditAction::AgentUpdated, &named), status, at)
    }

    /// Returns the agent that has the address of the new one; `None` if the caller may not read it.
    async fn existing(&self, caller: &Caller, new: &Agent) -> Result<Option<AgentId>, AgentsError> {
        if caller.require(ManagementScope::AgentsRead).is_err() {
            return Ok(None);
        }
        let filter = AgentFilter { email: Some(new.email.clone()), ..AgentFilter::default() };
        let page = PageRequest { number: 1, limit: 1 };
        let found = self.store.list(Tenancy::Only(new.organization), &filter, page).await?;
        Ok(found.items.first().map(|agent| agent.id))
    }

    /// Returns a resource as the organization lists it; `None` if it does not.
    ///
    /// The organization may drop it at any time; the agent then gets no token until it requests another.
    async fn listed(
        &self,
        caller: &Caller,
        organization: OrganizationId,
        asked: &ResourceIndicator,
    ) -> Result<Option<ResourceIndicator>, AgentsError> {
        let organization = self
            .organizations
            .find(caller.tenancy(), organization)
            .await?
            .ok_or(AgentsError::NoSuchOrganization)?;
        Ok(organization.resource(asked.as_str()).cloned())
    }

    /// Returns why agents must not be allowed to act for an agent of this organization: each must be another agent of it that
    /// is not decommissioned. `own` is the ID of the agent that they would act for, if it exists.
    ///
    /// One may be decommissioned at any time; it then gets no token.
    async fn faults_of_actors(
        &self,
        organization: OrganizationId,
        own: Option<AgentId>,
        may_act: &MayAct,
    ) -> Result<Vec<Fault>, StoreError> {
        let listed = may_act.listed().unwrap_or_default();
        if listed.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.store.find_all(Tenancy::Only(organization), listed).await?;
        let fault = |(place, actor): (usize, &AgentId)| {
            let what = match found.iter().find(|agent| agent.id == *actor) {
                _ if own == Some(*actor) => "must not be the agent itself",
                Some(agent) if agent.status != AgentStatus::Decommissioned => return None,
                Some(_) => "must not be a decommissioned agent",
                None => "must be an agent of the organization",
            };
            Some((format!("mayAct[{place}]"), what))
        };
        Ok(listed.iter().enumerate().filter_map(fault).collect())
    }

    async fn lookup(&self, caller: &Caller, id: AgentId) -> Result<Arc<Agent>, AgentsError> {
        self.store.find(caller.tenancy(), id).await?.ok_or(AgentsError::NoSuchAgent)
    }
}

impl NewAgent {
    /// Builds the new agent: active, with generation and revision 0.
    pub(super) fn into_agent(self, id: AgentId, organization: OrganizationId, at: Timestamp) -> Agent {
        Agent {
            id,
            organization,
            email: self.email,
            agent_type: self.agent_type,
            version: self.version,
            capabilities: self.capabilities,
            owner: self.owner,
            default_resource: self.default_resource,
            may_act: self.may_act,
            redelegation: self.redelegation,
            dpop: self.dpop,
            deployment_env: self.deployment_env,
            managed_by: self.managed_by,
            status: AgentStatus::Active,
            created_at: at,
            updated_at: at,
            generation: 0,
            revision: 0,
        }
    }
}

/// Path of a field, and the text that follows it in the error.
type Fault = (String, &'static str);

/// Returns the fault of a default resource that the organization does not list.
fn unlisted() -> Fault {
    ("defaultResource".to_owned(), "must be one of the organization's resources")
}

/// Returns [`AgentsError::Invalid`] if there are any faults.
fn refuse(faults: Vec<Fault>) -> Result<(), AgentsError> {
    if faults.is_empty() { Ok(()) } else { Err(AgentsError::Invalid(faults)) }
}

/// Error returned by the use cases of agents.
#[derive(Debug, thiserror::Error)]
pub enum AgentsError {
    /// The caller lacks a required scope.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// No agent has this ID within the caller's tenancy.
    #[error("no such agent")]
    NoSuchAgent,
    /// No organization has this ID within the caller's tenancy.
    #[error("no such organization")]
    NoSuchOrganization,
    /// Fields have values that cannot be used: the path of each, and the text that follows it.
    #[error("fields have values that cannot be used")]
    Invalid(Vec<(String, &'static str)>),
    /// The email address is already used in this organization, perhaps by a decommissioned agent: the one named, if
    /// the caller may read it.
    #[error("the email address is already used in this organization, possibly by a decommissioned agent")]
    EmailTaken(Option<AgentId>),
    /// The organization has reached its limit of agents.
    #[error("the organization has reached its limit of {0} agents")]
    LimitReached(u32),
    /// The agent is decommissioned and cannot change.
    #[error(transparent)]
    Decommissioned(#[from] Decommissioned),
    /// The agent was changed concurrently.
    #[error("the agent was changed concurrently; read it and try again")]
    Conflict,
    /// The change would leave no administrator.
    #[error("this would leave no active agent with admin:orgs and an active credential")]
    LastAdministrator,
    /// The caller's authority was revoked while the change was in progress.
    #[error(transparent)]
    CallerRevoked(#[from] CallerRevoked),
    /// The store returned an error.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<InsertAgentError> for AgentsError {
    fn from(error: InsertAgentError) -> Self {
        match error {
            InsertAgentError::NoSuchOrganization => Self::NoSuchOrganization,
            InsertAgentError::EmailTaken => Self::EmailTaken(None),
            InsertAgentError::LimitReached(limit) => Self::LimitReached(limit),
            InsertAgentError::CallerRevoked(error) => Self::CallerRevoked(error),
            InsertAgentError::Store(failure) => Self::Store(failure),
        }
    }
}
