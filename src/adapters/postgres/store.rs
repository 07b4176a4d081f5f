//! The pool, the deadlines, and the batchers: what every method goes through.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, Timeouts,
};
use moka::sync::Cache;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, Row};
use uuid::Uuid;

use super::batcher::Batchers;
use super::codec::number;
use super::connect::Connector;
use super::failure::{Timeout, failed, in_doubt, is_read_only, is_server_error, unavailable};
use super::lookup::LookupBatch;
use super::settings::{CONNECT_TIMEOUT, PgSettings};
use super::token_issue::TokenIssueBatch;
use super::token_revocation::RevocationBatch;
use crate::domain::id::OrganizationId;
use crate::domain::time::Month;
use crate::ports::store_error::{StoreError, with_causes};
use crate::ports::store_health::StoreHealth;
use crate::shares::{Place, Shares};

/// How long one may wait for a free connection.
const POOL_WAIT: Duration = Duration::from_millis(500);
/// How long one statement may take: a little longer than `statement_timeout`, so that the server says it first.
pub(super) const STATEMENT: Duration = Duration::from_millis(2_500);
/// How long a statement may take that is asked a second time where its connection was dead: less than a request.
const BOTH_TRIES: Duration = Duration::from_secs(4);
/// Of the connections one organization may have one in so many at once.
const POOL_SHARE: usize = 3;
/// How many connections only what revokes tokens may use.
const REVOCATION_CONNECTIONS: usize = 2;
/// How long a request may wait for those of its organization that came before it.
const SHARE_WAIT: Duration = Duration::from_secs(2);
/// How many organizations are known to be at their limit, and for how long.
const MAX_FULL: u64 = 10_000;
const FULL_FOR: Duration = Duration::from_secs(60);
/// How many prepared statements a connection keeps.
const MAX_STATEMENTS: usize = 200;
/// How long a probe waits for an answer.
const CHECK: Duration = Duration::from_millis(500);

/// A parameter of a statement.
pub(super) type Parameter<'a> = &'a (dyn ToSql + Sync);

/// The durable store.
pub struct Postgres {
    pool: Pool,
    /// How much of the pool one organization may have.
    shares: Shares,
    /// Connections for what revokes tokens alone: no flood of other changes keeps them from it.
    revocation_pool: Pool,
    revocation_shares: Shares,
    /// Organizations that were at their limit of agents when they last registered one.
    pub(super) full: Cache<Uuid, ()>,
    pub(super) lookup: LookupBatch,
    pub(super) issuer: TokenIssueBatch,
    pub(super) revoker: RevocationBatch,
    /// Months whose partition of the audit log is known to be there.
    pub(super) months: Mutex<HashSet<Month>>,
    batchers: Batchers,
}

impl Postgres {
    /// A store with a pool of so many connections, four more for its batchers, and up to six for tokens that wait for locks and
    /// for revocations. Nothing is opened yet.
    pub fn new(settings: &PgSettings, connections: usize) -> Result<Self, StoreError> {
        let connector = Connector(settings.clone());
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let pool_of = |connections| {
            let manager =
                Manager::from_connect(settings.config.clone(), connector.clone(), recycling.clone());
            Pool::builder(manager)
                .max_size(connections)
                .runtime(Runtime::Tokio1)
                .timeouts(Timeouts {
                    wait: Some(POOL_WAIT),
                    create: Some(CONNECT_TIMEOUT),
                    recycle: Some(CONNECT_TIMEOUT),
                })
                .build()
                .map_err(unavailable)
        };
        let batchers = Batchers::default();
        Ok(Self {
            lookup: LookupBatch::new(&connector, &batchers),
            issuer: TokenIssueBatch::new(&connector, &batchers),
            revoker: RevocationBatch::new(&connector, &batchers),
            pool: pool_of(connections)?,
            shares: Shares::of(connections / POOL_SHARE),
            revocation_pool: pool_of(REVOCATION_CONNECTIONS)?,
            revocation_shares: Shares::of(1),
            full: Cache::builder().max_capacity(MAX_FULL).time_to_live(FULL_FOR).build(),
            months: Mutex::default(),
            batchers,
        })
    }

    /// Closes the batchers, once what waits in them is done, and the pool.
    pub async fn close(&self) {
        self.batchers.close().await;
        self.pool.close();
        self.revocation_pool.close();
    }

    async fn connection(&self) -> Result<Object, StoreError> {
        self.pool.get().await.map_err(no_connection)
    }

    /// A connection for a change, or for one that revokes tokens.
    pub(super) async fn connection_for(&self, is_revocation: bool) -> Result<Object, StoreError> {
        let pool = if is_revocation { &self.revocation_pool } else { &self.pool };
        pool.get().await.map_err(no_connection)
    }

    /// A place among those that the organization may have at once. Those who come while it has all of them wait, and take
    /// no connection meanwhile.
    pub(super) async fn place(
        &self,
        organization: Option<OrganizationId>,
        is_revocation: bool,
    ) -> Result<Option<Place>, StoreError> {
        let Some(OrganizationId(organization)) = organization else { return Ok(None) };
        let shares = if is_revocation { &self.revocation_shares } else { &self.shares };
        match timeout(SHARE_WAIT, shares.enter(organization)).await {
            Ok(place) => Ok(Some(place)),
            Err(_) => Err(unavailable("too many requests of the organization are waiting")),
        }
    }

    /// The rows of a prepared statement that only reads. One whose connection was dead is asked once more.
    pub(super) async fn read(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, StoreError> {
        self.read_by(&Query::Prepared(sql, parameters)).await
    }

    /// The same for a statement that is put together for its occasion: it is planned for these very values.
    pub(super) async fn read_planned(
        &self,
        sql: &str,
        parameters: &[(Parameter<'_>, Type)],
    ) -> Result<Vec<Row>, StoreError> {
        self.read_by(&Query::Planned(sql, parameters)).await
    }

    async fn read_by(&self, ask: &Query<'_>) -> Result<Vec<Row>, StoreError> {
        let ends = Instant::now() + BOTH_TRIES;
        match self.ask(ask, ends).await {
            Err(QueryError::ConnectionLost(_)) => Ok(self.ask(ask, ends).await?),
            outcome => Ok(outcome?),
        }
    }

    /// Runs one statement that changes something, and that does nothing more when it is run twice: where the
    /// answer was lost, it is.
    pub(super) async fn run(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, StoreError> {
        let ask = Query::Prepared(sql, parameters);
        let ends = Instant::now() + BOTH_TRIES;
        match self.ask(&ask, ends).await {
            Err(QueryError::ConnectionLost(_)) => {
                self.ask(&ask, ends).await.map_err(|failure| in_doubt(failure.into_source()))
            }
            outcome => Ok(outcome?),
        }
    }

    /// Runs a statement that does at most `batch` of something and says how many as `done`, until it finds fewer.
    pub(super) async fn run_in_batches(
        &self,
        batch: u32,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<(), StoreError> {
        while number(&self.run(sql, parameters).await?[0], "done")? >= batch.into() {}
        Ok(())
    }

    /// Runs one statement that must not be run twice.
    pub(super) async fn run_once(
        &self,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        match self.ask(&Query::Prepared(sql, parameters), Instant::now() + BOTH_TRIES).await {
            Err(QueryError::ConnectionLost(error)) => Err(in_doubt(error)),
            outcome => Ok(outcome?),
        }
    }

    /// The rows, asked for once. A connection that gave no answer is thrown away.
    async fn ask(&self, ask: &Query<'_>, ends: Instant) -> Result<Vec<Row>, QueryError> {
        let connection = match timeout_at(ends, self.connection()).await {
            Ok(connection) => connection.map_err(QueryError::NotSent)?,
            Err(_) => return Err(QueryError::NotSent(unavailable(Timeout(BOTH_TRIES)))),
        };
        let lost = match timeout_at(ends.min(Instant::now() + STATEMENT), ask.of(&connection)).await {
            Ok(Ok(rows)) => return Ok(rows),
            Ok(Err(error)) if is_read_only(&error) => {
                self.forget(connection);
                return Err(QueryError::NotSent(unavailable(error)));
            }
            Ok(Err(error)) if is_server_error(&error) => {
                return Err(QueryError::Rejected(error));
            }
            Ok(Err(error)) => unavailable(error),
            Err(_) => unavailable(Timeout(STATEMENT)),
        };
        drop(Object::take(connection));
        Err(QueryError::ConnectionLost(lost))
    }

    /// Throws that connection away, and with it all that lie idle in the pool: they lead to the same server.
    pub(super) fn forget(&self, connection: Object) {
        drop(Object::take(connection));
        self.pool.retain(|_, _| false);
        self.revocation_pool.retain(|_, _| false);
    }
}

/// A statement and its parameters.
enum Query<'a> {
    Prepared(&'a str, &'a [Parameter<'a>]),
    Planned(&'a str, &'a [(Parameter<'a>, Type)]),
}

impl Query<'_> {
    async fn of(&self, connection: &Object) -> Result<Vec<Row>, Error> {
        match self {
            Self::Prepared(sql, parameters) => {
                // Some are of many shapes: whoever asks for all of them pays for the planning, and not we with memory.
                if connection.statement_cache.size() >= MAX_STATEMENTS {
                    connection.statement_cache.clear();
                }
                let statement = connection.prepare_cached(sql).await?;
                connection.query(&statement, parameters).await
            }
            Self::Planned(sql, parameters) => connection.query_typed(sql, parameters).await,
        }
    }
}

#[async_trait]
impl StoreHealth for Postgres {
    fn name(&self) -> &'static str {
        "postgresql"
    }

    fn is_essential(&self) -> bool {
        true
    }

    /// Asks by the batcher that every request goes through, as a busy pool is no reason to be sent no requests, and whether
    /// the server can be written.
    async fn check(&self) -> Result<(), StoreError> {
        match timeout(CHECK, self.lookup.check()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(unavailable(Timeout(CHECK))),
        }
    }
}

/// Why there is no answer to a statement.
#[derive(Debug)]
pub(super) enum QueryError {
    /// The server said so: the statement has changed nothing.
    Rejected(Error),
    /// The connection went, or no answer within the timeout.
    ConnectionLost(StoreError),
    /// There was no connection to ask by: nothing was sent.
    NotSent(StoreError),
}

impl QueryError {
    /// What is to be told of it.
    pub(super) fn into_source(self) -> String {
        with_causes(&StoreError::from(self))
    }
}

impl From<QueryError> for StoreError {
    fn from(failure: QueryError) -> Self {
        match failure {
            QueryError::Rejected(error) => failed(error),
            QueryError::ConnectionLost(error) | QueryError::NotSent(error) => error,
        }
    }
}

fn no_connection(error: PoolError) -> StoreError {
    match error {
        PoolError::Backend(error) => unavailable(error),
        other => unavailable(other),
    }
}
