//! The audit log in PostgreSQL.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_postgres::types::Type;

use super::pool::statement::Parameter;
use super::rows::codec::{SqlTimestamp, signed};
use super::rows::events::{EVENT, EventColumns, event};
use super::rows::where_clause::WhereClause;
use super::store::Postgres;
use domain::audit::{AuditAction, AuditEvent, MAX_SAMPLES, Outcome, ResourceType, Tally};
use domain::id::{EventId, OrganizationId, TokenId};
use domain::names::name_of;
use domain::tenancy::Tenancy;
use domain::time::Timestamp;
use ports::audit_log::{AuditLog, AuditQuery};
use ports::store_error::StoreError;

const TALLY: &str = include_str!("sql/audit_log.tally.sql");

/// Maximum tallies settled per transaction.
const SETTLE_BATCH: u32 = 1_000;

/// Turns the tallies of past minutes into events, with the lock order of [`TALLY`].
const SETTLE: &str = "\
-- audit_log.settle
WITH ended AS (
    DELETE FROM audit_tallies WHERE tally_key = ANY (ARRAY(
        SELECT tally_key FROM audit_tallies WHERE minute < $1 ORDER BY tally_key LIMIT $2 FOR UPDATE))
    RETURNING *
), written AS (
    INSERT INTO audit_events (event_id, organization_id, agent_id, action, outcome, resource_type, resource_id,
        ip_address, user_agent, metadata, occurred_at)
    SELECT event_id, organization_id, agent_id, action, outcome, resource_type, resource_id,
        ip_address, user_agent, jsonb_set(metadata::jsonb, '{count}', to_jsonb(counted))::json, occurred_at
    FROM ended WHERE counted > 0
)
SELECT count(*) AS done FROM ended";

/// Events joined with the number of days for which their organizations show them.
const EVENTS_AND_RETENTION: &str = "audit_events LEFT JOIN organization_retention USING (organization_id)";

/// Whether an event of [`EVENTS_AND_RETENTION`] is shown at `$1`.
///
/// If the number of days is null, the event is always shown. An event without an organization has the retention of
/// the plan `free`.
const IS_SHOWN: &str = "(occurred_at >= $1::timestamptz - make_interval(hours => 24 * CASE WHEN organization_id IS NULL \
    THEN (SELECT audit_retention_days::integer FROM plans WHERE plan = 'free') ELSE days END)) IS NOT FALSE";

/// Same as [`IS_SHOWN`], for events of the organization `$2` only.
///
/// The oldest instant shown is computed once, before the first event is read.
const IS_SHOWN_OF_ONE: &str = "organization_id = $2 AND occurred_at >= (SELECT COALESCE(\
    $1::timestamptz - make_interval(hours => 24 * days), '-infinity') FROM organization_retention WHERE organization_id = $2)";

#[async_trait]
impl AuditLog for Postgres {
    async fn tally(&self, tallies: &[Tally]) -> Result<(), StoreError> {
        for tally in tallies {
            self.ensure_partition(tally.event.at).await?;
        }
        let keys: Vec<&str> = tallies.iter().map(|tally| tally.key.as_str()).collect();
        let minutes: Vec<SqlTimestamp> = tallies.iter().map(|tally| SqlTimestamp(tally.minute)).collect();
        let counts: Vec<i64> = tallies.iter().map(|tally| signed(tally.count)).collect();
        let sample_counts: Vec<i64> =
            tallies.iter().map(|tally| signed(tally.samples.len() as u64)).collect();
        let most = signed(MAX_SAMPLES as u64);
        let standing = EventColumns::of(tallies.iter().map(|tally| columns_of(&tally.event)));
        let samples =
            || tallies.iter().flat_map(|tally| tally.samples.iter().zip(1..).map(move |one| (tally, one)));
        let full_keys: Vec<&str> = samples().map(|(tally, _)| tally.key.as_str()).collect();
        let seats: Vec<i64> = samples().map(|(_, (_, seat))| seat).collect();
        let full = EventColumns::of(samples().map(|(_, (event, _))| columns_of(event)));
        let mut parameters: Vec<Parameter<'_>> = vec![&keys, &minutes, &counts, &sample_counts, &most];
        parameters.extend(standing.parameters());
        parameters.extend([&full_keys as Parameter<'_>, &seats]);
        parameters.extend(full.parameters());
        self.run_once(TALLY, &parameters).await.map(drop)
    }

    async fn settle(&self, end: Timestamp) -> Result<(), StoreError> {
        self.run_in_batches(SETTLE_BATCH, SETTLE, &[&SqlTimestamp(end), &i64::from(SETTLE_BATCH)]).await
    }

    async fn list(&self, query: &AuditQuery) -> Result<Vec<Arc<AuditEvent>>, StoreError> {
        let filter = &query.filter;
        let organization = query.within.organization().map(|id| id.0);
        let actor = filter.actor.map(|id| id.0);
        let action = filter.action.map(|action| name_of(&AuditAction::ALL, &action));
        let outcome = filter.outcome.map(|outcome| name_of(&Outcome::ALL, &outcome));
        let resource_type = filter.resource_type.map(|kind| name_of(&ResourceType::ALL, &kind));
        let now = SqlTimestamp(query.now);
        let from_date = filter.from.map(SqlTimestamp);
        let to_date = filter.to.map(SqlTimestamp);
        let after = query.after.map(|after| (SqlTimestamp(after.at), after.id.0));
        let (from, is_shown) = match organization {
            None => (EVENTS_AND_RETENTION, IS_SHOWN),
            Some(_) => ("audit_events", IS_SHOWN_OF_ONE),
        };
        let mut clause = WhereClause { condition: format!("WHERE {is_shown} "), ..WhereClause::default() };
        clause.parameters.push((&now, Type::TIMESTAMPTZ));
        if let Some(organization) = &organization {
            clause.parameters.push((organization, Type::UUID));
        }
        if let Some(actor) = &actor {
            clause.add("agent_id", actor, Type::UUID);
        }
        if let Some(action) = action {
            clause.add_word("action", action);
        }
        if let Some(outcome) = outcome {
            clause.add_word("outcome", outcome);
        }
        if let Some(kind) = resource_type {
            clause.add_word("resource_type", kind);
        }
        if let Some(id) = &filter.resource_id {
            clause.add("resource_id", id, Type::UUID);
        }
        if let Some(from) = &from_date {
            clause.add_as("occurred_at >=", from, Type::TIMESTAMPTZ);
        }
        if let Some(to) = &to_date {
            clause.add_as("occurred_at <", to, Type::TIMESTAMPTZ);
        }
        if let Some((at, id)) = &after {
            // The second condition implies the first, but only the first lets PostgreSQL skip whole partitions.
            clause.add_as("occurred_at <=", at, Type::TIMESTAMPTZ);
            let place = clause.parameters.len();
            clause.add_as(&format!("(occurred_at, event_id) < (${place},"), id, Type::UUID);
            clause.condition.push(')');
        }
        let sql = format!(
            "-- audit_log.list\nSELECT {EVENT} FROM {from} {} \
             ORDER BY occurred_at DESC, event_id DESC LIMIT {}",
            clause.condition, query.limit
        );
        // Prepared, whatever its shape, because planning a list takes longer than reading it, and longer with each
        // monthly partition.
        let values: Vec<Parameter<'_>> = clause.parameters.iter().map(|(value, _)| *value).collect();
        let _place = self.place(query.within.organization(), false).await?;
        let rows = self.read(&sql, &values).await?;
        rows.iter().map(|row| Ok(Arc::new(event(row)?))).collect()
    }

    async fn exchanged_from(
        &self,
        organization: OrganizationId,
        root: TokenId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Arc<AuditEvent>>, StoreError> {
        let sql = format!(
            "-- audit_log.exchanged_from\nSELECT {EVENT} FROM audit_events \
             WHERE {IS_SHOWN_OF_ONE} AND action = 'token.exchanged' AND metadata ->> 'root' = $3 \
             ORDER BY occurred_at, event_id LIMIT {limit}"
        );
        let _place = self.place(Some(organization), false).await?;
        let rows = self.read(&sql, &[&SqlTimestamp(now), &organization.0, &root.to_string()]).await?;
        rows.iter().map(|row| Ok(Arc::new(event(row)?))).collect()
    }

    async fn find(
        &self,
        within: Tenancy,
        id: EventId,
        now: Timestamp,
    ) -> Result<Option<Arc<AuditEvent>>, StoreError> {
        let sql = format!(
            "-- audit_log.find\nSELECT {EVENT} FROM {EVENTS_AND_RETENTION} WHERE event_id = $2 AND {IS_SHOWN}"
        );
        let _place = self.place(within.organization(), false).await?;
        let rows = self.read(&sql, &[&SqlTimestamp(now), &id.0]).await?;
        let found = rows.first().map(event).transpose()?;
        Ok(found.filter(|event| event.is_within(within)).map(Arc::new))
    }
}

fn columns_of(event: &AuditEvent) -> (Option<OrganizationId>, &AuditEvent) {
    (event.organization, event)
}
