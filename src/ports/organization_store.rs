//! Storage of organizations.

use std::sync::Arc;

use async_trait::async_trait;

use super::store_error::StoreError;
use super::write::{CallerRevoked, Write};
use domain::id::OrganizationId;
use domain::organization::{Organization, Slug};
use domain::page::{Page, PageRequest};
use domain::tenancy::Tenancy;

/// Stores organizations.
///
/// In addition to the common promises of [`ports`](super), a slug is used only once, and the last
/// administrator is never removed. A *live* credential is neither revoked nor expired.
#[async_trait]
pub trait OrganizationStore: Send + Sync {
    /// Stores a new organization with its event.
    ///
    /// Returns [`SlugTaken`](InsertOrganizationError::SlugTaken) if an organization has that slug. Of several
    /// callers with one slug, one succeeds.
    async fn insert(
        &self,
        organization: &Organization,
        write: Write<'_>,
    ) -> Result<(), InsertOrganizationError>;

    /// Returns the organization with this ID; `None` if it is unknown or outside `within`.
    ///
    /// Returns a [`StoreError`] if the store cannot answer.
    async fn find(
        &self,
        within: Tenancy,
        id: OrganizationId,
    ) -> Result<Option<Arc<Organization>>, StoreError>;

    /// Returns the organization with this slug; `None` if it is unknown.
    ///
    /// Returns a [`StoreError`] if the store cannot answer.
    async fn find_by_slug(&self, slug: &Slug) -> Result<Option<Arc<Organization>>, StoreError>;

    /// Returns a page of all organizations, newest first.
    ///
    /// Returns a [`StoreError`] if the store cannot answer.
    async fn list(&self, page: PageRequest) -> Result<Page<Arc<Organization>>, StoreError>;

    /// Replaces `before` with `after`, and stores the events of the change.
    ///
    /// Returns [`LostRace`](UpdateOrganizationError::LostRace) if the stored revision is not that of
    /// `before`, and [`LastAdministrator`](UpdateOrganizationError::LastAdministrator) if the change would
    /// leave no active agent with `admin:orgs` and a live credential in any active organization.
    async fn update(
        &self,
        before: &Organization,
        after: &Organization,
        write: Write<'_>,
    ) -> Result<(), UpdateOrganizationError>;
}

/// Error of [`OrganizationStore::insert`].
#[derive(Debug, thiserror::Error)]
pub enum InsertOrganizationError {
    /// Another organization has this slug.
    #[error("the slug is already in use")]
    SlugTaken,
    /// The caller no longer has the authority of the [`Write`].
    #[error(transparent)]
    CallerRevoked(#[from] CallerRevoked),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Error of [`OrganizationStore::update`].
#[derive(Debug, thiserror::Error)]
pub enum UpdateOrganizationError {
    /// The stored organization is of another revision than `before`.
    #[error("the organization was changed concurrently")]
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
