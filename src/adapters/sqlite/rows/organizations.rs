//! Organizations as rows.

use std::sync::Arc;

use rusqlite::{Row, named_params};

use super::column::{column, instant, invalid, json_of, named, number, parsed, signed, texts};
use crate::database::Database;
use crate::row_cache::RowKey;
use domain::id::OrganizationId;
use domain::names::name_of;
use domain::organization::{Name, Organization, OrganizationStatus, Slug};
use domain::plan::{Limit, LimitOverrides, Plan};
use domain::resource_indicator::ResourceIndicator;
use ports::store_error::StoreError;

/// Reads an organization from all columns of its table.
pub fn organization(row: &Row<'_>) -> Result<Arc<Organization>, StoreError> {
    let resources = texts(row, "resources")?;
    let resources = resources.iter().map(|text| ResourceIndicator::parse(text)).collect::<Result<_, _>>();
    let limit = |name: &str| -> Result<Option<Limit>, StoreError> {
        let stored: Option<i64> = column(row, name)?;
        stored.map(|stored| limit_of(stored).ok_or_else(|| invalid(name))).transpose()
    };
    Ok(Arc::new(Organization {
        id: OrganizationId(column(row, "organization_id")?),
        name: parsed(row, "name", |text| Name::parse(text).ok())?,
        slug: parsed(row, "slug", |text| Slug::parse(text).ok())?,
        plan: named(row, "plan", &Plan::ALL)?,
        status: named(row, "status", &OrganizationStatus::ALL)?,
        resources: resources.map_err(|_| invalid("resources"))?,
        overrides: LimitOverrides {
            max_agents: limit("max_agents")?,
            max_tokens_per_month: limit("max_tokens_per_month")?,
            requests_per_minute: limit("requests_per_minute")?,
            audit_retention_days: limit("audit_retention_days")?,
        },
        created_at: instant(row, "created_at")?,
        updated_at: instant(row, "updated_at")?,
        generation: number(row, "generation")?,
        revision: number(row, "revision")?,
    }))
}

/// Converts a stored number to a limit: 0 for unlimited.
fn limit_of(stored: i64) -> Option<Limit> {
    match stored {
        0 => Some(Limit::Unlimited),
        most => u32::try_from(most).ok().map(Limit::AtMost),
    }
}

/// Converts a limit to its number: 0 for unlimited.
fn limit_column(limit: Limit) -> u32 {
    match limit {
        Limit::Unlimited => 0,
        Limit::AtMost(most) => most,
    }
}

impl Database {
    /// Stores an organization in place of the one with its ID, if there is one.
    pub fn put_organization(&self, organization: &Organization) -> Result<(), StoreError> {
        const PUT: &str = "\
INSERT INTO organizations (organization_id, slug, name, plan, status, resources, max_agents, max_tokens_per_month,
    requests_per_minute, audit_retention_days, created_at, updated_at, generation, revision)
VALUES (:organization_id, :slug, :name, :plan, :status, :resources, :max_agents, :max_tokens_per_month,
    :requests_per_minute, :audit_retention_days, :created_at, :updated_at, :generation, :revision)
ON CONFLICT (organization_id) DO UPDATE SET name = :name, plan = :plan, status = :status, resources = :resources,
    max_agents = :max_agents, max_tokens_per_month = :max_tokens_per_month, requests_per_minute = :requests_per_minute,
    audit_retention_days = :audit_retention_days, updated_at = :updated_at, generation = :generation,
    revision = :revision";
        let overrides = organization.overrides;
        let parameters = named_params! {
            ":organization_id": organization.id.0,
            ":slug": organization.slug.as_str(),
            ":name": organization.name.as_str(),
            ":plan": name_of(&Plan::ALL, &organization.plan),
            ":status": name_of(&OrganizationStatus::ALL, &organization.status),
            ":resources": json_of(organization.resources.iter().map(ResourceIndicator::as_str)),
            ":max_agents": overrides.max_agents.map(limit_column),
            ":max_tokens_per_month": overrides.max_tokens_per_month.map(limit_column),
            ":requests_per_minute": overrides.requests_per_minute.map(limit_column),
            ":audit_retention_days": overrides.audit_retention_days.map(limit_column),
            ":created_at": organization.created_at.as_millis(),
            ":updated_at": organization.updated_at.as_millis(),
            ":generation": signed(organization.generation),
            ":revision": signed(organization.revision),
        };
        self.cached_rows().mark_changed(RowKey::Organization(organization.id));
        self.execute(PUT, parameters).map(drop)
    }
}
