//! Connection pools, deadlines and batchers, which every method uses.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::Object;
use instruments::{QUERIES, name_of_statement};
use metrics::gauge;
use moka::sync::Cache;
use secrecy::SecretString;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::types::Type;
use tokio_postgres::{Error, Row};
use uuid::Uuid;

use super::batch::batcher::Batchers;
use super::batch::lookup::LookupBatch;
use super::batch::registration::RegistrationBatch;
use super::batch::token_issue::TokenIssueBatch;
use super::batch::token_revocation::RevocationBatch;
use super::pool::connect::Connector;
use super::pool::connection_pool::ConnectionPool;
use super::pool::failure::{Timeout, in_doubt, is_read_only, is_server_error, unavailable};
use super::pool::settings::{PgSettings, SettingsError};
use super::pool::statement::{Parameter, QueryError, STATEMENT};
use super::rows::codec::number;
use domain::id::OrganizationId;
use domain::time::Month;
use ports::store_error::StoreError;
use ports::store_health::StoreHealth;
use shares::{Place, Shares};

/// Time limit of a statement together with its retry after a lost connection.
///
/// Shorter than the time limit of a request.
const BOTH_TRIES: Duration = Duration::from_secs(4);
/// Divisor of the pool size that gives one organization's share of the connections.
const POOL_SHARE: usize = 3;
/// Number of connections reserved for changes that revoke tokens.
const REVOCATION_CONNECTIONS: usize = 2;
/// Maximum wait of a request for earlier requests of its organization.
pub const SHARE_WAIT: Duration = Duration::from_secs(2);
/// Maximum number of organizations remembered as being at their agent limit.
const MAX_FULL: u64 = 10_000;
/// How long an organization is remembered as being at its agent limit.
const FULL_FOR: Duration = Duration::from_secs(60);
/// Maximum number of prepared statements cached per connection.
const MAX_STATEMENTS: usize = 200;
/// Time limit of a health check.
const CHECK: Duration = Duration::from_millis(500);

/// The durable store, on PostgreSQL.
pub struct Postgres {
    pool: ConnectionPool,
    /// Share of the pool that one organization may use at once.
    shares: Shares,
    /// Connections reserved for changes that revoke tokens, so that other changes cannot starve them.
    revocation_pool: ConnectionPool,
    revocation_shares: Shares,
    /// Organizations that were at their agent limit when a registration was last refused.
    pub(super) full: Cache<Uuid, ()>,
    pub(super) lookup: LookupBatch,
    pub(super) issuer: TokenIssueBatch,
    pub(super) revoker: RevocationBatch,
    pub(super) registrations: RegistrationBatch,
    /// Months whose audit log partition is known to exist.
    pub(super) months: Mutex<HashSet<Month>>,
    batchers: Batchers,
    settings: PgSettings,
}

impl Postgres {
    /// Creates a store with a pool of this many connections, without opening any.
    ///
    /// Five more connections serve the batchers, and up to six serve tokens that wait for locks and changes that
    /// revoke tokens.
    pub fn new(settings: &PgSettings, connections: usize) -> Result<Self, StoreError> {
        let connector = Connector(settings.clone());
        let batchers = Batchers::default();
        Ok(Self {
            lookup: LookupBatch::new(&connector, &batchers),
            issuer: TokenIssueBatch::new(&connector, &batchers),
            revoker: RevocationBatch::new(&connector, &batchers),
            registrations: RegistrationBatch::new(&connector, &batchers),
            pool: ConnectionPool::new(&connector, connections)?,
            shares: Shares::of(connections / POOL_SHARE),
            revocation_pool: ConnectionPool::new(&connector, REVOCATION_CONNECTIONS)?,
            revocation_shares: Shares::of(1),
            full: Cache::builder().max_capacity(MAX_FULL).time_to_live(FULL_FOR).build(),
            months: Mutex::default(),
            batchers,
            settings: settings.clone(),
        })
    }

    /// Opens new connections with the password of this URL. Returns whether it is another one.
    ///
    /// Returns [`SettingsError`] if the URL is malformed, or differs in more than the password.
    pub fn reload(&self, url: &SecretString) -> Result<bool, SettingsError> {
        self.settings.replace_password(&PgSettings::parse(url)?)
    }

    /// Reports the state of the connections of both pools as metrics.
    pub fn report_connections(&self) {
        let pools = [self.pool.in_use_and_idle(), self.revocation_pool.in_use_and_idle()];
        let (in_use, idle) = pools.iter().fold((0, 0), |sum, pool| (sum.0 + pool.0, sum.1 + pool.1));
        for (state, connections) in [("in_use", in_use), ("idle", idle)] {
            gauge!("agentidp_db_connections", "state" => state).set(connections as f64);
        }
    }

    /// Drains and closes the batchers, then closes the pools.
    pub async fn close(&self) {
        self.batchers.close().await;
        self.pool.close();
        self.revocation_pool.close();
    }

    /// Returns a connection for a change, as soon as one is free. Changes that revoke tokens have their own.
    pub(super) async fn connection_for(
        &self,
        is_revocation: bool,
        ends: Instant,
    ) -> Result<Object, StoreError> {
        let pool = if is_revocation { &self.revocation_pool } else { &self.pool };
        pool.get(ends).await
    }

    /// Waits for one of the places that the organization may hold at once.
    ///
    /// A waiting request holds no connection. Returns `None` without an organization, and [`StoreError::Unavailable`]
    /// if no place becomes free within [`SHARE_WAIT`].
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

    /// Returns the rows of a prepared, read-only statement. Retries once if the connection was lost.
    pub(super) async fn read(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, StoreError> {
        self.read_by(&Query::Prepared(sql, parameters)).await
    }

    /// Same as [`read`](Self::read), for a statement built for one call and planned for its values.
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

    /// Runs one idempotent statement that changes data. Retries once if the answer was lost.
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

    /// Runs a statement repeatedly until it processes fewer than `batch` items.
    ///
    /// The statement processes at most `batch` items at a time, and returns their number as `done`.
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
    ///
    /// Returns [`StoreError::InDoubt`] if the answer was lost.
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

    /// Returns the rows, without a retry. A connection that gave no answer is discarded.
    async fn ask(&self, ask: &Query<'_>, ends: Instant) -> Result<Vec<Row>, QueryError> {
        let connection = self.pool.get(ends).await.map_err(QueryError::NotSent)?;
        let query = QUERIES.of(name_of_statement(ask.sql()), ask.of(&connection));
        let lost = match timeout_at(ends.min(Instant::now() + STATEMENT), query).await {
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

    /// Discards this connection and all idle ones, because they lead to the same server.
    pub(super) fn forget(&self, connection: Object) {
        drop(Object::take(connection));
        self.pool.forget();
        self.revocation_pool.forget();
    }
}

/// A statement and its parameters.
enum Query<'a> {
    Prepared(&'a str, &'a [Parameter<'a>]),
    Planned(&'a str, &'a [(Parameter<'a>, Type)]),
}

impl Query<'_> {
    const fn sql(&self) -> &str {
        match self {
            Self::Prepared(sql, _) | Self::Planned(sql, _) => sql,
        }
    }

    async fn of(&self, connection: &Object) -> Result<Vec<Row>, Error> {
        match self {
            Self::Prepared(sql, parameters) => {
                // List queries have many shapes. Clearing the cache when full trades re-planning for bounded memory.
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

    fn is_whole(&self) -> bool {
        !self.settings.shortage.is_reported()
    }

    /// Checks, through a batcher that requests use, that the server answers and accepts writes.
    ///
    /// The pool is not used, because a busy pool is no reason to stop receiving requests.
    async fn check(&self) -> Result<(), StoreError> {
        match timeout(CHECK, self.lookup.check()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(unavailable(Timeout(CHECK))),
        }
    }
}
