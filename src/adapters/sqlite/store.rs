//! The open file, as one store.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use instruments::QUERIES;
use shares::{Place, Shares};
use tokio::time::timeout;

use super::database::Database;
use super::facts::NotKept;
use super::failure::unavailable;
use super::file_lock::resolved;
use super::readers::Readers;
use super::row_cache::RowCache;
use super::schema::{self, OpenError};
use super::writer::{Refusal, Writer};
use domain::tenancy::Tenancy;
use ports::store_error::StoreError;
use ports::store_health::StoreHealth;
use ports::write::{CallerRevoked, Write};

/// Number of threads that answer look-ups, which every request needs.
const LOOKUPS: usize = 2;
/// Number of threads that answer lists, which may take long.
const LISTS: usize = 3;
/// How long a list waits for another one of the same organization.
const SHARE_WAIT: Duration = Duration::from_secs(2);
/// Number of lists that one organization can ask for at a time.
const LISTS_EACH: usize = 1;

/// All stores of one service, in one file.
pub struct Sqlite {
    rows: Arc<RowCache>,
    writer: Writer,
    lookups: Readers,
    lists: Readers,
    shares: Shares,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Sqlite {
    /// Opens the file, creates it if it does not exist, and brings its tables up to date. Blocks the thread.
    ///
    /// The file is served by this store alone until it is closed. Returns [`OpenError`] if that is not possible.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let path = &*resolved(path);
        let failed = |reason: String| OpenError::Failed { path: path.to_owned(), reason };
        let rows = Arc::<RowCache>::default();
        let reader = || {
            let database = Database::open(path).map_err(|error| failed(error.to_string()))?.sharing(&rows);
            let is_reader = database.connection().pragma_update(None, "query_only", true);
            is_reader.map_err(|error| failed(error.to_string()))?;
            Ok(database)
        };
        let (database, lock) = schema::open(path)?;
        let lookups: Vec<_> = (0..LOOKUPS).map(|_| reader()).collect::<Result<_, _>>()?;
        let lists: Vec<_> = (0..LISTS).map(|_| reader()).collect::<Result<_, _>>()?;
        let start = || -> std::io::Result<Self> {
            let (writer, thread) = Writer::start(database.sharing(&rows), lock)?;
            let mut threads = vec![thread];
            let (lookups, more) = Readers::start("look_up", lookups)?;
            threads.extend(more);
            let (lists, more) = Readers::start("list", lists)?;
            threads.extend(more);
            let (shares, threads) = (Shares::of(LISTS_EACH), Mutex::new(threads));
            Ok(Self { rows: rows.clone(), writer, lookups, lists, shares, threads })
        };
        start().map_err(|error| failed(error.to_string()))
    }

    /// Completes what waits, and closes the file. Another instance can then open it.
    pub async fn close(&self) {
        self.lookups.end();
        self.lists.end();
        self.writer.end();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let ended = tokio::task::spawn_blocking(|| threads.into_iter().try_for_each(JoinHandle::join));
        if !matches!(ended.await, Ok(Ok(()))) {
            tracing::error!("a thread of SQLite ended with a panic");
        }
    }

    /// Returns the rows that need no thread to look them up.
    pub(crate) fn rows(&self) -> &RowCache {
        &self.rows
    }

    /// Returns what is kept of a row, or looks it up.
    pub(crate) async fn kept_or_looked_up<T: Send + 'static>(
        &self,
        operation: &'static str,
        kept: Result<T, NotKept>,
        read: impl FnOnce(&Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        match kept {
            Ok(found) => Ok(found),
            Err(NotKept) => self.look_up(operation, read).await,
        }
    }

    /// Looks up what a request needs.
    pub(crate) async fn look_up<T: Send + 'static>(
        &self,
        operation: &'static str,
        read: impl FnOnce(&Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        QUERIES.of(operation, self.lookups.read(read)).await
    }

    /// Reads what may take long, in the share of one organization.
    pub(crate) async fn list_within<T: Send + 'static>(
        &self,
        operation: &'static str,
        within: Tenancy,
        read: impl FnOnce(&Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let place: Option<Place> = match within.organization() {
            Some(organization) => match timeout(SHARE_WAIT, self.shares.enter(organization.0)).await {
                Ok(place) => Some(place),
                Err(_) => return Err(unavailable("the organization has too many lists in progress")),
            },
            None => None,
        };
        let read = move |database: &Database| {
            // The place is free again once the list has been read, even if the caller has given up.
            let _place = place;
            read(database)
        };
        QUERIES.of(operation, self.lists.read(read)).await
    }

    /// Makes a change that is not on behalf of a caller.
    pub(crate) async fn change<T, E>(
        &self,
        operation: &'static str,
        change: impl FnOnce(&Database) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.change_unless_refused(operation, Refusal::AtAnyTime, change).await
    }

    /// Makes a change that may be refused at that time.
    pub(crate) async fn change_unless_refused<T, E>(
        &self,
        operation: &'static str,
        refusal: Refusal,
        change: impl FnOnce(&Database) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        QUERIES.of(operation, self.writer.change(refusal, change)).await
    }

    /// Makes a change on behalf of a caller, if the caller's authority still holds.
    pub(crate) async fn write<T, E>(
        &self,
        operation: &'static str,
        write: Write<'_>,
        change: impl FnOnce(&Database, Write<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + From<CallerRevoked> + Send + 'static,
    {
        let (authority, events, at) = (write.authority.cloned(), write.events.to_vec(), write.at);
        self.change(operation, move |database| {
            let write = Write { authority: authority.as_ref(), events: &events, at };
            if !database.allows(write)? {
                return Err(CallerRevoked.into());
            }
            change(database, write)
        })
        .await
    }
}

#[async_trait]
impl StoreHealth for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn is_essential(&self) -> bool {
        true
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.look_up("store_health.check", |database| {
            database.value::<i64>("SELECT count(*) FROM sqlite_schema", ()).map(drop)
        })
        .await?;
        self.change("store_health.check", |_| Ok(())).await
    }
}
