//! Organizations in SQLite.

use std::sync::Arc;

use async_trait::async_trait;

use super::database::Database;
use super::facts::Facts as _;
use super::filter::Filter;
use super::rows::organizations::organization;
use super::store::Sqlite;
use domain::id::OrganizationId;
use domain::organization::{Organization, Slug};
use domain::page::{Page, PageRequest};
use domain::tenancy::Tenancy;
use domain::token::RevocationNotice;
use ports::organization_store::{InsertOrganizationError, OrganizationStore, UpdateOrganizationError};
use ports::store_error::StoreError;
use ports::write::Write;

#[async_trait]
impl OrganizationStore for Sqlite {
    async fn insert(
        &self,
        organization: &Organization,
        write: Write<'_>,
    ) -> Result<(), InsertOrganizationError> {
        let organization = organization.clone();
        self.write("organization_store.insert", write, move |database, write| {
            if database.organization_by_slug(&organization.slug)?.is_some() {
                return Err(InsertOrganizationError::SlugTaken);
            }
            database.put_organization(&organization)?;
            Ok(database.record_all(organization.id, write.events)?)
        })
        .await
    }

    async fn find(
        &self,
        within: Tenancy,
        id: OrganizationId,
    ) -> Result<Option<Arc<Organization>>, StoreError> {
        if !within.contains(id) {
            return Ok(None);
        }
        self.kept_or_looked_up("organization_store.find", self.rows().organization(id), move |database| {
            database.organization(id)
        })
        .await
    }

    async fn find_by_slug(&self, slug: &Slug) -> Result<Option<Arc<Organization>>, StoreError> {
        let slug = slug.clone();
        self.look_up("organization_store.find_by_slug", move |database| database.organization_by_slug(&slug))
            .await
    }

    async fn list(&self, page: PageRequest) -> Result<Page<Arc<Organization>>, StoreError> {
        self.list_within("organization_store.list", Tenancy::All, move |database| {
            let every = Filter::default();
            let total = database.count("SELECT count(*) FROM organizations", &every)?;
            let items = database.page("organizations", "organization_id", &every, page, organization)?;
            Ok(Page { items, total })
        })
        .await
    }

    async fn update(
        &self,
        before: &Organization,
        after: &Organization,
        write: Write<'_>,
    ) -> Result<(), UpdateOrganizationError> {
        let (before, after) = (before.clone(), after.clone());
        self.write("organization_store.update", write, move |database, write| {
            let now = after.updated_at;
            let stored = database.organization(before.id)?;
            if stored.is_none_or(|stored| stored.revision != before.revision) {
                return Err(UpdateOrganizationError::LostRace);
            }
            let is_suspension = before.is_active() && !after.is_active();
            let had_administrator = is_suspension && database.has_administrator(None, now)?;
            database.put_organization(&after)?;
            if had_administrator && !database.has_administrator(None, now)? {
                return Err(UpdateOrganizationError::LastAdministrator);
            }
            let (kept, keeps) = (before.audit_keeping(), after.audit_keeping());
            if kept.or_more(keeps) != keeps {
                database.retention_fell(after.id, kept, now)?;
            }
            if after.generation > before.generation {
                database.notify(&RevocationNotice::of_organization(&after, now))?;
            }
            Ok(database.record_all(after.id, write.events)?)
        })
        .await
    }
}

impl Database {
    fn organization_by_slug(&self, slug: &Slug) -> Result<Option<Arc<Organization>>, StoreError> {
        self.first("SELECT * FROM organizations WHERE slug = ?1", [slug.as_str()], organization)
    }
}
