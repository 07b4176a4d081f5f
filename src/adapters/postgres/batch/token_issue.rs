//! Group commit of issued tokens: one writer, one statement per batch, a few flushes per thousand tokens.
//!
//! The statement takes the gates (advisory locks) of its organizations and locks the rows that a token depends on, in
//! share mode and in order. It decides for each request whether all preconditions still hold, and stores the accepted
//! requests together. Failures are resolved as follows:
//!
//! * a lost connection: the events are looked up by their IDs, and those not found are retried; a commit that was
//!   thought lost and arrives late fails on the IDs of the retry;
//! * a unique key that another transaction's commit has taken (an assertion spent at the same time on another
//!   instance, an event of such a late commit): the same, because the statement now sees that commit;
//! * a row that PostgreSQL rejects: the batch is split until the row is alone, and only that row fails;
//! * a lock that another transaction holds: the statement skips the request, and
//!   [`lock_waiters`](super::lock_waiters) waits for the lock separately, so that one organization's changes do not
//!   delay another's tokens.

use std::collections::HashSet;
use std::sync::LazyLock;
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use super::batcher::{BatchConnection, BatchHandler, Batcher, Batchers, Statements, answer_those_there};
use super::lock_waiters::{LockWaiters, Outcome, Request};
use crate::pool::connect::Connector;
use crate::pool::failure::{copy_for_waiter, in_doubt, is_row_error};
use crate::pool::statement::{Parameter, QueryError};
use crate::rows::codec::{SqlTimestamp, column, number, signed};
use crate::rows::dependencies::DependencyColumns;
use crate::rows::events::EventColumns;
use ports::error_chain::error_chain;
use ports::store_error::StoreError;
use ports::token_store::{IssueError, Signer, TokenIssue};

/// Issue statements that skip gates and rows that are locked.
static NOT_WAITING: LazyLock<[String; 2]> =
    LazyLock::new(|| statements("pg_try_advisory_xact_lock_shared(1, gate)", "SKIP LOCKED"));

/// Issue statements that wait for locks.
static WAITING: LazyLock<[String; 2]> =
    LazyLock::new(|| statements("pg_advisory_xact_lock_shared(1, gate) IS NOT NULL", ""));

/// Returns the statement for batches without dependencies, and that for batches with some.
fn statements(passes: &str, unlocked: &str) -> [String; 2] {
    const SQL: &str = include_str!("../sql/token_store.issue.sql");
    ["-- with dependencies", "-- without dependencies"].map(|left_out| {
        let mut is_left_out = false;
        let is_wanted = |line: &&str| {
            let is_mark = line.starts_with("-- with") || *line == "-- end";
            if is_mark {
                is_left_out = *line == left_out;
            }
            !is_mark && !is_left_out
        };
        let lines: Vec<&str> = SQL.lines().filter(is_wanted).collect();
        lines.join("\n").replace("{passes}", passes).replace("{unlocked}", unlocked)
    })
}

const WHICH_ARE_THERE: &str = "\
-- issuer.which_are_there
SELECT event_id
FROM unnest($1::uuid[], $2::timestamptz[]) AS asked (event_id, occurred_at)
JOIN audit_events USING (event_id, occurred_at)";

/// Time limit for resolving the outcome of a batch whose answer was lost.
const TIMEOUT: Duration = Duration::from_millis(3_500);
/// Maximum retries of a batch that keeps losing races to other transactions.
const MAX_RACES: usize = 5;

type Batch = Vec<Request>;

/// Handle that submits tokens to the writer.
pub struct TokenIssueBatch(Batcher<TokenIssue, Outcome>);

impl TokenIssueBatch {
    pub fn new(connector: &Connector, batchers: &Batchers) -> Self {
        let waiters = LockWaiters::new(connector, batchers, Statements::of(&WAITING), WaitingWriter);
        let statements = Statements::of(&NOT_WAITING);
        Self(Batcher::new(connector, batchers, statements, Writer { waiters }))
    }

    /// Lets a token be issued, and returns once its event is on disk.
    pub async fn issue(&self, issue: TokenIssue) -> Outcome {
        self.0.ask(issue).await?
    }
}

struct Writer {
    waiters: LockWaiters,
}

impl BatchHandler<TokenIssue, Outcome> for Writer {
    async fn serve(&mut self, connection: &mut BatchConnection, batch: Batch) {
        write_all(connection, batch, Some(&self.waiters)).await;
    }
}

/// Writes the requests that wait for a lock.
#[derive(Clone)]
struct WaitingWriter;

impl BatchHandler<TokenIssue, Outcome> for WaitingWriter {
    async fn serve(&mut self, connection: &mut BatchConnection, batch: Batch) {
        write_all(connection, batch, None).await;
    }
}

/// Writes the batch and answers all of its requests.
///
/// If `waiters` is given, requests that must wait for a lock are handed to it instead.
async fn write_all(connection: &mut BatchConnection, batch: Batch, waiters: Option<&LockWaiters>) {
    let ends = Instant::now() + TIMEOUT;
    // A caller that has gone before anything was sent needs no token.
    let requests: Batch = batch.into_iter().filter(|(_, reply)| !reply.is_closed()).collect();
    let unwritten = |batch| Unwritten { batch, is_sent: false };
    let mut batches: Vec<Unwritten> = without_repetitions(requests).into_iter().map(unwritten).collect();
    while let Some(unwritten) = batches.pop() {
        batches.extend(write(connection, unwritten, ends, waiters).await);
    }
}

/// Divides a batch so that no part has an assertion of an issuer, or a proof of possession, twice.
///
/// Several agents may present the same one. A request that is refused for its quota does not use it up, so the next one
/// is judged after it. The last part is to be written first.
fn without_repetitions(batch: Batch) -> Vec<Batch> {
    let (mut parts, mut rest) = (Vec::new(), batch);
    while !rest.is_empty() {
        let mut seen = HashSet::new();
        let is_first = |(issue, _): &Request| {
            let of_others = issue.assertions.iter().filter(|one| !matches!(one.signer, Signer::Client(_)));
            let keys: Vec<_> = of_others.map(|one| (one.signer, one.digest)).collect();
            let is_first = keys.iter().all(|key| !seen.contains(key));
            // Of those that are left for later, none comes before another with the same assertion.
            seen.extend(keys);
            is_first
        };
        let (first, repeated) = rest.into_iter().partition(is_first);
        parts.push(first);
        rest = repeated;
    }
    parts.reverse();
    parts
}

/// A batch none of whose requests has been answered.
struct Unwritten {
    batch: Batch,
    /// Whether the batch may have been written: it was sent, and its outcome is unknown.
    is_sent: bool,
}

/// Writes the batch and answers all of its requests.
///
/// If one row makes the whole batch fail, returns the two halves of the batch instead.
async fn write(
    connection: &mut BatchConnection,
    unwritten: Unwritten,
    ends: Instant,
    waiters: Option<&LockWaiters>,
) -> Vec<Unwritten> {
    let Unwritten { mut batch, mut is_sent } = unwritten;
    let mut races = 0;
    while !batch.is_empty() {
        match attempt(connection, &batch).await {
            Ok(judgements) => {
                for ((issue, reply), judgement) in batch.into_iter().zip(judgements) {
                    match (judgement, waiters) {
                        // If the caller has gone, its event is recorded but no token is sent. That is allowed.
                        (Judgement::Made(outcome), _) => drop(reply.send(outcome)),
                        (Judgement::Locked(gate), Some(waiters)) => waiters.wait(gate, (issue, reply)),
                        // The statement waited for locks, so what is missing does not exist.
                        (Judgement::Locked(_), None) => drop(reply.send(Err(IssueError::NoLongerAllowed))),
                    }
                }
                return Vec::new();
            }
            Err(QueryError::Rejected(error)) if is_lost_race(&error) && races < MAX_RACES => races += 1,
            Err(QueryError::Rejected(error))
                if is_row_error(&error)
                    && (waiters.is_some()
                        || error.code() != Some(&SqlState::LOCK_NOT_AVAILABLE)
                        // Without dependencies, all requests behind a gate wait for the same lock.
                        || batch.iter().any(|(issue, _)| !issue.depends_on.is_empty()))
                    && batch.len() > 1
                    && Instant::now() < ends =>
            {
                let second = batch.split_off(batch.len() / 2);
                return vec![Unwritten { batch: second, is_sent }, Unwritten { batch, is_sent }];
            }
            Err(QueryError::ConnectionLost(error)) if Instant::now() < ends => {
                tracing::debug!(%error, "resolving a batch of tokens in doubt");
                is_sent = true;
            }
            Err(QueryError::NotSent(_)) if is_sent && Instant::now() < ends => connection.until_retry().await,
            Err(failure) => {
                let is_sent = is_sent || matches!(failure, QueryError::ConnectionLost(_));
                refuse(batch, &failure.into(), is_sent);
                return Vec::new();
            }
        }
        batch = without_those_there(connection, batch).await;
    }
    Vec::new()
}

/// The statement's result for one request.
enum Judgement {
    /// The request has been decided.
    Made(Outcome),
    /// Something that the request depends on is locked, or does not exist, behind this gate.
    Locked(i32),
}

/// Runs the statement and returns the judgements in the order of the batch.
async fn attempt(connection: &mut BatchConnection, batch: &Batch) -> Result<Vec<Judgement>, QueryError> {
    let issues = || batch.iter().map(|(issue, _)| issue);
    let agents: Vec<Uuid> = issues().map(|issue| issue.agent.0).collect();
    let credentials: Vec<Uuid> = issues().map(|issue| issue.credential.0).collect();
    let fingerprints: Vec<Option<&[u8]>> =
        issues().map(|issue| issue.secret.as_ref().map(|secret| &secret.0[..])).collect();
    let revisions: Vec<i64> = issues().map(|issue| signed(issue.revision)).collect();
    let changed: Vec<SqlTimestamp> = issues().map(|issue| SqlTimestamp(issue.changed_at)).collect();
    let own = |issue: &TokenIssue| {
        let own = issue.assertions.iter().find(|one| matches!(one.signer, Signer::Client(_)));
        own.map(|one| (one.digest, one.until))
    };
    let own: Vec<_> = issues().map(own).collect();
    let digests: Vec<Option<&[u8]>> =
        own.iter().map(|own| own.as_ref().map(|(digest, _)| &digest[..])).collect();
    let untils: Vec<Option<SqlTimestamp>> =
        own.iter().map(|own| own.map(|(_, until)| SqlTimestamp(until))).collect();
    let events = EventColumns::of(issues().map(|issue| (None, &issue.event)));
    let mut parameters: Vec<Parameter<'_>> =
        vec![&agents, &credentials, &fingerprints, &revisions, &changed, &digests, &untils];
    parameters.extend(events.parameters_without_organization());
    let dependencies = DependencyColumns::of(issues());
    let rows = if dependencies.is_empty() {
        connection.run(&parameters).await?
    } else {
        parameters.extend(dependencies.parameters());
        connection.run_full(&parameters).await?
    };
    // An agent that does not exist has no row at all.
    let nothing = || Judgement::Made(Err(IssueError::NoLongerAllowed));
    let mut judgements: Vec<Judgement> = batch.iter().map(|_| nothing()).collect();
    for row in &rows {
        let read = || -> Result<(usize, Judgement), StoreError> {
            let place = usize::try_from(column::<i64>(row, "place")?).unwrap_or_default();
            let Some(holds) = column::<Option<bool>>(row, "holds")? else {
                return Ok((place, Judgement::Locked(column(row, "gate")?)));
            };
            let outcome = if !holds {
                Err(IssueError::NoLongerAllowed)
            } else if column::<bool>(row, "is_spent")? {
                Err(IssueError::AssertionSpent)
            } else if column::<bool>(row, "is_issued")? {
                Ok(())
            } else {
                let quota = number(row, "quota")?;
                Err(IssueError::QuotaReached(u32::try_from(quota).unwrap_or(u32::MAX)))
            };
            Ok((place, Judgement::Made(outcome)))
        };
        match read() {
            // Ordinality counts from 1.
            Ok((place, judgement)) if (1..=judgements.len()).contains(&place) => {
                judgements[place - 1] = judgement;
            }
            Ok(_) => {}
            // An unreadable row is a bug of this statement, so it is unknown what was stored.
            Err(error) => {
                let doubt = || Judgement::Made(Err(in_doubt(error_chain(&error)).into()));
                return Ok(batch.iter().map(|_| doubt()).collect());
            }
        }
    }
    Ok(judgements)
}

/// Answers the requests whose events are stored after all, and returns the others.
async fn without_those_there(connection: &mut BatchConnection, batch: Batch) -> Batch {
    let events: Vec<Uuid> = batch.iter().map(|(issue, _)| issue.event.id.0).collect();
    let times: Vec<SqlTimestamp> = batch.iter().map(|(issue, _)| SqlTimestamp(issue.event.at)).collect();
    let there = connection.read_other(WHICH_ARE_THERE, &[&events, &times]).await;
    answer_those_there(batch, there, |issue| issue.event.id.0, || Ok(()))
}

fn refuse(batch: Batch, error: &StoreError, is_sent: bool) {
    for (_, reply) in batch {
        let error = if is_sent { in_doubt(error_chain(error)) } else { copy_for_waiter(error) };
        let _ = reply.send(Err(error.into()));
    }
}

/// Whether another transaction's commit came in between. A retry of the statement sees it.
fn is_lost_race(error: &Error) -> bool {
    let Some(state) = error.as_db_error() else { return false };
    match *state.code() {
        SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => true,
        SqlState::UNIQUE_VIOLATION => {
            let table = state.table().unwrap_or_default();
            table.ends_with("_replay") || table.starts_with("audit_events_")
        }
        _ => false,
    }
}
