//! One connection to the file.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::FromSql;
use rusqlite::{Connection, OpenFlags, Params, Row};

use super::failure::{failed, inconsistent};
use super::row_cache::{CachedRows, RowCache};
use ports::store_error::StoreError;

/// How long a statement waits for a lock that another program holds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum number of prepared statements of a connection.
const MAX_STATEMENTS: usize = 256;

/// Number of steps of SQLite's machine, each well under a microsecond, after which it looks whether its caller still waits.
const STEPS: i32 = 10_000;

/// A connection to the file, used by one thread.
pub struct Database {
    connection: Connection,
    cached_rows: CachedRows,
    is_purging: Arc<AtomicBool>,
    /// Whether the caller of the current look-up has given up; `None` if nothing is looked up for a caller.
    has_given_up: Arc<Mutex<Option<Arc<AtomicBool>>>>,
}

impl Database {
    /// Opens a connection, and creates the file if it does not exist.
    ///
    /// A commit is complete only when the change is on the disk.
    pub fn open(path: &Path) -> Result<Self, rusqlite::Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags)?;
        let has_given_up = Arc::<Mutex<Option<Arc<AtomicBool>>>>::default();
        let caller = has_given_up.clone();
        let is_to_end = move || {
            let caller = caller.lock().unwrap_or_else(PoisonError::into_inner);
            caller.as_ref().is_some_and(|has_given_up| has_given_up.load(Ordering::Relaxed))
        };
        connection.progress_handler(STEPS, Some(is_to_end))?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(MAX_STATEMENTS);
        connection.execute_batch(
            "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; \
             PRAGMA journal_size_limit = 67108864",
        )?;
        let is_purging = Arc::new(AtomicBool::new(false));
        let answer = is_purging.clone();
        // A trigger calls it.
        let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_INNOCUOUS;
        let is_retention = move |_: &mut Context<'_>| Ok(answer.load(Ordering::Relaxed));
        connection.create_scalar_function("agentidp_retention", 0, flags, is_retention)?;
        Ok(Self { connection, cached_rows: CachedRows::of(Arc::default()), is_purging, has_given_up })
    }

    /// Shares rows with other connections.
    pub fn sharing(self, cache: &Arc<RowCache>) -> Self {
        Self { cached_rows: CachedRows::of(cache.clone()), ..self }
    }

    /// Returns the rows that need not be read again.
    pub const fn cached_rows(&self) -> &CachedRows {
        &self.cached_rows
    }

    /// Returns the connection itself.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Reads for a caller. Once it has given up, SQLite breaks off.
    pub fn reading_for<T>(&self, has_given_up: Arc<AtomicBool>, read: impl FnOnce() -> T) -> T {
        let caller = || self.has_given_up.lock().unwrap_or_else(PoisonError::into_inner);
        *caller() = Some(has_given_up);
        let result = read();
        *caller() = None;
        result
    }

    /// Runs a change during which events may be removed from the audit log.
    pub fn purging<T>(&self, purge: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.is_purging.store(true, Ordering::Relaxed);
        let result = purge();
        self.is_purging.store(false, Ordering::Relaxed);
        result
    }

    /// Calls `read` with each row of a query, until it breaks off.
    pub fn each(
        &self,
        sql: &str,
        parameters: impl Params,
        mut read: impl FnMut(&Row<'_>) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(failed)?;
        let mut rows = statement.query(parameters).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            if read(row)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Returns all rows of a query.
    pub fn all<T>(
        &self,
        sql: &str,
        parameters: impl Params,
        read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut all = Vec::new();
        self.each(sql, parameters, |row| {
            all.push(read(row)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(all)
    }

    /// Returns the first row of a query; `None` if it has none.
    pub fn first<T>(
        &self,
        sql: &str,
        parameters: impl Params,
        read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let mut first = None;
        self.each(sql, parameters, |row| {
            first = Some(read(row)?);
            Ok(ControlFlow::Break(()))
        })?;
        Ok(first)
    }

    /// Returns the one value of a query that always has one.
    pub fn value<T: FromSql>(&self, sql: &str, parameters: impl Params) -> Result<T, StoreError> {
        let value = self.first(sql, parameters, |row| row.get(0).map_err(failed))?;
        value.ok_or_else(|| inconsistent("a query without an answer"))
    }

    /// Runs a statement, and returns how many rows it changed.
    pub fn execute(&self, sql: &str, parameters: impl Params) -> Result<usize, StoreError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(failed)?;
        statement.execute(parameters).map_err(failed)
    }
}
