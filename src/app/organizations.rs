//! Use cases of organizations, the tenants: create, find, list, change, suspend.

use std::sync::Arc;

use super::agents::REVOCATION_ATTEMPTS;
use super::caller::{Caller, Forbidden};
use super::events::Events;
use super::metrics::{RevocationCounts, RevocationKind};
use super::ports::Ports;
use domain::audit::{AuditAction, AuditEvent, Metadata};
use domain::id::OrganizationId;
use domain::organization::{Name, Organization, OrganizationChange, OrganizationStatus, Slug};
use domain::page::{Page, PageRequest};
use domain::plan::{LimitOverrides, Plan};
use domain::resource_indicator::ResourceIndicator;
use domain::scope::ManagementScope;
use domain::time::Timestamp;
use ports::clock::Clock;
use ports::ids::Ids;
use ports::organization_store::{InsertOrganizationError, OrganizationStore, UpdateOrganizationError};
use ports::store_error::StoreError;
use ports::write::{CallerRevoked, Write};

/// Use cases of organizations. All of them require `admin:orgs`.
#[derive(Clone)]
pub struct Organizations {
    store: Arc<dyn OrganizationStore>,
    events: Events,
    ids: Arc<dyn Ids>,
    clock: Arc<dyn Clock>,
    revocations: RevocationCounts,
}

/// An organization to be created.
#[derive(Clone, Debug)]
pub struct NewOrganization {
    /// Display name.
    pub name: Name,
    /// Short name for use in addresses and commands, unique.
    pub slug: Slug,
    /// Plan that sets the limits.
    pub plan: Plan,
    /// Resource servers that its agents may request tokens for (RFC 8707).
    pub resources: Vec<ResourceIndicator>,
    /// Limits that differ from the plan's.
    pub overrides: LimitOverrides,
}

impl Organizations {
    pub(super) fn new(ports: &Ports) -> Self {
        Self {
            store: ports.stores.organizations.clone(),
            events: Events::new(ports.ids.clone()),
            ids: ports.ids.clone(),
            clock: ports.clock.clone(),
            revocations: RevocationCounts::new(),
        }
    }

    /// Creates an organization.
    pub async fn create(
        &self,
        caller: &Caller,
        new: NewOrganization,
    ) -> Result<Organization, OrganizationsError> {
        caller.require(ManagementScope::AdminOrgs)?;
        let organization = new.into_organization(OrganizationId(self.ids.next()), self.clock.now());
        let details = caller.event(AuditAction::OrganizationCreated, organization.id, Metadata::default());
        let event = self.events.success(details, organization.created_at);
        let write =
            Write { authority: Some(&caller.authority()), events: &[event], at: organization.created_at };
        match self.store.insert(&organization, write).await {
            Ok(()) => Ok(organization),
            Err(InsertOrganizationError::SlugTaken) => {
                let existing = self.store.find_by_slug(&organization.slug).await?;
                Err(OrganizationsError::SlugTaken(existing.map(|existing| existing.id)))
            }
            Err(refused) => Err(refused.into()),
        }
    }

    /// Returns the organization with this ID.
    ///
    /// Returns [`OrganizationsError::NoSuchOrganization`] if the ID is unknown.
    pub async fn find(
        &self,
        caller: &Caller,
        id: OrganizationId,
    ) -> Result<Arc<Organization>, OrganizationsError> {
        caller.require(ManagementScope::AdminOrgs)?;
        self.store.find(caller.tenancy(), id).await?.ok_or(OrganizationsError::NoSuchOrganization)
    }

    /// Returns a page of organizations, newest first, or of the one with this slug.
    pub async fn list(
        &self,
        caller: &Caller,
        slug: Option<&Slug>,
        page: PageRequest,
    ) -> Result<Page<Arc<Organization>>, OrganizationsError> {
        caller.require(ManagementScope::AdminOrgs)?;
        let Some(slug) = slug else { return Ok(self.store.list(page).await?) };
        let found = self.store.find_by_slug(slug).await?;
        let total = u64::from(found.is_some());
        Ok(Page { items: found.into_iter().filter(|_| page.number == 1).collect(), total })
    }

    /// Replaces the fields named in the change.
    ///
    /// Suspending an organization permanently revokes every token of its agents.
    pub async fn change(
        &self,
        caller: &Caller,
        id: OrganizationId,
        change: OrganizationChange,
    ) -> Result<Organization, OrganizationsError> {
        let is_revocation = change.status == Some(OrganizationStatus::Suspended);
        let attempts = if is_revocation { REVOCATION_ATTEMPTS } else { 1 };
        for _ in 0..attempts {
            let before = self.find(caller, id).await?;
            let at = self.clock.now();
            let after = before.changed(change.clone(), at);
            if after == *before {
                return Ok(after);
            }
            let events = self.events_of_change(caller, &before, &after, at);
            let write = Write { authority: Some(&caller.authority()), events: &events, at };
            match self.store.update(&before, &after, write).await {
                Ok(()) => {
                    let kind = RevocationKind::Organization;
                    self.revocations.count_if_raised(kind, before.generation, after.generation);
                    return Ok(after);
                }
                Err(UpdateOrganizationError::LostRace) => {}
                Err(refused) => return Err(refused.into()),
            }
        }
        Err(OrganizationsError::Conflict)
    }

    fn events_of_change(
        &self,
        caller: &Caller,
        before: &Organization,
        after: &Organization,
        at: Timestamp,
    ) -> Vec<AuditEvent> {
        let named = [
            ("name", before.name != after.name),
            ("plan", before.plan != after.plan),
            ("resources", before.resources != after.resources),
            ("limits", before.overrides != after.overrides),
        ];
        let status = (before.status != after.status).then_some(match after.status {
            OrganizationStatus::Suspended => AuditAction::OrganizationSuspended,
            OrganizationStatus::Active => AuditAction::OrganizationReactivated,
        });
        self.events.of_change(caller, after.id, (AuditAction::OrganizationUpdated, &named), status, at)
    }
}

impl NewOrganization {
    /// Builds the new organization: active, with generation and revision 0.
    pub(super) fn into_organization(self, id: OrganizationId, at: Timestamp) -> Organization {
        Organization {
            id,
            name: self.name,
            slug: self.slug,
            plan: self.plan,
            status: OrganizationStatus::Active,
            resources: self.resources,
            overrides: self.overrides,
            created_at: at,
            updated_at: at,
            generation: 0,
            revision: 0,
        }
    }
}

/// Error returned by the use cases of organizations.
#[derive(Debug, thiserror::Error)]
pub enum OrganizationsError {
    /// The caller lacks `admin:orgs`.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// No organization has this ID.
    #[error("no such organization")]
    NoSuchOrganization,
    /// The slug is already used.
    #[error("the slug is already in use")]
    SlugTaken(Option<OrganizationId>),
    /// The organization was changed concurrently.
    #[error("the organization was changed concurrently; read it and try again")]
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

impl From<InsertOrganizationError> for OrganizationsError {
    fn from(error: InsertOrganizationError) -> Self {
        match error {
            InsertOrganizationError::SlugTaken => Self::SlugTaken(None),
            InsertOrganizationError::CallerRevoked(error) => Self::CallerRevoked(error),
            InsertOrganizationError::Store(failure) => Self::Store(failure),
        }
    }
}

impl From<UpdateOrganizationError> for OrganizationsError {
    fn from(error: UpdateOrganizationError) -> Self {
        match error {
            UpdateOrganizationError::LostRace => Self::Conflict,
            UpdateOrganizationError::LastAdministrator => Self::LastAdministrator,
            UpdateOrganizationError::CallerRevoked(error) => Self::CallerRevoked(error),
            UpdateOrganizationError::Store(failure) => Self::Store(failure),
        }
    }
}
