//! Audit events as database columns.

use std::net::IpAddr;

use serde_json::Value;
use tokio_postgres::Row;
use uuid::Uuid;

use super::codec::{SqlTimestamp, column, instant, named};
use crate::pool::failure::inconsistent;
use crate::pool::statement::Parameter;
use domain::audit::{AuditAction, AuditEvent, Metadata, Origin, Outcome, Resource, ResourceType, TraceId};
use domain::id::{AgentId, EventId, OrganizationId};
use domain::names::name_of;
use ports::store_error::StoreError;

/// Columns that [`event`] reads.
pub const EVENT: &str = "event_id, organization_id, agent_id, action, outcome, resource_type, resource_id, \
    ip_address, user_agent, metadata, occurred_at, trace_id";

/// Inserts the events in the parameters `$1` to `$12`, those of [`EventColumns::parameters`].
pub const INSERT_EVENTS: &str = "\
INSERT INTO audit_events (event_id, organization_id, agent_id, action, outcome, resource_type, resource_id,
    ip_address, user_agent, metadata, occurred_at, trace_id)
SELECT event_id, organization_id, agent_id, action, outcome, resource_type, resource_id,
    ip_address, user_agent, metadata::json, occurred_at, trace_id
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::uuid[], $8::inet[],
    $9::text[], $10::text[], $11::timestamptz[], $12::uuid[]) AS event (event_id, organization_id, agent_id, action,
    outcome, resource_type, resource_id, ip_address, user_agent, metadata, occurred_at, trace_id)";

/// Events as one vector per column, so that one fixed statement stores any number of them.
#[derive(Default)]
pub struct EventColumns<'a> {
    ids: Vec<Uuid>,
    organizations: Vec<Option<Uuid>>,
    agents: Vec<Option<Uuid>>,
    actions: Vec<&'static str>,
    outcomes: Vec<&'static str>,
    resource_types: Vec<Option<&'static str>>,
    resource_ids: Vec<Option<Uuid>>,
    addresses: Vec<Option<IpAddr>>,
    user_agents: Vec<Option<&'a str>>,
    metadata: Vec<String>,
    times: Vec<SqlTimestamp>,
    traces: Vec<Option<Uuid>>,
}

impl<'a> EventColumns<'a> {
    /// Collects the columns of these events, each with its organization.
    pub fn of(events: impl IntoIterator<Item = (Option<OrganizationId>, &'a AuditEvent)>) -> Self {
        let mut columns = Self::default();
        for (organization, event) in events {
            columns.ids.push(event.id.0);
            columns.organizations.push(organization.map(|id| id.0));
            columns.agents.push(event.actor.map(|id| id.0));
            columns.actions.push(name_of(&AuditAction::ALL, &event.action));
            columns.outcomes.push(name_of(&Outcome::ALL, &event.outcome));
            let kind = event.resource.map(|resource| name_of(&ResourceType::ALL, &resource.kind));
            columns.resource_types.push(kind);
            columns.resource_ids.push(event.resource.map(|resource| resource.id));
            columns.addresses.push(event.origin.address);
            columns.user_agents.push(event.origin.user_agent.as_deref());
            columns.metadata.push(serde_json::to_string(event.metadata.as_map()).unwrap_or_default());
            columns.times.push(SqlTimestamp(event.at));
            columns.traces.push(event.origin.trace.map(|trace| Uuid::from_u128(trace.0)));
        }
        columns
    }

    /// Returns the parameters in the order of [`EVENT`], without the organization.
    ///
    /// For a statement that determines the organization itself.
    pub fn parameters_without_organization(&self) -> impl Iterator<Item = Parameter<'_>> {
        let [id, _, others @ ..] = self.parameters();
        std::iter::once(id).chain(others)
    }

    /// Returns the parameters in the order of [`EVENT`].
    pub fn parameters(&self) -> [Parameter<'_>; 12] {
        [
            &self.ids,
            &self.organizations,
            &self.agents,
            &self.actions,
            &self.outcomes,
            &self.resource_types,
            &self.resource_ids,
            &self.addresses,
            &self.user_agents,
            &self.metadata,
            &self.times,
            &self.traces,
        ]
    }
}

/// Reads an event from the columns [`EVENT`].
pub fn event(row: &Row) -> Result<AuditEvent, StoreError> {
    fn of<T: Copy>(row: &Row, name: &str, names: &[(&'static str, T)]) -> Result<Option<T>, StoreError> {
        let Some(text) = column::<Option<&str>>(row, name)? else { return Ok(None) };
        named(names, text).map(Some).ok_or_else(|| inconsistent(format!("{name} holds an invalid value")))
    }
    let missing = |name: &str| inconsistent(format!("{name} is missing"));
    let kind = of(row, "resource_type", &ResourceType::ALL)?;
    let resource_id = column::<Option<Uuid>>(row, "resource_id")?;
    let Value::Object(metadata) = column(row, "metadata")? else { return Err(missing("metadata")) };
    Ok(AuditEvent {
        organization: column::<Option<Uuid>>(row, "organization_id")?.map(OrganizationId),
        id: EventId(column(row, "event_id")?),
        actor: column::<Option<Uuid>>(row, "agent_id")?.map(AgentId),
        action: of(row, "action", &AuditAction::ALL)?.ok_or_else(|| missing("action"))?,
        outcome: of(row, "outcome", &Outcome::ALL)?.ok_or_else(|| missing("outcome"))?,
        resource: kind.zip(resource_id).map(|(kind, id)| Resource { kind, id }),
        origin: Origin {
            address: column(row, "ip_address")?,
            user_agent: column(row, "user_agent")?,
            trace: column::<Option<Uuid>>(row, "trace_id")?.map(|id| TraceId(id.as_u128())),
        },
        metadata: Metadata::of_stored(metadata),
        at: instant(row, "occurred_at")?,
    })
}
