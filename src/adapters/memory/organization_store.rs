//! Organizations, in memory.

use std::sync::Arc;

use async_trait::async_trait;

use super::Memory;
use super::state::page_of;
use domain::id::OrganizationId;
use domain::organization::{Organization, Slug};
use domain::page::{Page, PageRequest};
use domain::tenancy::Tenancy;
use domain::token::RevocationNotice;
use ports::organization_store::{InsertOrganizationError, OrganizationStore, UpdateOrganizationError};
use ports::store_error::StoreError;
use ports::write::Write;

#[async_trait]
impl OrganizationStore for Memory {
    async fn insert(
        &self,
        organization: &Organization,
        write: Write<'_>,
    ) -> Result<(), InsertOrganizationError> {
        let state = &mut *self.lock();
        state.allow(write)?;
        if state.slugs.contains_key(&organization.slug) {
            return Err(InsertOrganizationError::SlugTaken);
        }
        state.slugs.insert(organization.slug.clone(), organization.id);
        state.organizations_by_age.insert((organization.created_at, organization.id));
        state.organizations.insert(organization.id, Arc::new(organization.clone()));
        state.record_all(organization.id, write.events);
        Ok(())
    }

    async fn find(
        &self,
        within: Tenancy,
        id: OrganizationId,
    ) -> Result<Option<Arc<Organization>>, StoreError> {
        Ok(self.lock().organizations.get(&id).filter(|_| within.contains(id)).cloned())
    }

    async fn find_by_slug(&self, slug: &Slug) -> Result<Option<Arc<Organization>>, StoreError> {
        let state = self.lock();
        Ok(state.slugs.get(slug).and_then(|id| state.organizations.get(id)).cloned())
    }

    async fn list(&self, page: PageRequest) -> Result<Page<Arc<Organization>>, StoreError> {
        let state = self.lock();
        let newest_first = state.organizations_by_age.iter().rev();
        Ok(page_of(newest_first.filter_map(|(_, id)| state.organizations.get(id).cloned()), page))
    }

    async fn update(
        &self,
        before: &Organization,
        after: &Organization,
        write: Write<'_>,
    ) -> Result<(), UpdateOrganizationError> {
        let state = &mut *self.lock();
        state.allow(write)?;
        let stored = state.organizations.get(&before.id).cloned();
        let Some(stored) = stored.filter(|stored| stored.revision == before.revision) else {
            return Err(UpdateOrganizationError::LostRace);
        };
        let now = after.updated_at;
        let (kept, keeps) = (before.audit_keeping(), after.audit_keeping());
        let is_suspension = before.is_active() && !after.is_active();
        let had_administrator = is_suspension && state.has_administrator(now);
        state.organizations.insert(after.id, Arc::new(after.clone()));
        if had_administrator && !state.has_administrator(now) {
            state.organizations.insert(before.id, stored);
            return Err(UpdateOrganizationError::LastAdministrator);
        }
        if kept.or_more(keeps) != keeps {
            state.retention_fell(after.id, kept, now);
        }
        if after.generation > before.generation {
            state.notify(RevocationNotice::of_organization(after, now));
        }
        state.record_all(after.id, write.events);
        Ok(())
    }
}
