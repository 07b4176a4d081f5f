//! `/api/v1/audit`.

use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use serde_json::Value;
use uuid::Uuid;

use crate::error::{ApiError, Code, FieldError};
use crate::extract::context::Ctx;
use crate::extract::wire::{EnumName, Instant, PathId, organization_id, parse_instant};
use crate::extract::{Fields, Input, Query, one_of, text};
use crate::oauth::authorization::{Bearer, Scope};
use crate::operation::{BEARER, Operation, Tag, operation};
use app::audit::{AuditError, AuditRequest};
use domain::audit::{AuditAction, AuditEvent, AuditFilter, Outcome, Resource, ResourceType};
use domain::id::{AgentId, EventId};

/// The operations on the audit log.
pub struct AuditApi;

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Audit")]
impl AuditApi {
    /// List audit events
    ///
    /// Newest first. Following `nextCursor` returns every event that existed before the first page exactly once. A
    /// cursor is valid only for the agent that received it, and only with the same filters.
    #[oai(path = "/audit", method = "get", operation_id = "listAuditEvents")]
    async fn list(
        &self,
        ctx: Ctx,
        #[oai(scope = "Scope::AUDIT_READ")] caller: Bearer,
        query: Query<AuditQueryParameters>,
    ) -> Result<Json<AuditPageBody>, ApiError> {
        let page = ctx.app.audit.list(&caller.0, &query.0).await?;
        let data = page.events.iter().map(|event| (&**event).into()).collect();
        Ok(Json(AuditPageBody { data, next_cursor: page.next_cursor }))
    }

    /// Get an audit event
    ///
    /// Events past the organization's retention period are reported as not found.
    #[oai(path = "/audit/:eventId", method = "get", operation_id = "getAuditEvent")]
    async fn read(
        &self,
        ctx: Ctx,
        #[oai(scope = "Scope::AUDIT_READ")] caller: Bearer,
        #[oai(name = "eventId")] event_id: Path<PathId<EventId>>,
    ) -> Result<Json<AuditEventBody>, ApiError> {
        let event = ctx.app.audit.find(&caller.0, event_id.0.0).await?;
        Ok(Json((&*event).into()))
    }
}

/// Filters of the list of audit events
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct AuditQueryParameters {
    /// Agent that acted
    agent_id: Option<Uuid>,
    action: Option<EnumName<AuditAction>>,
    outcome: Option<EnumName<Outcome>>,
    resource_type: Option<EnumName<ResourceType>>,
    resource_id: Option<Uuid>,
    /// Only events at or after this time
    from_date: Option<Instant>,
    /// Only events before this time
    to_date: Option<Instant>,
    organization_id: Option<Uuid>,
    /// Page size
    #[oai(default = "default_limit", validator(minimum(value = "1"), maximum(value = "200")))]
    limit: u32,
    /// `nextCursor` of the previous page
    cursor: Option<String>,
}

const fn default_limit() -> u32 {
    50
}

impl Input for AuditQueryParameters {
    type Value = AuditRequest;

    fn read(fields: &mut Fields) -> Option<AuditRequest> {
        let actor = fields.optional("agentId", text(|id| AgentId::parse(id).ok_or("must be an agent ID")));
        let action = fields.optional("action", one_of(&AuditAction::ALL));
        let outcome = fields.optional("outcome", one_of(&Outcome::ALL));
        let resource_type = fields.optional("resourceType", one_of(&ResourceType::ALL));
        let resource_id = fields
            .optional("resourceId", text(|id| EventId::parse(id).map(|id| id.0).ok_or("must be an ID")));
        let from = fields.optional("fromDate", text(parse_instant));
        let to = fields.optional("toDate", text(parse_instant));
        let organization = fields.optional("organizationId", text(organization_id));
        let limit = fields.number("limit", 1..=200);
        let cursor = fields.optional("cursor", text(|cursor| Ok(cursor.to_owned())));
        if let (Some(Some(from)), Some(Some(to))) = (from, to)
            && from > to
        {
            fields.field_error("fromDate", "must not be after toDate");
        }
        Some(AuditRequest {
            organization: organization?,
            filter: AuditFilter {
                actor: actor?,
                action: action?,
                outcome: outcome?,
                resource_type: resource_type?,
                resource_id: resource_id?,
                from: from?,
                to: to?,
            },
            cursor: cursor?,
            limit: limit?.unwrap_or(default_limit()),
        })
    }
}

/// An audit event
#[derive(Object)]
#[oai(rename = "AuditEvent", rename_all = "camelCase")]
struct AuditEventBody {
    event_id: Uuid,
    organization_id: Option<Uuid>,
    /// Agent that acted; null for an unauthenticated caller and for the operator of the service
    agent_id: Option<Uuid>,
    action: EnumName<AuditAction>,
    outcome: EnumName<Outcome>,
    #[oai(skip_serializing_if_is_none)]
    resource: Option<ResourceBody>,
    ip_address: Option<String>,
    user_agent: Option<String>,
    metadata: Value,
    timestamp: Instant,
}

/// Resource that an event is about
#[derive(Object)]
#[oai(rename = "AuditResource")]
struct ResourceBody {
    #[oai(rename = "type")]
    kind: EnumName<ResourceType>,
    id: Uuid,
}

impl From<Resource> for ResourceBody {
    fn from(resource: Resource) -> Self {
        Self { kind: EnumName(resource.kind), id: resource.id }
    }
}

impl From<&AuditEvent> for AuditEventBody {
    fn from(event: &AuditEvent) -> Self {
        Self {
            event_id: event.id.0,
            organization_id: event.organization.map(|id| id.0),
            agent_id: event.actor.map(|id| id.0),
            action: EnumName(event.action),
            outcome: EnumName(event.outcome),
            resource: event.resource.map(ResourceBody::from),
            ip_address: event.origin.address.map(|address| address.to_string()),
            user_agent: event.origin.user_agent.clone(),
            metadata: Value::Object(event.metadata.as_map().clone()),
            timestamp: Instant(event.at),
        }
    }
}

/// A page of audit events
#[derive(Object)]
#[oai(rename = "AuditPage", rename_all = "camelCase")]
struct AuditPageBody {
    data: Vec<AuditEventBody>,
    /// Cursor of the next page; null on the last page
    next_cursor: Option<String>,
}

impl From<AuditError> for ApiError {
    fn from(error: AuditError) -> Self {
        use AuditError as E;
        let message = error.to_string();
        match error {
            E::Forbidden(refusal) => refusal.into(),
            E::NoSuchEvent => Self::new(Code::AuditEventNotFound, message),
            E::InvalidCursor => Self::validation(&[FieldError::new(
                "cursor",
                "does not belong to this query; start again without it",
            )]),
            E::Store(failure) => failure.into(),
        }
    }
}

/// The operations on the wire.
pub const OPERATIONS: &[Operation] = &[
    operation("listAuditEvents", &[BEARER, &[Code::ValidationError]]),
    operation("getAuditEvent", &[BEARER, &[Code::AuditEventNotFound]]),
];
