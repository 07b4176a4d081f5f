//! Batchers: one connection, one statement, and whoever waits for it.
//!
//! While one round trip is under way the next requests gather, and all of them go in the next one. So a thousand
//! requests a second cost a few round trips, and a few commits.

use std::future::Future;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};
use tokio_postgres::{Client, Error, Row, Statement};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connect::Connector;
use super::failure::{Timeout, failed, is_read_only, is_server_error, unavailable};
use super::settings::CONNECT_TIMEOUT;
use super::store::{Parameter, QueryError, STATEMENT};
use crate::ports::store_error::StoreError;

/// How many may wait in a batcher. More are told that the store is overloaded.
const MAX_WAITING: usize = 4_096;
/// How many go in one round trip.
const MAX_BATCH: usize = 256;
/// For how long nobody tries again after a connection was lost or cannot be generated.
const BACKOFF: Duration = Duration::from_millis(500);
/// A batcher's statement is planned once, for any batch, and never as if the tables were still small. It waits for
/// others shortly, because all that gather behind it wait too.
const SESSION: &str =
    "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET lock_timeout = '200ms'";
/// The same for a statement behind which nothing gathers but what waits for the same.
const PATIENT_SESSION: &str =
    "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET lock_timeout = '1s'";

/// The tasks of all batchers, and their end.
#[derive(Default)]
pub(super) struct Batchers {
    pub(super) tasks: TaskTracker,
    end: CancellationToken,
}

impl Batchers {
    /// Lets each batcher finish what waits in it, and end.
    pub(super) async fn close(&self) {
        self.end.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// A question, and where its answer goes.
pub(super) type Pending<Q, A> = (Q, oneshot::Sender<A>);

/// The way into a batcher.
pub(super) struct Batcher<Q, A> {
    queue: mpsc::Sender<Pending<Q, A>>,
}

impl<Q: Send + 'static, A: Send + 'static> Batcher<Q, A> {
    /// A batcher with a connection of its own for this statement. `worker` answers all that wait, whatever happens.
    pub(super) fn new<W>(connector: &Connector, batchers: &Batchers, sql: &'static str, mut worker: W) -> Self
    where
        W: BatchHandler<Q, A>,
    {
        let (queue, mut waiting) = mpsc::channel(MAX_WAITING);
        let mut connection = BatchConnection::new(connector, sql);
        let end = batchers.end.clone();
        batchers.tasks.spawn(async move {
            let mut batch = Vec::new();
            loop {
                let ended = tokio::select! {
                    biased;
                    count = waiting.recv_many(&mut batch, MAX_BATCH) => count == 0,
                    () = end.cancelled() => true,
                };
                if ended {
                    return;
                }
                worker.serve(&mut connection, std::mem::take(&mut batch)).await;
            }
        });
        Self { queue }
    }

    /// The answer to that question.
    pub(super) async fn ask(&self, question: Q) -> Result<A, StoreError> {
        let (sender, answer) = oneshot::channel();
        self.queue
            .try_send((question, sender))
            .map_err(|_| unavailable("too many requests wait, or the store is closed"))?;
        answer.await.map_err(|_| unavailable("the store is closed"))
    }
}

/// What is done with a batch.
pub(super) trait BatchHandler<Q, A>: Send + 'static {
    /// Answers everybody in the batch.
    fn serve(
        &mut self,
        connection: &mut BatchConnection,
        batch: Vec<Pending<Q, A>>,
    ) -> impl Future<Output = ()> + Send;
}

/// A connection that comes back by itself, with its statement.
pub(super) struct BatchConnection {
    connector: Connector,
    sql: &'static str,
    session: &'static str,
    live: Option<(Client, Statement)>,
    rests_until: Option<Instant>,
}

impl BatchConnection {
    fn new(connector: &Connector, sql: &'static str) -> Self {
        Self { connector: connector.clone(), sql, session: SESSION, live: None, rests_until: None }
    }

    /// One that waits longer for locks.
    pub(super) fn patient(connector: &Connector, sql: &'static str) -> Self {
        Self { session: PATIENT_SESSION, ..Self::new(connector, sql) }
    }

    /// Runs the batcher's statement.
    pub(super) async fn run(&mut self, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, QueryError> {
        let (client, statement) = self.wake().await.map_err(QueryError::NotSent)?;
        let outcome = timeout(STATEMENT, client.query(statement, parameters)).await;
        self.judge(outcome)
    }

    /// The rows of the batcher's statement, which only reads: where the connection was dead it is asked once more.
    pub(super) async fn read(&mut self, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, StoreError> {
        match self.run(parameters).await {
            Err(QueryError::ConnectionLost(_)) => Ok(self.run(parameters).await?),
            outcome => Ok(outcome?),
        }
    }

    /// The rows of another statement that only reads, asked once.
    pub(super) async fn read_other(
        &mut self,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        let (client, _) = self.wake().await?;
        let outcome = timeout(STATEMENT, client.query(sql, parameters)).await;
        Ok(self.judge(outcome)?)
    }

    /// Waits until a connection may be tried again.
    pub(super) async fn rested(&self) {
        if let Some(until) = self.rests_until {
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
                self.rest();
                Err(QueryError::ConnectionLost(unavailable(Timeout(STATEMENT))))
            }
        }
    }

    /// The connection and its statement, opened where it has to be.
    async fn wake(&mut self) -> Result<&(Client, Statement), StoreError> {
        if self.live.as_ref().is_none_or(|(client, _)| client.is_closed()) {
            self.live = None;
            if self.rests_until.is_some_and(|until| Instant::now() < until) {
                return Err(unavailable("it was unreachable a moment ago"));
            }
            let open = async {
                let (client, _) = self.connector.open().await?;
                client.batch_execute(self.session).await.map_err(failed)?;
                let statement = client.prepare(self.sql).await.map_err(failed)?;
                Ok((client, statement))
            };
            let opened = match timeout(CONNECT_TIMEOUT, open).await {
                Ok(opened) => opened,
                Err(_) => Err(unavailable(Timeout(CONNECT_TIMEOUT))),
            };
            self.live = Some(opened.inspect_err(|_| self.rest())?);
            self.rests_until = None;
        }
        self.live.as_ref().ok_or_else(|| unavailable("it is not connected"))
    }

    fn rest(&mut self) {
        self.live = None;
        self.rests_until = Some(Instant::now() + BACKOFF);
    }
}
