//! `/api/v1/organizations`.

use std::collections::HashSet;

use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::pagination::PageQuery;
use crate::error::{ApiError, Code};
use crate::extract::context::Ctx;
use crate::extract::wire::{EnumName, Instant, PathId};
use crate::extract::{Fields, Input, JsonBody, Query, one_of, text};
use crate::oauth::authorization::{Bearer, Scope};
use crate::operation::{BEARER, BODY, Operation, Tag, operation};
use app::organizations::{NewOrganization, OrganizationsError};
use domain::id::OrganizationId;
use domain::organization::{
    MAX_RESOURCES, Name as OrganizationName, Organization, OrganizationChange, OrganizationStatus,
    ResourceUri, Slug,
};
use domain::plan::{Limit, LimitOverrides, Plan};

/// The operations on organizations.
pub struct OrganizationsApi;

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Organizations")]
impl OrganizationsApi {
    /// Create an organization
    ///
    /// An organization is a tenant: it owns agents, their credentials and their audit events.
    #[oai(path = "/organizations", method = "post", operation_id = "createOrganization")]
    async fn create(
        &self,
        ctx: Ctx,
        #[oai(scope = "Scope::ADMIN_ORGS")] caller: Bearer,
        body: JsonBody<NewOrganizationBody>,
    ) -> Result<CreateResponse, ApiError> {
        let organization = ctx.app.organizations.create(&caller.0, body.0).await?;
        let location = format!("/api/v1/organizations/{}", organization.id);
        Ok(CreateResponse::Created(Json((&organization).into()), location))
    }

    /// List organizations
    ///
    /// Newest first.
    #[oai(path = "/organizations", method = "get", operation_id = "listOrganizations")]
    async fn list(
        &self,
        ctx: Ctx,
        #[oai(scope = "Scope::ADMIN_ORGS")] caller: Bearer,
        query: Query<PageQuery>,
    ) -> Result<Json<OrganizationPage>, ApiError> {
        let page = query.0;
        let listing = ctx.app.organizations.list(&caller.0, page).await?;
        Ok(Json(OrganizationPage {
            data: listing.items.iter().map(|organization| (&**organization).into()).collect(),
            total: listing.total,
            page: page.number,
            limit: page.limit,
        }))
    }

    /// Get an organization
    ///
    /// `limits` contains only the limits that override those of the plan.
    #[oai(path = "/organizations/:organizationId", method = "get", operation_id = "getOrganization")]
    async fn read(
        &self,
        ctx: Ctx,
        #[oai(scope = "Scope::ADMIN_ORGS")] caller: Bearer,
        #[oai(name = "organizationId")] organization_id: Path<PathId<OrganizationId>>,
    ) -> Result<Json<OrganizationBody>, ApiError> {
        let id = organization_id.0.0;
        let organization = ctx.app.organizations.find(&caller.0, id).await?;
        Ok(Json((&*organization).into()))
    }

    /// Update an organization
    ///
    /// Each field in the request is replaced as a whole, including `limits` and `resources`. Suspending is the tenant
    /// kill switch: the organization's agents get no tokens, and their existing tokens stay revoked after reactivation.
    #[oai(path = "/organizations/:organizationId", method = "patch", operation_id = "updateOrganization")]
    async fn change(
        &self,
        ctx: Ctx,
        #[oai(scope = "Scope::ADMIN_ORGS")] caller: Bearer,
        #[oai(name = "organizationId")] organization_id: Path<PathId<OrganizationId>>,
        body: JsonBody<OrganizationChangeBody>,
    ) -> Result<Json<OrganizationBody>, ApiError> {
        let id = organization_id.0.0;
        let organization = ctx.app.organizations.change(&caller.0, id, body.0).await?;
        Ok(Json((&organization).into()))
    }
}

#[derive(ApiResponse)]
enum CreateResponse {
    /// Organization created
    #[oai(status = 201)]
    Created(
        Json<OrganizationBody>,
        /// Path of the organization
        #[oai(header = "Location")]
        String,
    ),
}

/// An organization to create
#[derive(Object)]
#[oai(
    rename = "CreateOrganizationRequest",
    rename_all = "camelCase",
    deny_unknown_fields,
    skip_serializing_if_is_none
)]
struct NewOrganizationBody {
    #[oai(validator(min_length = 2, max_length = 100))]
    name: String,
    /// Unique among all organizations
    #[oai(validator(pattern = "^[a-z0-9-]{2,50}$"))]
    slug: String,
    /// Defaults to `free`
    plan: Option<EnumName<Plan>>,
    #[oai(validator(max_items = 50, unique_items = true))]
    resources: Option<Vec<String>>,
    limits: Option<LimitsBody>,
}

impl Input for NewOrganizationBody {
    type Value = NewOrganization;

    fn read(fields: &mut Fields) -> Option<NewOrganization> {
        let name = fields.required("name", text(OrganizationName::parse));
        let slug = fields.required("slug", text(Slug::parse));
        let plan = fields.optional("plan", one_of(&Plan::ALL));
        let resources = resources(fields);
        let overrides = fields.object("limits", read_limits);
        Some(NewOrganization {
            name: name?,
            slug: slug?,
            plan: plan?.unwrap_or(Plan::Free),
            resources: resources?.unwrap_or_default(),
            overrides: overrides?.unwrap_or_default(),
        })
    }
}

/// Fields of an organization to replace
#[derive(Object)]
#[oai(
    rename = "UpdateOrganizationRequest",
    rename_all = "camelCase",
    deny_unknown_fields,
    skip_serializing_if_is_none
)]
struct OrganizationChangeBody {
    #[oai(validator(min_length = 2, max_length = 100))]
    name: Option<String>,
    plan: Option<EnumName<Plan>>,
    status: Option<EnumName<OrganizationStatus>>,
    /// Replaces all resources
    #[oai(validator(max_items = 50, unique_items = true))]
    resources: Option<Vec<String>>,
    /// Replaces all limit overrides
    limits: Option<LimitsBody>,
}

impl Input for OrganizationChangeBody {
    type Value = OrganizationChange;

    fn read(fields: &mut Fields) -> Option<OrganizationChange> {
        let name = fields.optional("name", text(OrganizationName::parse));
        let plan = fields.optional("plan", one_of(&Plan::ALL));
        let status = fields.optional("status", one_of(&OrganizationStatus::ALL));
        let resources = resources(fields);
        let overrides = fields.object("limits", read_limits);
        Some(OrganizationChange {
            name: name?,
            plan: plan?,
            status: status?,
            resources: resources?,
            overrides: overrides?,
        })
    }
}

/// Overrides of the plan's limits; null means unlimited, an absent field keeps the plan's limit
#[derive(Object)]
#[oai(rename = "Limits", rename_all = "camelCase", deny_unknown_fields, skip_serializing_if_is_none)]
struct LimitsBody {
    #[oai(validator(minimum(value = "1"), maximum(value = "2147483647")))]
    max_agents: Option<u32>,
    #[oai(validator(minimum(value = "1"), maximum(value = "2147483647")))]
    max_tokens_per_month: Option<u32>,
    #[oai(validator(minimum(value = "1"), maximum(value = "2147483647")))]
    requests_per_minute: Option<u32>,
    #[oai(validator(minimum(value = "1"), maximum(value = "2147483647")))]
    audit_retention_days: Option<u32>,
}

fn read_limits(fields: &mut Fields) -> Option<LimitOverrides> {
    const MAX: u64 = i32::MAX as u64;
    let mut limit = |name| {
        fields.optional(name, |value| match value {
            Value::Null => Ok(Limit::Unlimited),
            Value::Number(number) => number
                .as_u64()
                .filter(|number| (1..=MAX).contains(number))
                .and_then(|number| u32::try_from(number).ok())
                .map(Limit::AtMost)
                .ok_or_else(|| format!("must be a whole number from 1 to {MAX}, or null")),
            _ => Err(format!("must be a whole number from 1 to {MAX}, or null")),
        })
    };
    let (agents, tokens) = (limit("maxAgents"), limit("maxTokensPerMonth"));
    let (requests, days) = (limit("requestsPerMinute"), limit("auditRetentionDays"));
    Some(LimitOverrides {
        max_agents: agents?,
        max_tokens_per_month: tokens?,
        requests_per_minute: requests?,
        audit_retention_days: days?,
    })
}

fn resources(fields: &mut Fields) -> Option<Option<Vec<ResourceUri>>> {
    let Some(resources) = fields.texts("resources", ResourceUri::parse)? else { return Some(None) };
    if resources.len() > MAX_RESOURCES {
        fields.field_error("resources", format!("must have at most {MAX_RESOURCES} entries"));
    }
    let mut seen = HashSet::new();
    for (place, uri) in &resources {
        if !seen.insert(uri) {
            fields.field_error(&format!("resources[{place}]"), "is repeated");
        }
    }
    Some(Some(resources.into_iter().map(|(_, uri)| uri).collect()))
}

/// An organization
#[derive(Object)]
#[oai(rename = "Organization", rename_all = "camelCase", skip_serializing_if_is_none)]
struct OrganizationBody {
    organization_id: Uuid,
    name: String,
    slug: String,
    plan: EnumName<Plan>,
    status: EnumName<OrganizationStatus>,
    resources: Vec<String>,
    /// Overrides of the plan's limits; null means unlimited
    limits: Option<Value>,
    created_at: Instant,
    updated_at: Instant,
}

impl From<&Organization> for OrganizationBody {
    fn from(organization: &Organization) -> Self {
        Self {
            organization_id: organization.id.0,
            name: organization.name.as_str().to_owned(),
            slug: organization.slug.as_str().to_owned(),
            plan: EnumName(organization.plan),
            status: EnumName(organization.status),
            resources: organization.resources.iter().map(|uri| uri.as_str().to_owned()).collect(),
            limits: limits_body(organization.overrides),
            created_at: Instant(organization.created_at),
            updated_at: Instant(organization.updated_at),
        }
    }
}

/// Returns the overrides as an object; `None` if the organization has none.
///
/// The object is built by hand, because null and absent mean different things in it.
fn limits_body(overrides: LimitOverrides) -> Option<Value> {
    let named = [
        ("maxAgents", overrides.max_agents),
        ("maxTokensPerMonth", overrides.max_tokens_per_month),
        ("requestsPerMinute", overrides.requests_per_minute),
        ("auditRetentionDays", overrides.audit_retention_days),
    ];
    let limits: Map<String, Value> = named
        .into_iter()
        .filter_map(|(name, limit)| Some((name.to_owned(), json!(limit_value(limit?)))))
        .collect();
    if limits.is_empty() { None } else { Some(Value::Object(limits)) }
}

/// Returns a limit as a number; `None` if it is unlimited.
pub const fn limit_value(limit: Limit) -> Option<u32> {
    match limit {
        Limit::Unlimited => None,
        Limit::AtMost(limit) => Some(limit),
    }
}

/// A page of organizations
#[derive(Object)]
struct OrganizationPage {
    data: Vec<OrganizationBody>,
    /// Number of organizations on all pages
    total: u64,
    page: u32,
    limit: u32,
}

impl From<OrganizationsError> for ApiError {
    fn from(error: OrganizationsError) -> Self {
        use OrganizationsError as E;
        let message = error.to_string();
        match error {
            E::Forbidden(refusal) => refusal.into(),
            E::NoSuchOrganization => Self::new(Code::OrganizationNotFound, message),
            E::SlugTaken => Self::new(Code::OrganizationAlreadyExists, message),
            E::Conflict => Self::new(Code::Conflict, message),
            E::LastAdministrator => Self::new(Code::LastAdministrator, message),
            E::CallerRevoked(revoked) => revoked.into(),
            E::Store(failure) => failure.into(),
        }
    }
}

/// The operations on the wire.
pub const OPERATIONS: &[Operation] = &[
    Operation {
        example: Some(|| json!({ "name": "Example", "slug": "example", "plan": "pro" })),
        ..operation("createOrganization", &[BEARER, BODY, &[Code::OrganizationAlreadyExists]])
    },
    operation("listOrganizations", &[BEARER, &[Code::ValidationError]]),
    operation("getOrganization", &[BEARER, &[Code::OrganizationNotFound]]),
    Operation {
        example: Some(|| json!({ "plan": "enterprise", "limits": { "requestsPerMinute": null } })),
        ..operation(
            "updateOrganization",
            &[BEARER, BODY, &[Code::OrganizationNotFound, Code::Conflict, Code::LastAdministrator]],
        )
    },
];
