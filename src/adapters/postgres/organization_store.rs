//! Organizations in PostgreSQL.

use std::sync::Arc;

use async_trait::async_trait;

use super::pool::statement::Parameter;
use super::rows::codec::{self, ORGANIZATION, SqlTimestamp, empty_page, limit_column, page_of, signed};
use super::store::Postgres;
use domain::id::OrganizationId;
use domain::names::name_of;
use domain::organization::{Organization, OrganizationStatus, Slug};
use domain::page::{Page, PageRequest};
use domain::plan::Plan;
use domain::tenancy::Tenancy;
use domain::token::RevocationNotice;
use ports::organization_store::{InsertOrganizationError, OrganizationStore, UpdateOrganizationError};
use ports::store_error::StoreError;
use ports::write::Write;

const INSERT: &str = "\
-- organization_store.insert
INSERT INTO organizations (organization_id, slug, name, plan, status, resources, max_agents, max_tokens_per_month,
    requests_per_minute, audit_retention_days, created_at, updated_at, generation, revision)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
ON CONFLICT ON CONSTRAINT organizations_slug_key DO NOTHING";

const COUNT: &str = "\
-- organization_store.count
SELECT count(*) AS total FROM organizations";

const UPDATE: &str = "\
-- organization_store.update
UPDATE organizations SET name = $3, plan = $4, status = $5, resources = $6, max_agents = $7,
    max_tokens_per_month = $8, requests_per_minute = $9, audit_retention_days = $10, updated_at = $11,
    generation = $12, revision = $13
WHERE organization_id = $1 AND revision = $2";

#[async_trait]
impl OrganizationStore for Postgres {
    async fn insert(
        &self,
        organization: &Organization,
        write: Write<'_>,
    ) -> Result<(), InsertOrganizationError> {
        let mut change = self.begin(write).await??;
        let resources: Vec<&str> = organization
            .resources
            .iter()
            .map(domain::resource_indicator::ResourceIndicator::as_str)
            .collect();
        let parameters: [Parameter<'_>; 14] = [
            &organization.id.0,
            &organization.slug.as_str(),
            &organization.name.as_str(),
            &name_of(&Plan::ALL, &organization.plan),
            &name_of(&OrganizationStatus::ALL, &organization.status),
            &resources,
            &limit_column(organization.overrides.max_agents),
            &limit_column(organization.overrides.max_tokens_per_month),
            &limit_column(organization.overrides.requests_per_minute),
            &limit_column(organization.overrides.audit_retention_days),
            &SqlTimestamp(organization.created_at),
            &SqlTimestamp(organization.updated_at),
            &signed(organization.generation),
            &signed(organization.revision),
        ];
        if change.execute(INSERT, &parameters).await? == 0 {
            return Err(InsertOrganizationError::SlugTaken);
        }
        change.record(organization.id, write.events).await?;
        Ok(change.commit().await?)
    }

    async fn find(
        &self,
        within: Tenancy,
        id: OrganizationId,
    ) -> Result<Option<Arc<Organization>>, StoreError> {
        if !within.contains(id) {
            return Ok(None);
        }
        let sql = format!(
            "-- organization_store.find\nSELECT {ORGANIZATION} FROM organizations WHERE organization_id = $1"
        );
        let rows = self.read(&sql, &[&id.0]).await?;
        Ok(rows.first().map(codec::organization).transpose()?.map(Arc::new))
    }

    async fn find_by_slug(&self, slug: &Slug) -> Result<Option<Arc<Organization>>, StoreError> {
        let sql = format!(
            "-- organization_store.find_by_slug\nSELECT {ORGANIZATION} FROM organizations WHERE slug = $1"
        );
        let rows = self.read(&sql, &[&slug.as_str()]).await?;
        Ok(rows.first().map(codec::organization).transpose()?.map(Arc::new))
    }

    async fn list(&self, page: PageRequest) -> Result<Page<Arc<Organization>>, StoreError> {
        let sql = format!(
            "-- organization_store.list\n\
             SELECT {ORGANIZATION}, (SELECT count(*) FROM organizations) AS total FROM organizations \
             ORDER BY created_at DESC, organization_id DESC LIMIT $1 OFFSET $2"
        );
        let rows = self.read(&sql, &[&i64::from(page.limit), &signed(page.offset())]).await?;
        match rows.is_empty() {
            true => empty_page(&self.read(COUNT, &[]).await?),
            false => page_of(&rows, codec::organization),
        }
    }

    async fn update(
        &self,
        before: &Organization,
        after: &Organization,
        write: Write<'_>,
    ) -> Result<(), UpdateOrganizationError> {
        let now = after.updated_at;
        let is_suspension = before.is_active() && !after.is_active();
        let mut change = self.begin_exclusive(after.id, is_suspension, write).await??;
        if is_suspension {
            change.lock_administrators().await?;
        }
        let had_administrator = is_suspension && change.has_administrator(None, now).await?;
        let resources: Vec<&str> =
            after.resources.iter().map(domain::resource_indicator::ResourceIndicator::as_str).collect();
        let parameters: [Parameter<'_>; 13] = [
            &before.id.0,
            &signed(before.revision),
            &after.name.as_str(),
            &name_of(&Plan::ALL, &after.plan),
            &name_of(&OrganizationStatus::ALL, &after.status),
            &resources,
            &limit_column(after.overrides.max_agents),
            &limit_column(after.overrides.max_tokens_per_month),
            &limit_column(after.overrides.requests_per_minute),
            &limit_column(after.overrides.audit_retention_days),
            &SqlTimestamp(after.updated_at),
            &signed(after.generation),
            &signed(after.revision),
        ];
        if change.execute(UPDATE, &parameters).await? == 0 {
            return Err(UpdateOrganizationError::LostRace);
        }
        if had_administrator && !change.has_administrator(None, now).await? {
            return Err(UpdateOrganizationError::LastAdministrator);
        }
        if after.generation > before.generation {
            change.notify(&RevocationNotice::of_organization(after, now)).await?;
        }
        change.record(after.id, write.events).await?;
        Ok(change.commit().await?)
    }
}
