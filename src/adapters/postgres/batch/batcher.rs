//! Request batching: a dedicated connection runs one prepared statement for all waiting callers.
//!
//! While one round trip is in progress, further requests queue up, and all of them go into the next round trip. A
//! thousand requests a second therefore cost a few round trips and a few commits.

use std::collections::HashSet;
use std::future::Future;
use std::time::Duration;

use futures_util::future::join3;
use instruments::{QUERIES, QueueMetrics, batch_span, name_of_statement};
use tokio::sync::{mpsc, oneshot};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_postgres::{Client, Error, Row, Statement};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, Span, debug_span};
use uuid::Uuid;

use crate::pool::connect::Connector;
use crate::pool::failure::{Timeout, failed, is_read_only, is_server_error, unavailable};
use crate::pool::settings::CONNECT_TIMEOUT;
use crate::pool::shortage::is_shortage;
use crate::pool::statement::{Parameter, QueryError, STATEMENT};
use ports::store_error::StoreError;

/// Maximum number of requests queued in a batcher. Further requests are refused as unavailable.
const MAX_WAITING: usize = 4_096;
/// Maximum number of requests in one round trip.
const MAX_BATCH: usize = 256;
/// How long reconnecting is suspended after a statement timed out or an attempt failed.
const BACKOFF: Duration = Duration::from_millis(500);
/// How long a batch waits for room for its connection on the server: less than the deadline of a request.
const WAIT_FOR_ROOM: Duration = Duration::from_secs(3);
/// Interval of the attempts to connect to a server that has no room.
const ATTEMPT_EVERY: Duration = Duration::from_millis(100);
/// Session settings of a batcher's connection.
///
/// The statement is planned once for batches of any size, and never as if the tables were still small. It waits only
/// briefly for locks, because all requests queued behind it wait too.
const SESSION: &str =
    "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET lock_timeout = '200ms'";
/// Session settings of a connection that may wait longer for locks.
///
/// Only requests that wait for the same lock queue behind its statement.
const SESSION_WITHOUT_TIMEOUTS: &str =
    "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET lock_timeout = '1s'";

/// Background tasks of all batchers, and the signal that ends them.
#[derive(Default)]
pub struct Batchers {
    pub tasks: TaskTracker,
    end: CancellationToken,
}

impl Batchers {
    /// Drains all batchers and waits until their tasks have ended.
    pub async fn close(&self) {
        self.end.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// The statements of a batcher.
#[derive(Clone, Copy)]
pub struct Statements {
    /// The statement of most batches. Its first line names both.
    usual: &'static str,
    /// The statement of batches that need more; `None` if there are none.
    full: Option<&'static str>,
}

impl Statements {
    /// Returns the usual statement and the full one.
    pub fn of([usual, full]: &'static [String; 2]) -> Self {
        Self::new(usual, full)
    }

    /// Creates the pair of both statements.
    pub const fn new(usual: &'static str, full: &'static str) -> Self {
        Self { usual, full: Some(full) }
    }
}

impl From<&'static str> for Statements {
    fn from(usual: &'static str) -> Self {
        Self { usual, full: None }
    }
}

/// A question, with the channel for its answer.
pub type Pending<Q, A> = (Q, oneshot::Sender<A>);

/// Handle that submits questions to a batcher's task.
pub struct Batcher<Q, A> {
    name: &'static str,
    queue: mpsc::Sender<(Pending<Q, A>, Span)>,
    metrics: QueueMetrics,
}

impl<Q: Send + 'static, A: Send + 'static> Batcher<Q, A> {
    /// Starts a batcher with a dedicated connection for these statements.
    ///
    /// `worker` must answer every question of a batch, whatever happens.
    pub fn new<W>(
        connector: &Connector,
        batchers: &Batchers,
        statements: impl Into<Statements>,
        mut worker: W,
    ) -> Self
    where
        W: BatchHandler<Q, A>,
    {
        let statements = statements.into();
        let (queue, mut waiting) = mpsc::channel(MAX_WAITING);
        let mut connection = BatchConnection::new(connector, statements);
        let end = batchers.end.clone();
        let name = name_of_statement(statements.usual);
        let metrics = QueueMetrics::new(name);
        let counts = metrics.clone();
        batchers.tasks.spawn(async move {
            let mut received = Vec::new();
            loop {
                let ended = tokio::select! {
                    biased;
                    count = waiting.recv_many(&mut received, MAX_BATCH) => count == 0,
                    () = end.cancelled() => true,
                };
                if ended {
                    return;
                }
                counts.left(received.len());
                counts.batch(received.len());
                let span = batch_span(name, received.iter().map(|(_, span)| span));
                let batch = received.drain(..).map(|(pending, _)| pending).collect();
                worker.serve(&mut connection, batch).instrument(span).await;
            }
        });
        Self { name, queue, metrics }
    }

    /// Submits a question and returns its answer.
    ///
    /// Returns [`StoreError::Unavailable`] if the queue is full or the batcher has ended.
    pub async fn ask(&self, question: Q) -> Result<A, StoreError> {
        let (sender, answer) = oneshot::channel();
        let span = debug_span!("operation", otel.name = self.name);
        // Counted first, because the batcher may take the question at once.
        self.metrics.joined();
        self.queue.try_send(((question, sender), span.clone())).map_err(|_| {
            self.metrics.left(1);
            unavailable("too many requests wait, or the store is closed")
        })?;
        answer.instrument(span).await.map_err(|_| unavailable("the store is closed"))
    }
}

/// Processing of a batch.
pub trait BatchHandler<Q, A>: Send + 'static {
    /// Answers every question of the batch.
    fn serve(
        &mut self,
        connection: &mut BatchConnection,
        batch: Vec<Pending<Q, A>>,
    ) -> impl Future<Output = ()> + Send;
}

/// A connection that reconnects automatically, with its prepared statements.
pub struct BatchConnection {
    connector: Connector,
    statements: Statements,
    session: &'static str,
    live: Option<Session>,
    retry_at: Option<Instant>,
}

struct Session {
    client: Client,
    usual: Statement,
    full: Option<Statement>,
}

impl BatchConnection {
    fn new(connector: &Connector, statements: Statements) -> Self {
        Self { connector: connector.clone(), statements, session: SESSION, live: None, retry_at: None }
    }

    /// Creates a connection that waits longer for locks.
    pub fn without_timeouts(connector: &Connector, statements: Statements) -> Self {
        Self { session: SESSION_WITHOUT_TIMEOUTS, ..Self::new(connector, statements) }
    }

    /// Runs the batcher's usual statement once and returns its rows.
    pub async fn run(&mut self, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, QueryError> {
        let sql = self.statements.usual;
        let Session { client, usual, .. } = self.connected().await.map_err(QueryError::NotSent)?;
        let query = QUERIES.of(name_of_statement(sql), client.query(usual, parameters));
        let outcome = timeout(STATEMENT, query).await;
        self.judge(outcome)
    }

    /// Runs the batcher's full statement once and returns its rows.
    pub async fn run_full(&mut self, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, QueryError> {
        let sql = self.statements.full.unwrap_or(self.statements.usual);
        let Session { client, usual, full } = self.connected().await.map_err(QueryError::NotSent)?;
        let query =
            QUERIES.of(name_of_statement(sql), client.query(full.as_ref().unwrap_or(usual), parameters));
        let outcome = timeout(STATEMENT, query).await;
        self.judge(outcome)
    }

    /// Runs the batcher's usual statement in a transaction that `begin` begins, and returns its rows.
    ///
    /// All of it is one round trip, so that the transaction is as short as it can be: no statement waits for an answer
    /// to another. If `begin` fails, nothing is stored. If the server has no room for this connection, it does not wait
    /// for some, because the caller can have a transaction on another one.
    pub async fn run_in_transaction(
        &mut self,
        begin: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, QueryError> {
        let sql = self.statements.usual;
        let session = self.connected_within(Duration::ZERO).await;
        let Session { client, usual, .. } = session.map_err(QueryError::NotSent)?;
        let query = async {
            // Sent in this order. After an error, the server rolls back instead of committing.
            let (begun, rows, committed) = join3(
                client.batch_execute(begin),
                client.query(usual, parameters),
                client.batch_execute("COMMIT"),
            )
            .await;
            begun?;
            let rows = rows?;
            committed?;
            Ok(rows)
        };
        let outcome = timeout(STATEMENT, QUERIES.of(name_of_statement(sql), query)).await;
        self.judge(outcome)
    }

    /// Returns the rows of the batcher's statement, which must be read-only.
    ///
    /// The statement is retried once if the connection was lost.
    pub async fn read(&mut self, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, StoreError> {
        match self.run(parameters).await {
            Err(QueryError::ConnectionLost(_)) => Ok(self.run(parameters).await?),
            outcome => Ok(outcome?),
        }
    }

    /// Returns the rows of the batcher's full statement, which must be read-only.
    ///
    /// The statement is retried once if the connection was lost.
    pub async fn read_full(&mut self, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, StoreError> {
        match self.run_full(parameters).await {
            Err(QueryError::ConnectionLost(_)) => Ok(self.run_full(parameters).await?),
            outcome => Ok(outcome?),
        }
    }

    /// Returns the rows of another read-only statement, without a retry.
    pub async fn read_other(
        &mut self,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        let Session { client, .. } = self.connected().await?;
        let query = QUERIES.of(name_of_statement(sql), client.query(sql, parameters));
        let outcome = timeout(STATEMENT, query).await;
        Ok(self.judge(outcome)?)
    }

    /// Waits until another connection attempt is allowed.
    pub async fn until_retry(&self) {
        if let Some(until) = self.retry_at {
            #[expect(clippy::disallowed_methods, reason = "a server that is away is not asked all the time")]
            tokio::time::sleep_until(until).await;
        }
    }

    fn judge(&mut self, outcome: Result<Result<Vec<Row>, Error>, Elapsed>) -> Result<Vec<Row>, QueryError> {
        match outcome {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) if is_read_only(&error) => {
                self.live = None;
                Err(QueryError::NotSent(unavailable(error)))
            }
            Ok(Err(error)) if is_server_error(&error) => Err(QueryError::Rejected(error)),
            Ok(Err(error)) => {
                self.live = None;
                Err(QueryError::ConnectionLost(unavailable(error)))
            }
            Err(_) => {
                self.back_off();
                Err(QueryError::ConnectionLost(unavailable(Timeout(STATEMENT))))
            }
        }
    }

    /// Returns the connection and its statements, after reconnecting if necessary.
    ///
    /// Where the server has no room, the requests of the batch wait for some.
    async fn connected(&mut self) -> Result<&Session, StoreError> {
        self.connected_within(WAIT_FOR_ROOM).await
    }

    /// Same as [`connected`](Self::connected), and waits this long for room.
    async fn connected_within(&mut self, wait: Duration) -> Result<&Session, StoreError> {
        if self.live.as_ref().is_none_or(|session| session.client.is_closed()) {
            self.live = None;
            if self.retry_at.is_some_and(|until| Instant::now() < until) {
                return Err(unavailable("it was unreachable a moment ago"));
            }
            let ends = Instant::now() + wait;
            let mut pause = interval_at(Instant::now() + ATTEMPT_EVERY, ATTEMPT_EVERY);
            pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let open = async || {
                let (client, _) = self.connector.open().await?;
                client.batch_execute(self.session).await.map_err(failed)?;
                let usual = client.prepare(self.statements.usual).await.map_err(failed)?;
                let full = match self.statements.full {
                    Some(full) => Some(client.prepare(full).await.map_err(failed)?),
                    None => None,
                };
                Ok(Session { client, usual, full })
            };
            let opened = loop {
                match timeout(CONNECT_TIMEOUT, open()).await {
                    Ok(Err(error)) if is_shortage(&error) && Instant::now() < ends => pause.tick().await,
                    Ok(opened) => break opened,
                    Err(_) => break Err(unavailable(Timeout(CONNECT_TIMEOUT))),
                };
            };
            self.live = Some(opened.inspect_err(|_| self.back_off())?);
            self.retry_at = None;
        }
        self.live.as_ref().ok_or_else(|| unavailable("it is not connected"))
    }

    fn back_off(&mut self) {
        self.live = None;
        self.retry_at = Some(Instant::now() + BACKOFF);
    }
}

/// Answers the requests whose changes are stored after all, and returns the others.
///
/// `found` has their IDs in its first column. Returns all requests if the database could not be asked.
pub fn answer_those_there<Q, A>(
    batch: Vec<Pending<Q, A>>,
    found: Result<Vec<Row>, StoreError>,
    id: impl Fn(&Q) -> Uuid,
    stored: impl Fn() -> A,
) -> Vec<Pending<Q, A>> {
    let Ok(rows) = found else { return batch };
    let there: HashSet<Uuid> = rows.iter().filter_map(|row| row.try_get(0).ok()).collect();
    let (stored_ones, rest): (Vec<_>, Vec<_>) =
        batch.into_iter().partition(|(question, _)| there.contains(&id(question)));
    for (_, reply) in stored_ones {
        // A caller that no longer waits needs no answer.
        let _ = reply.send(stored());
    }
    rest
}
