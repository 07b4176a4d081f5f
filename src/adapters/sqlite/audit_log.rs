//! The audit log in SQLite.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::types::Value;
use rusqlite::{Row, params, params_from_iter};

use super::database::Database;
use super::facts::Facts as _;
use super::filter::Filter;
use super::rows::column::{column, number, signed};
use super::rows::events::{event, event_of_tally};
use super::store::Sqlite;
use domain::audit::{AuditAction, AuditEvent, MAX_SAMPLES, Outcome, ResourceType, Tally};
use domain::id::{EventId, OrganizationId, TokenId};
use domain::names::name_of;
use domain::plan::Plan;
use domain::tenancy::Tenancy;
use domain::time::Timestamp;
use ports::audit_log::{AuditLog, AuditQuery};
use ports::store_error::StoreError;

/// Maximum number of tallies that become events in one change, so that others do not wait long for theirs.
const MAX_SETTLED: u32 = 500;

#[async_trait]
impl AuditLog for Sqlite {
    async fn tally(&self, tallies: &[Tally]) -> Result<(), StoreError> {
        let tallies = tallies.to_vec();
        self.change("audit_log.tally", move |database| {
            tallies.iter().try_for_each(|tally| database.tally(tally))
        })
        .await
    }

    async fn settle(&self, end: Timestamp) -> Result<(), StoreError> {
        const ENDED: &str =
            "SELECT * FROM audit_tallies WHERE minute < ?1 ORDER BY minute, tally_key LIMIT ?2";
        const REMOVE: &str = "DELETE FROM audit_tallies WHERE tally_key = ?1";
        let end = end.as_millis();
        let settle_some = move |database: &Database| {
            let read = |row: &Row<'_>| {
                Ok((column::<String>(row, "tally_key")?, event_of_tally(row)?, number(row, "counted")?))
            };
            let ended = database.all(ENDED, params![end, MAX_SETTLED], read)?;
            for (key, event, counted) in &ended {
                if *counted > 0 {
                    let metadata = event.metadata.clone().with("count", *counted);
                    database.record(event.organization, &AuditEvent { metadata, ..(**event).clone() })?;
                }
                database.execute(REMOVE, [key])?;
            }
            Ok::<_, StoreError>(ended.len())
        };
        while self.change("audit_log.settle", settle_some).await? == MAX_SETTLED as usize {}
        Ok(())
    }

    async fn list(&self, query: &AuditQuery) -> Result<Vec<Arc<AuditEvent>>, StoreError> {
        let query = query.clone();
        self.list_within("audit_log.list", query.within, move |database| database.events(&query)).await
    }

    async fn exchanged_from(
        &self,
        organization: OrganizationId,
        root: TokenId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Arc<AuditEvent>>, StoreError> {
        const EXCHANGED: &str = "\
SELECT * FROM audit_events
WHERE action = 'token.exchanged' AND metadata ->> '$.root' = ?1 AND organization_id = ?2 AND occurred_at >= ?3
ORDER BY occurred_at, event_id LIMIT ?4";
        self.list_within("audit_log.exchanged_from", Tenancy::Only(organization), move |database| {
            let horizon = Horizons::at(database, now).of(Some(organization))?;
            let from = horizon.map_or(i64::MIN, Timestamp::as_millis);
            database.all(EXCHANGED, params![root.to_string(), organization.0, from, limit], event)
        })
        .await
    }

    async fn find(
        &self,
        within: Tenancy,
        id: EventId,
        now: Timestamp,
    ) -> Result<Option<Arc<AuditEvent>>, StoreError> {
        self.look_up("audit_log.find", move |database| {
            let found = database.first("SELECT * FROM audit_events WHERE event_id = ?1", [id.0], event)?;
            let Some(event) = found.filter(|event| event.is_within(within)) else { return Ok(None) };
            Ok(Horizons::at(database, now).show(&event)?.then_some(event))
        })
        .await
    }
}

const EVENTS: &str = "SELECT * FROM audit_events";
const NEWEST_FIRST: &str = " ORDER BY occurred_at DESC, event_id DESC";

/// From when on the events of each organization are shown.
struct Horizons<'a> {
    database: &'a Database,
    now: Timestamp,
    known: HashMap<Option<OrganizationId>, Option<Timestamp>>,
}

impl<'a> Horizons<'a> {
    fn at(database: &'a Database, now: Timestamp) -> Self {
        Self { database, now, known: HashMap::new() }
    }

    /// Returns the instant before which events of an organization are no longer shown; `None` if all are shown.
    ///
    /// Events without an organization have the retention of the free plan, which is the shortest.
    fn of(&mut self, organization: Option<OrganizationId>) -> Result<Option<Timestamp>, StoreError> {
        if let Some(horizon) = self.known.get(&organization) {
            return Ok(*horizon);
        }
        let owner = match organization {
            Some(id) => self.database.organization(id)?,
            None => None,
        };
        let horizon = match owner {
            Some(owner) => owner.audit_horizon(self.now),
            None => Plan::Free.limits().audit_horizon(self.now),
        };
        self.known.insert(organization, horizon);
        Ok(horizon)
    }

    fn show(&mut self, event: &AuditEvent) -> Result<bool, StoreError> {
        Ok(self.of(event.organization)?.is_none_or(|horizon| event.at >= horizon))
    }
}

impl Database {
    /// Adds what one instance has seen to a tally.
    fn tally(&self, tally: &Tally) -> Result<(), StoreError> {
        const OPEN: &str = "\
INSERT INTO audit_tallies (tally_key, minute, event_id, organization_id, agent_id, action, outcome, resource_type,
    resource_id, ip_address, user_agent, metadata, occurred_at, counted, in_full)
VALUES (:tally_key, :minute, :event_id, :organization_id, :agent_id, :action, :outcome, :resource_type, :resource_id,
    :ip_address, :user_agent, :metadata, :occurred_at, 0, 0)
ON CONFLICT DO NOTHING";
        const ADD: &str = "\
UPDATE audit_tallies SET in_full = in_full + ?2, counted = counted + ?3 WHERE tally_key = ?1";
        let minute = tally.minute.as_millis();
        let key_and_minute: [(&str, &dyn rusqlite::ToSql); 2] =
            [(":tally_key", &tally.key), (":minute", &minute)];
        self.insert_event(OPEN, tally.event.organization, &tally.event, &key_and_minute)?;
        let in_full: i64 =
            self.value("SELECT in_full FROM audit_tallies WHERE tally_key = ?1", [&tally.key])?;
        let room = MAX_SAMPLES.saturating_sub(usize::try_from(in_full).unwrap_or(usize::MAX));
        let (full, counted) = tally.samples.split_at(room.min(tally.samples.len()));
        let counted = tally.count + counted.len() as u64;
        self.execute(ADD, params![tally.key, signed(full.len() as u64), signed(counted)])?;
        full.iter().try_for_each(|event| self.record(event.organization, event))
    }

    fn events(&self, query: &AuditQuery) -> Result<Vec<Arc<AuditEvent>>, StoreError> {
        let mut horizons = Horizons::at(self, query.now);
        let filter = conditions(query, &mut horizons)?;
        let sql = format!("{EVENTS}{}{NEWEST_FIRST}", filter.clause());
        let mut events = Vec::new();
        if query.limit == 0 {
            return Ok(events);
        }
        self.each(&sql, params_from_iter(filter.values()), |row| {
            let event = event(row)?;
            if horizons.show(&event)? {
                events.push(event);
            }
            let is_full = events.len() >= query.limit as usize;
            Ok(if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(events)
    }
}

/// Returns the conditions of a query. Names are written out, because SQLite uses a partial index only for a constant.
fn conditions(query: &AuditQuery, horizons: &mut Horizons<'_>) -> Result<Filter, StoreError> {
    let AuditQuery { within, filter, after, .. } = query;
    let mut wanted = Filter::default();
    if let Some(actor) = filter.actor {
        wanted.add_id("agent_id = ?", actor.0);
    }
    if let Some(id) = filter.resource_id {
        wanted.add_id("resource_id = ?", id);
    }
    if let Some(organization) = within.organization() {
        // The unary plus keeps SQLite from the index of the organization where another one finds fewer events.
        let is_narrow = filter.actor.is_some() || filter.resource_id.is_some();
        wanted.add_id(if is_narrow { "+organization_id = ?" } else { "organization_id = ?" }, organization.0);
        if let Some(horizon) = horizons.of(Some(organization))? {
            wanted.add("occurred_at >= ?", horizon.as_millis());
        }
    }
    if let Some(action) = filter.action {
        wanted.add_fixed(&format!("action = '{}'", name_of(&AuditAction::ALL, &action)));
        if action != AuditAction::TokenIssued {
            wanted.add_fixed("action <> 'token.issued'");
        }
    }
    if let Some(outcome) = filter.outcome {
        wanted.add_fixed(&format!("outcome = '{}'", name_of(&Outcome::ALL, &outcome)));
    }
    if let Some(kind) = filter.resource_type {
        wanted.add_fixed(&format!("resource_type = '{}'", name_of(&ResourceType::ALL, &kind)));
        if kind != ResourceType::Token {
            wanted.add_fixed("resource_type <> 'token'");
        }
    }
    if let Some(from) = filter.from {
        wanted.add("occurred_at >= ?", from.as_millis());
    }
    if let Some(to) = filter.to {
        wanted.add("occurred_at < ?", to.as_millis());
    }
    if let Some(after) = after {
        wanted.add("(occurred_at, event_id) < (?, ?)", after.at.as_millis());
        wanted.add_value(Value::Blob(after.id.0.as_bytes().to_vec()));
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use domain::audit::{AuditFilter, Position};
    use domain::id::AgentId;

    const ID: Uuid = Uuid::from_u128(1);

    prop_compose! {
        fn queries()(within in any::<bool>(), actor in any::<bool>(), resource in any::<bool>(), after in any::<bool>(),
            from in any::<bool>(), to in any::<bool>(),
            action in proptest::option::of(proptest::sample::select(&AuditAction::ALL[..])),
            outcome in proptest::option::of(proptest::sample::select(&Outcome::ALL[..])),
            kind in proptest::option::of(proptest::sample::select(&ResourceType::ALL[..]))) -> AuditQuery {
            let at = Timestamp::from_millis(1);
            AuditQuery {
                within: if within { Tenancy::Only(OrganizationId(ID)) } else { Tenancy::All },
                filter: AuditFilter {
                    actor: actor.then_some(AgentId(ID)),
                    action: action.map(|(_, action)| action),
                    outcome: outcome.map(|(_, outcome)| outcome),
                    resource_type: kind.map(|(_, kind)| kind),
                    resource_id: resource.then_some(ID),
                    from: from.then_some(at),
                    to: to.then_some(at),
                },
                after: after.then_some(Position { at, id: EventId(ID) }),
                limit: 100,
                now: at,
            }
        }
    }

    #[test]
    fn no_list_of_events_is_sorted_or_read_without_an_index() {
        let folder = tempfile::tempdir().expect("a folder");
        let (database, _lock) = crate::schema::open(&folder.path().join("data.db")).expect("it opens");
        let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
        proptest!(config, |(query in queries())| {
            let filter = conditions(&query, &mut Horizons::at(&database, query.now)).expect("conditions");
            let sql = format!("EXPLAIN QUERY PLAN {EVENTS}{}{NEWEST_FIRST}", filter.clause());
            let read = |row: &rusqlite::Row<'_>| Ok(row.get::<_, String>("detail").expect("text"));
            let plan = database.all(&sql, params_from_iter(filter.values()), read).expect("a plan");
            let has_index = plan.len() == 1 && plan[0].contains(" USING INDEX audit_events_");
            prop_assert!(has_index, "{} {plan:?}", filter.clause());
        });
    }
}
