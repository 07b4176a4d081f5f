//! Registration of agents: those that wait are registered together, in one transaction.
//!
//! A group takes only locks that are free. An agent whose organization or caller is locked, or whose email address
//! stands in the group twice, is registered in a transaction of its own, which waits; so is every agent of a group that
//! one of them may have made fail. So no organization waits for another's lock.

use std::collections::HashSet;
use std::sync::LazyLock;

use tokio::time::Instant;
use tokio_postgres::SimpleQueryRow;
use uuid::Uuid;

use super::batch::batcher::Pending;
use super::pool::failure::{copy_for_waiter, may_be_of_one};
use super::rows::codec::column;
use super::rows::events::EventColumns;
use super::rows::registrations::{self, Outcome, Registration, RegistrationColumns};
use super::store::{Postgres, SHARE_WAIT};
use super::transaction::{Transaction, gate};
use domain::agent::Agent;
use domain::audit::{AuditEvent, Authority};
use domain::credential::Credential;
use domain::id::OrganizationId;
use ports::agent_store::InsertAgentError;
use ports::store_error::StoreError;
use ports::write::Write;

/// Returns the statement that takes the registration lock of an organization.
///
/// Agents of an organization are registered by one transaction at a time, so that their number still holds when a new
/// agent is stored.
fn lock_organization(id: OrganizationId) -> String {
    format!("SELECT pg_advisory_xact_lock(hashtextextended('agentidp agents of {id}', 0))")
}

/// Returns the statement that takes those of the locks that are free: registration locks, and the gates of callers in
/// share mode.
///
/// It begins the transaction, which waits only briefly for rows that others have locked.
fn try_locks(organizations: &HashSet<Uuid>, gates: &HashSet<i32>) -> String {
    let values = |texts: Vec<String>| texts.join(", ");
    let organizations = values(organizations.iter().map(|id| format!("('{id}'::uuid)")).collect());
    let mut sql = format!(
        "BEGIN; SET LOCAL lock_timeout = '200ms'; \
         SELECT organization_id FROM (VALUES {organizations}) AS asked (organization_id) \
         WHERE pg_try_advisory_xact_lock(hashtextextended('agentidp agents of ' || organization_id::text, 0))"
    );
    if !gates.is_empty() {
        let gates = values(gates.iter().map(|gate| format!("({gate})")).collect());
        sql += &format!(
            "; SELECT gate FROM (VALUES {gates}) AS asked (gate) WHERE pg_try_advisory_xact_lock_shared(1, gate)"
        );
    }
    sql
}

/// Registers those of the agents whose organizations are not locked.
static NOT_WAITING: LazyLock<String> =
    LazyLock::new(|| include_str!("sql/agent_store.register.sql").replace("{unlocked}", "SKIP LOCKED"));
/// Registers the agents, and waits for their organizations.
static WAITING: LazyLock<String> =
    LazyLock::new(|| include_str!("sql/agent_store.register.sql").replace("{unlocked}", ""));

impl Postgres {
    /// Registers an agent together with others that wait, if possible.
    pub(super) async fn register_in_group(
        &self,
        agent: &Agent,
        event: &AuditEvent,
        authority: Option<&Authority>,
    ) -> Result<Outcome, StoreError> {
        self.ensure_partition(event.at).await?;
        let registration =
            Registration { agent: agent.clone(), event: event.clone(), authority: authority.cloned() };
        let ends = Instant::now() + SHARE_WAIT;
        self.registrations.join(registration, ends, |group| self.register_all(group)).await
    }

    /// Registers an agent in a transaction of its own, with its first credential if one is given.
    pub(super) async fn register_alone(
        &self,
        agent: &Agent,
        credential: Option<&Credential>,
        write: Write<'_>,
    ) -> Result<(), InsertAgentError> {
        let mut change = self.begin_after(&lock_organization(agent.organization), write).await??;
        // The caller's authority has been checked.
        let outcomes = change.register(&WAITING, &[(agent, None)], &[]).await?;
        let outcome = outcomes.into_iter().next().flatten();
        self.note_if_full(agent.organization, &outcome);
        outcome.unwrap_or(Err(InsertAgentError::NoSuchOrganization))?;
        if let Some(credential) = credential {
            change.insert_credential(credential).await?;
        }
        change.record(agent.organization, write.events).await?;
        Ok(change.commit().await?)
    }

    /// Registers a group, and answers all of its requests.
    async fn register_all(&self, group: Vec<Pending<Registration, Outcome>>) {
        let (registrations, replies): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        let outcomes = self.register_group(&registrations).await.unwrap_or_else(|error| {
            let alone = may_be_of_one(&error);
            if alone {
                tracing::debug!(%error, "a group of registrations failed");
            }
            let outcome = |_| (!alone).then(|| Err(copy_for_waiter(&error).into()));
            registrations.iter().map(outcome).collect()
        });
        for (outcome, reply) in outcomes.into_iter().zip(replies) {
            // A caller that no longer waits needs no answer.
            let _ = reply.send(outcome);
        }
    }

    async fn register_group(&self, group: &[Registration]) -> Result<Vec<Outcome>, StoreError> {
        let organizations: HashSet<Uuid> = group.iter().map(|one| one.agent.organization.0).collect();
        let authorities = group.iter().filter_map(|one| one.authority.as_ref());
        let gates: HashSet<i32> = authorities.map(|authority| gate(authority.organization)).collect();
        let (mut change, taken) = self.begin_with(&try_locks(&organizations, &gates), false).await?;
        let locks = Locks::of(&taken);
        let mut addresses = HashSet::new();
        let places: Vec<usize> = (0..group.len())
            .filter(|place| {
                let Registration { agent, authority, .. } = &group[*place];
                locks.allow(agent.organization, authority.as_ref())
                    && addresses.insert((agent.organization, &agent.email))
            })
            .collect();
        let asked: Vec<_> =
            places.iter().map(|place| (&group[*place].agent, group[*place].authority.as_ref())).collect();
        let events: Vec<&AuditEvent> = places.iter().map(|place| &group[*place].event).collect();
        let judged = change.register(&NOT_WAITING, &asked, &events).await?;
        let mut outcomes: Vec<Outcome> = group.iter().map(|_| None).collect();
        for (place, outcome) in places.into_iter().zip(judged) {
            outcomes[place] = outcome;
        }
        if outcomes.iter().any(|outcome| matches!(outcome, Some(Ok(())))) {
            // If this fails, refusals for want of room counted agents that are not stored.
            change.commit().await?;
        }
        for (one, outcome) in group.iter().zip(&outcomes) {
            self.note_if_full(one.agent.organization, outcome);
        }
        Ok(outcomes)
    }

    fn note_if_full(&self, OrganizationId(organization): OrganizationId, outcome: &Outcome) {
        if let Some(Err(InsertAgentError::LimitReached(_))) = outcome {
            self.full.insert(organization, ());
        }
    }
}

/// The locks that a group has taken.
struct Locks {
    organizations: HashSet<Uuid>,
    gates: HashSet<i32>,
}

impl Locks {
    /// Reads the locks from the rows of [`try_locks`].
    fn of(rows: &[SimpleQueryRow]) -> Self {
        let read = |name: &'static str| rows.iter().filter_map(move |row| row.try_get(name).ok().flatten());
        Self {
            organizations: read("organization_id").filter_map(|id| Uuid::parse_str(id).ok()).collect(),
            gates: read("gate").filter_map(|gate| gate.parse().ok()).collect(),
        }
    }

    fn allow(&self, organization: OrganizationId, authority: Option<&Authority>) -> bool {
        self.organizations.contains(&organization.0)
            && authority.is_none_or(|authority| self.gates.contains(&gate(authority.organization)))
    }
}

impl Transaction<'_> {
    /// Registers agents, each for the caller with this authority or for one that was checked before.
    ///
    /// `events` has the event of each agent, or is empty. Returns the results in the order of the agents; `None` for an
    /// agent whose organization is unknown or locked.
    async fn register(
        &mut self,
        sql: &str,
        asked: &[(&Agent, Option<&Authority>)],
        events: &[&AuditEvent],
    ) -> Result<Vec<Outcome>, StoreError> {
        let columns = RegistrationColumns::of(asked);
        let events = EventColumns::of(events.iter().map(|event| (None, *event)));
        let mut parameters = columns.parameters().to_vec();
        parameters.extend(events.parameters_without_organization());
        let rows = self.query(sql, &parameters).await?;
        if let Some(row) = rows.first() {
            self.set_transaction(column(row, "transaction")?);
        }
        let mut outcomes: Vec<Outcome> = asked.iter().map(|_| None).collect();
        for row in &rows {
            // Ordinality counts from 1.
            let place = usize::try_from(column::<i64>(row, "place")? - 1).ok();
            if let Some(outcome) = place.and_then(|place| outcomes.get_mut(place)) {
                *outcome = Some(registrations::outcome(row)?);
            }
        }
        Ok(outcomes)
    }
}
