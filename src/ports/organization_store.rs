//! Keeps organizations.

use std::sync::Arc;

use async_trait::async_trait;

use super::store_error::StoreError;
use crate::domain::audit::NewAuditEvent;
use crate::domain::id::OrganizationId;
use crate::domain::organization::{Organization, Slug};
use crate::domain::page::{Page, PageRequest};
use crate::domain::tenancy::Tenancy;

/// Keeps organizations. Beside the common promises: a slug is taken once, and the last administrator stays.
#[async_trait]
pub trait OrganizationStore: Send + Sync {
    /// Stores a new organization with its event. Of many callers with one slug, one succeeds.
    async fn insert(
        &self,
        organization: &Organization,
        event: &NewAuditEvent,
    ) -> Result<(), InsertOrganizationError>;

    /// The organization with that id.
    async fn find(
        &self,
        within: Tenancy,
        id: OrganizationId,
    ) -> Result<Option<Arc<Organization>>, StoreError>;

    /// The organization with that slug.
    async fn find_by_slug(&self, slug: &Slug) -> Result<Option<Arc<Organization>>, StoreError>;

    /// A page of all organizations, newest first.
    async fn list(&self, page: PageRequest) -> Result<Page<Arc<Organization>>, StoreError>;

    /// Replaces `before` by `after`, with the events of the change.
    ///
    /// Refused where the stored row is no longer `before`, by its revision, and where no active agent with
    /// `admin:orgs` and a live credential would be left in any active organization.
    async fn update(
        &self,
        before: &Organization,
        after: &Organization,
        events: &[NewAuditEvent],
    ) -> Result<(), UpdateOrganizationError>;
}

/// Why [`OrganizationStore::insert`] stored nothing.
#[derive(Debug, thiserror::Error)]
pub enum InsertOrganizationError {
    #[error("the slug is already in use")]
    SlugTaken,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why [`OrganizationStore::update`] stored nothing.
#[derive(Debug, thiserror::Error)]
pub enum UpdateOrganizationError {
    #[error("the organization was changed concurrently")]
    LostRace,
    #[error("this would leave no administrator")]
    LastAdministrator,
    #[error(transparent)]
    Store(#[from] StoreError),
}
