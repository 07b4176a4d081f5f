//! `/api/v1/audit`.

use poem_openapi::param::Path;
use poem_openapi::{Object, OpenApi};
use serde_json::Value;
use uuid::Uuid;

use crate::error::{ApiError, Code, FieldError};
use crate::extract::context::Ctx;
use crate::extract::values::Number;
use crate::extract::wire::{EnumName, Instant, PathId};
use crate::extract::{Input, Query, input};
use crate::json::Json;
use crate::oauth::authorization::{Bearer, Scope};
use crate::operation::{BEARER, Operation, Tag, operation};
use app::audit::{AuditError, AuditRequest};
use domain::audit::{AuditAction, AuditEvent, AuditFilter, Outcome, Resource, ResourceType};
use domain::id::{AgentId, EventId, OrganizationId};
use domain::time::Timestamp;

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
        query: Query<AuditEventsQuery>,
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

/// The default page size.
const DEFAULT_LIMIT: u32 = 50;

input! {
    /// Filters of the list of audit events
    AuditEventsQuery {
        /// Agent that acted
        optional "agentId" actor: AgentId,
        optional "action" action: AuditAction,
        optional "outcome" outcome: Outcome,
        optional "resourceType" resource_type: ResourceType,
        optional "resourceId" resource_id: Uuid,
        /// Only events at or after this time
        optional "fromDate" from: Timestamp,
        /// Only events before this time
        optional "toDate" to: Timestamp,
        optional "organizationId" organization: OrganizationId,
        /// Page size
        defaulted "limit" limit: Number<1, 200> = DEFAULT_LIMIT,
        /// `nextCursor` of the previous page
        optional "cursor" cursor: String,
    }
    check fields {
        if from.flatten().zip(to.flatten()).is_some_and(|(from, to)| from > to) {
            fields.field_error("fromDate", "must not be after toDate");
        }
    }
}

impl Input for AuditEventsQuery {
    type Value = AuditRequest;

    fn accept(self) -> AuditRequest {
        let Self {
            actor,
            action,
            outcome,
            resource_type,
            resource_id,
            from,
            to,
            organization,
            limit,
            cursor,
        } = self;
        let filter = AuditFilter { actor, action, outcome, resource_type, resource_id, from, to };
        AuditRequest { organization, filter, cursor, limit: limit.0 }
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
    /// Trace of the request (W3C Trace Context); absent if it was part of none
    #[oai(skip_serializing_if_is_none, validator(pattern = "^[0-9a-f]{32}$"))]
    trace_id: Option<String>,
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
            trace_id: event.origin.trace.map(|trace| trace.to_string()),
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
