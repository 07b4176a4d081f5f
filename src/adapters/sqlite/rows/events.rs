//! Audit events as rows.

use std::net::IpAddr;
use std::sync::Arc;

use rusqlite::{Row, ToSql, named_params};
use uuid::Uuid;

use super::column::{column, instant, named, optional_id, parsed, parsed_if_any, value_of};
use crate::database::Database;
use domain::audit::{AuditAction, AuditEvent, Metadata, Origin, Outcome, Resource, ResourceType, TraceId};
use domain::id::{AgentId, EventId, OrganizationId};
use domain::names::name_of;
use ports::store_error::StoreError;

/// Reads an event from a row of `audit_events`.
pub fn event(row: &Row<'_>) -> Result<Arc<AuditEvent>, StoreError> {
    let trace = optional_id(row, "trace_id")?.map(|id| TraceId(id.as_u128()));
    with_trace(row, trace)
}

/// Reads the event that stands for several from a row of `audit_tallies`.
pub fn event_of_tally(row: &Row<'_>) -> Result<Arc<AuditEvent>, StoreError> {
    with_trace(row, None)
}

fn with_trace(row: &Row<'_>, trace: Option<TraceId>) -> Result<Arc<AuditEvent>, StoreError> {
    let kind = parsed_if_any(row, "resource_type", |text| value_of(&ResourceType::ALL, text))?;
    let resource_id = optional_id(row, "resource_id")?;
    Ok(Arc::new(AuditEvent {
        organization: optional_id(row, "organization_id")?.map(OrganizationId),
        id: EventId(column(row, "event_id")?),
        actor: optional_id(row, "agent_id")?.map(AgentId),
        action: named(row, "action", &AuditAction::ALL)?,
        outcome: named(row, "outcome", &Outcome::ALL)?,
        resource: kind.zip(resource_id).map(|(kind, id)| Resource { kind, id }),
        origin: Origin {
            address: parsed_if_any(row, "ip_address", |text| text.parse().ok())?,
            user_agent: column(row, "user_agent")?,
            trace,
        },
        metadata: parsed(row, "metadata", |text| serde_json::from_str(text).ok().map(Metadata::of_stored))?,
        at: instant(row, "occurred_at")?,
    }))
}

impl Database {
    /// Adds an event of this organization to the audit log.
    pub fn record(&self, organization: Option<OrganizationId>, event: &AuditEvent) -> Result<(), StoreError> {
        const INSERT: &str = "\
INSERT INTO audit_events (event_id, organization_id, agent_id, action, outcome, resource_type, resource_id, ip_address,
    user_agent, metadata, occurred_at, trace_id)
VALUES (:event_id, :organization_id, :agent_id, :action, :outcome, :resource_type, :resource_id, :ip_address, :user_agent,
    :metadata, :occurred_at, :trace_id)";
        let trace = event.origin.trace.map(|trace| Uuid::from_u128(trace.0));
        self.insert_event(INSERT, organization, event, &[(":trace_id", &trace)])
    }

    /// Adds events of this organization to the audit log.
    pub fn record_all(&self, organization: OrganizationId, events: &[AuditEvent]) -> Result<(), StoreError> {
        events.iter().try_for_each(|event| self.record(Some(organization), event))
    }

    /// Inserts an event by this statement, with further parameters.
    pub fn insert_event(
        &self,
        sql: &str,
        organization: Option<OrganizationId>,
        event: &AuditEvent,
        others: &[(&str, &dyn ToSql)],
    ) -> Result<(), StoreError> {
        let columns = named_params! {
            ":event_id": event.id.0,
            ":organization_id": organization.map(|id| id.0),
            ":agent_id": event.actor.map(|id| id.0),
            ":action": name_of(&AuditAction::ALL, &event.action),
            ":outcome": name_of(&Outcome::ALL, &event.outcome),
            ":resource_type": event.resource.map(|resource| name_of(&ResourceType::ALL, &resource.kind)),
            ":resource_id": event.resource.map(|resource| resource.id),
            ":ip_address": event.origin.address.as_ref().map(IpAddr::to_string),
            ":user_agent": event.origin.user_agent,
            ":metadata": serde_json::to_string(event.metadata.as_map()).unwrap_or_default(),
            ":occurred_at": event.at.as_millis(),
        };
        let all = [columns, others].concat();
        self.execute(sql, &*all).map(drop)
    }
}
