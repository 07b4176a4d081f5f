//! Group commit of registered agents: one writer, one transaction per batch, in one round trip.
//!
//! A batch takes only locks that are free. An agent whose organization or caller is locked, or whose email address
//! stands in the batch twice, is left to a transaction of its own, which waits; so is every agent of a batch that one
//! of them may have made fail, or for which the server has no connection. So no organization waits for another's lock.
//!
//! If a connection was lost, the agents are looked up by their IDs, and those not found are registered again. A commit
//! that was thought lost and arrives late finds their addresses taken, or they find it there.

use std::collections::HashSet;
use std::sync::LazyLock;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::batcher::{BatchConnection, BatchHandler, Batcher, Batchers, Pending, answer_those_there};
use crate::pool::connect::Connector;
use crate::pool::failure::{copy_for_waiter, in_doubt, may_be_of_one};
use crate::pool::statement::QueryError;
use crate::rows::registrations::{Outcome, Registration, RegistrationColumns, judged, lock_key, statement};
use crate::transaction::gate;
use domain::id::OrganizationId;
use ports::error_chain::error_chain;
use ports::store_error::StoreError;

/// Registers the agents whose locks the transaction holds.
static REGISTER: LazyLock<String> = LazyLock::new(|| {
    statement(
        "organization_id = ANY (string_to_array(current_setting('agentidp.organizations', true), ',')::uuid[]) \
         AND (caller_gate IS NULL \
         OR caller_gate = ANY (string_to_array(current_setting('agentidp.gates', true), ',')::int[]))",
        "SKIP LOCKED",
    )
});

const WHICH_ARE_THERE: &str = "\
-- agent_store.which_are_there
SELECT agent_id FROM agents WHERE agent_id = ANY ($1)";

/// How long a batch whose answer was lost is retried.
const TIMEOUT: Duration = Duration::from_millis(3_500);

type Answer = Result<Outcome, StoreError>;
type Batch = Vec<Pending<Registration, Answer>>;

/// Returns the statements that begin a transaction and take those of the locks that are free: registration locks, and
/// the gates of callers in share mode. The transaction's settings say which it holds.
///
/// These come before the statement that registers, so that it sees what others did under the locks before.
fn begin(organizations: &HashSet<OrganizationId>, gates: &HashSet<i32>) -> String {
    let values = |texts: Vec<String>| if texts.is_empty() { "(NULL)".to_owned() } else { texts.join(", ") };
    let organizations = values(organizations.iter().map(|id| format!("('{id}')")).collect());
    let key = lock_key("id");
    let gates = values(gates.iter().map(|gate| format!("({gate})")).collect());
    format!(
        "BEGIN; \
         SELECT set_config('agentidp.organizations', string_agg(id, ','), true) FROM (VALUES {organizations}) \
         AS asked (id) WHERE pg_try_advisory_xact_lock({key}); \
         SELECT set_config('agentidp.gates', string_agg(gate::text, ','), true) FROM (VALUES {gates}) \
         AS asked (gate) WHERE pg_try_advisory_xact_lock_shared(1, gate::int)"
    )
}

/// Handle that submits registrations to the writer.
pub struct RegistrationBatch(Batcher<Registration, Answer>);

impl RegistrationBatch {
    pub fn new(connector: &Connector, batchers: &Batchers) -> Self {
        Self(Batcher::new(connector, batchers, REGISTER.as_str(), Writer))
    }

    /// Registers an agent, and returns once it and its event are on disk. `None` if it needs a transaction of its own.
    pub async fn register(&self, registration: Registration) -> Answer {
        self.0.ask(registration).await?
    }
}

struct Writer;

impl BatchHandler<Registration, Answer> for Writer {
    async fn serve(&mut self, connection: &mut BatchConnection, batch: Batch) {
        let ends = Instant::now() + TIMEOUT;
        // A caller that has gone before anything was sent needs no agent.
        let mut batch: Batch = batch.into_iter().filter(|(_, reply)| !reply.is_closed()).collect();
        let mut is_sent = false;
        while !batch.is_empty() {
            match attempt(connection, &batch).await {
                Ok(outcomes) => {
                    for (outcome, (_, reply)) in outcomes.into_iter().zip(batch) {
                        let locked =
                            || in_doubt("the connection was lost, and another transaction holds a lock");
                        // A caller that no longer waits needs no answer.
                        let _ = reply.send(match outcome {
                            None if is_sent => Err(locked()),
                            outcome => Ok(outcome),
                        });
                    }
                    return;
                }
                Err(QueryError::ConnectionLost(error)) if Instant::now() < ends => {
                    tracing::debug!(%error, "resolving a batch of registrations in doubt");
                    is_sent = true;
                }
                Err(QueryError::NotSent(_)) if is_sent && Instant::now() < ends => {
                    connection.until_retry().await;
                }
                Err(failure) => {
                    refuse(batch, failure, is_sent);
                    return;
                }
            }
            let ids: Vec<Uuid> = batch.iter().map(|(one, _)| one.agent.id.0).collect();
            let there = connection.read_other(WHICH_ARE_THERE, &[&ids]).await;
            batch = answer_those_there(batch, there, |one| one.agent.id.0, || Ok(Some(Ok(()))));
        }
    }
}

/// Runs the transaction and returns the results in the order of the batch.
async fn attempt(connection: &mut BatchConnection, batch: &Batch) -> Result<Vec<Outcome>, QueryError> {
    let mut addresses = HashSet::new();
    let places: Vec<usize> = (0..batch.len())
        .filter(|place| {
            let agent = &batch[*place].0.agent;
            addresses.insert((agent.organization, &agent.email))
        })
        .collect();
    let asked: Vec<&Registration> = places.iter().map(|place| &batch[*place].0).collect();
    let organizations = asked.iter().map(|one| one.agent.organization).collect();
    let authorities = asked.iter().filter_map(|one| one.authority.as_ref());
    let gates = authorities.map(|authority| gate(authority.organization)).collect();
    let rows = connection
        .run_in_transaction(&begin(&organizations, &gates), &RegistrationColumns::of(&asked).parameters())
        .await?;
    // An answer that cannot be read is a bug of this statement, so it is unknown what was stored.
    let judged = judged(&rows, asked.len()).map_err(QueryError::ConnectionLost)?;
    let mut outcomes: Vec<Outcome> = batch.iter().map(|_| None).collect();
    for (place, outcome) in places.into_iter().zip(judged) {
        outcomes[place] = outcome;
    }
    Ok(outcomes)
}

/// Answers all requests of a batch that failed. If nothing was sent, a transaction of its own may have a connection.
fn refuse(batch: Batch, failure: QueryError, is_sent: bool) {
    let is_in_doubt = is_sent || matches!(failure, QueryError::ConnectionLost(_));
    let is_unsent = matches!(failure, QueryError::NotSent(_));
    let error = StoreError::from(failure);
    tracing::debug!(%error, "a batch of registrations failed");
    for (_, reply) in batch {
        let _ = reply.send(if is_in_doubt {
            Err(in_doubt(error_chain(&error)))
        } else if is_unsent || may_be_of_one(&error) {
            Ok(None)
        } else {
            Err(copy_for_waiter(&error))
        });
    }
}
