//! `/api/v1/organizations`.

use poem_openapi::param::Path;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::pagination::{DEFAULT_LIMIT, FIRST_PAGE, PageLimit, PageNumber, page_of};
use crate::error::{ApiError, Code};
use crate::extract::context::Ctx;
use crate::extract::values::{NO_CONTROLS, reference, text_field};
use crate::extract::wire::{EnumName, Instant, PathId, inline};
use crate::extract::{Declared, Field, Fields, Input, JsonBody, Query, input};
use crate::json::Json;
use crate::oauth::authorization::{Bearer, Scope};
use crate::operation::{BEARER, BODY, Operation, Tag, operation};
use app::organizations::{NewOrganization, OrganizationsError};
use domain::id::OrganizationId;
use domain::organization::{
    Name as OrganizationName, Organization, OrganizationChange, OrganizationStatus, Slug,
};
use domain::page::PageRequest;
use domain::plan::{Limit, LimitOverrides, Plan};
use domain::resource_indicator::ResourceIndicator;

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
        body: JsonBody<CreateOrganizationRequest>,
    ) -> Result<CreateResponse, ApiError> {
        let organization = ctx.app.organizations.create(&caller.0, body.0).await?;
        let location = format!("/api/v1/organizations/{}", organization.id);
        Ok(CreateResponse::Created(Json((&organization).into()), location))
    }

    /// List organizations
    ///
    /// Newest first, or only the one with the given slug.
    #[oai(path = "/organizations", method = "get", operation_id = "listOrganizations")]
    async fn list(
        &self,
        ctx: Ctx,
        #[oai(scope = "Scope::ADMIN_ORGS")] caller: Bearer,
        query: Query<OrganizationsQuery>,
    ) -> Result<Json<OrganizationPage>, ApiError> {
        let OrganizationsRequest { slug, page } = query.0;
        let listing = ctx.app.organizations.list(&caller.0, slug.as_ref(), page).await?;
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
        body: JsonBody<UpdateOrganizationRequest>,
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

input! {
    /// An organization to create
    CreateOrganizationRequest {
        required "name" name: OrganizationName,
        /// Unique among all organizations
        required "slug" slug: Slug,
        /// Defaults to `free`
        optional "plan" plan: Plan,
        optional "resources" resources: Vec<ResourceIndicator>,
        optional "limits" limits: LimitOverrides,
    }
}

impl Input for CreateOrganizationRequest {
    type Value = NewOrganization;

    fn accept(self) -> NewOrganization {
        NewOrganization {
            name: self.name,
            slug: self.slug,
            plan: self.plan.unwrap_or(Plan::Free),
            resources: self.resources.unwrap_or_default(),
            overrides: self.limits.unwrap_or_default(),
        }
    }
}

input! {
    /// Fields of an organization to replace
    UpdateOrganizationRequest {
        optional "name" name: OrganizationName,
        optional "plan" plan: Plan,
        optional "status" status: OrganizationStatus,
        /// Replaces all resources
        optional "resources" resources: Vec<ResourceIndicator>,
        /// Replaces all limit overrides
        optional "limits" limits: LimitOverrides,
    }
}

impl Input for UpdateOrganizationRequest {
    type Value = OrganizationChange;

    fn accept(self) -> OrganizationChange {
        OrganizationChange {
            name: self.name,
            plan: self.plan,
            status: self.status,
            resources: self.resources,
            overrides: self.limits,
        }
    }
}

text_field!(
    OrganizationName,
    MetaSchema {
        min_length: Some(2),
        max_length: Some(100),
        pattern: Some(NO_CONTROLS.to_owned()),
        ..MetaSchema::new("string")
    }
);
text_field!(Slug, MetaSchema { pattern: Some("^[a-z0-9-]{2,50}$".to_owned()), ..MetaSchema::new("string") });

input! {
    /// Overrides of the plan's limits; null means unlimited, an absent field keeps the plan's limit
    Limits {
        optional "maxAgents" max_agents: Limit,
        optional "maxTokensPerMonth" max_tokens_per_month: Limit,
        optional "requestsPerMinute" requests_per_minute: Limit,
        optional "auditRetentionDays" audit_retention_days: Limit,
    }
}

impl Field for LimitOverrides {
    fn schema() -> MetaSchemaRef {
        reference::<Limits>()
    }

    fn register(registry: &mut Registry) {
        Limits::register(registry);
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Option<Self>> {
        let limits = fields.object(name, Limits::read)?;
        Some(limits.map(|limits| Self {
            max_agents: limits.max_agents,
            max_tokens_per_month: limits.max_tokens_per_month,
            requests_per_minute: limits.requests_per_minute,
            audit_retention_days: limits.audit_retention_days,
        }))
    }
}

/// The highest limit, which every store can hold.
const MAX_LIMIT: u32 = i32::MAX as u32;

impl Field for Limit {
    fn schema() -> MetaSchemaRef {
        inline(MetaSchema {
            nullable: true,
            minimum: Some(1.0),
            maximum: Some(f64::from(MAX_LIMIT)),
            ..MetaSchema::new_with_format("integer", "uint32")
        })
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Option<Self>> {
        fields.optional(name, |value| {
            let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
            match number.filter(|number| (1..=MAX_LIMIT).contains(number)) {
                Some(number) => Ok(Self::AtMost(number)),
                None if value.is_null() => Ok(Self::Unlimited),
                None => Err(format!("must be a whole number from 1 to {MAX_LIMIT}, or null")),
            }
        })
    }
}

input! {
    /// Filters of the list of organizations
    OrganizationsQuery {
        /// Page number, from 1
        defaulted "page" page: PageNumber = FIRST_PAGE,
        /// Page size
        defaulted "limit" limit: PageLimit = DEFAULT_LIMIT,
        optional "slug" slug: Slug,
    }
}

struct OrganizationsRequest {
    slug: Option<Slug>,
    page: PageRequest,
}

impl Input for OrganizationsQuery {
    type Value = OrganizationsRequest;

    fn accept(self) -> OrganizationsRequest {
        OrganizationsRequest { slug: self.slug, page: page_of(self.page, self.limit) }
    }
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
            E::SlugTaken(existing) => {
                Self::new(Code::OrganizationAlreadyExists, message).naming("organizationId", existing)
            }
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
