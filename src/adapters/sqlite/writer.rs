//! The one thread that changes the file.
//!
//! All changes that wait are made in one transaction, so that they share one write to the disk. Each has a savepoint of its
//! own: a refused change leaves nothing behind, and the others are stored all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use rusqlite::ErrorCode;
use tokio::sync::oneshot;

use super::database::Database;
use super::failure::{failed, in_doubt, unavailable};
use super::file_lock::FileLock;
use ports::error_chain::error_chain;
use ports::store_error::StoreError;

/// Maximum number of changes in one transaction.
const MAX_GROUP: usize = 256;
/// How long a caller waits for its change.
const DEADLINE: Duration = Duration::from_millis(2_500);

/// Makes changes, one after the other, in groups.
pub struct Writer {
    /// Changes; `None` ends the thread.
    jobs: Sender<Option<Box<dyn Job>>>,
}

impl Writer {
    /// Starts the thread. It ends with the writer, and then releases the file.
    pub fn start(database: Database, lock: FileLock) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (jobs, queue) = crossbeam_channel::unbounded();
        let thread = std::thread::Builder::new().name("sqlite-writer".to_owned()).spawn(move || {
            run(&database, &queue);
            drop(database);
            drop(lock);
        })?;
        Ok((Self { jobs }, thread))
    }

    /// Makes a change. If it returns an error, nothing is stored.
    ///
    /// `Ok` is returned only once the change is on the disk. If the caller does not wait for the result, all of the change
    /// is stored or none of it.
    pub async fn change<T, E>(
        &self,
        change: impl FnOnce(&Database) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (answer, response) = oneshot::channel();
        let has_begun = Arc::new(AtomicBool::new(false));
        let task = Task { change: Some(change), result: None, answer, has_begun: has_begun.clone() };
        if self.jobs.send(Some(Box::new(task))).is_err() {
            return Err(unavailable("the writer has ended").into());
        }
        match tokio::time::timeout(DEADLINE, response).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(in_doubt("the writer has ended").into()),
            Err(_) if has_begun.swap(true, Ordering::AcqRel) => {
                Err(in_doubt("the disk did not confirm the change in time").into())
            }
            Err(_) => Err(unavailable("the change did not begin in time").into()),
        }
    }
}

impl Writer {
    /// Ends the thread once all changes are made that wait now.
    pub fn end(&self) {
        // A thread that has ended needs no message.
        let _ = self.jobs.send(None);
    }
}

/// A change that waits.
trait Job: Send {
    /// Returns whether the change is still wanted. From then on it is made.
    fn begin(&self) -> bool;

    /// Makes the change. Returns whether it is to be kept.
    fn run(&mut self, database: &Database) -> bool;

    /// Answers the caller, once the whole group is stored or is not.
    fn end(self: Box<Self>, stored: Result<(), &GroupFailure>);
}

struct Task<F, T, E> {
    change: Option<F>,
    result: Option<Result<T, E>>,
    answer: oneshot::Sender<Result<T, E>>,
    /// Set by the writer that begins, or by the caller that gives up.
    has_begun: Arc<AtomicBool>,
}

impl<F, T, E> Job for Task<F, T, E>
where
    F: FnOnce(&Database) -> Result<T, E> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn begin(&self) -> bool {
        !self.answer.is_closed() && !self.has_begun.swap(true, Ordering::AcqRel)
    }

    fn run(&mut self, database: &Database) -> bool {
        self.result = self.change.take().map(|change| change(database));
        matches!(self.result, Some(Ok(_)))
    }

    fn end(self: Box<Self>, stored: Result<(), &GroupFailure>) {
        let result = match (stored, self.result) {
            (Err(failure), None | Some(Ok(_))) => Err(E::from(failure.as_error())),
            (_, Some(result)) => result,
            (Ok(()), None) => Err(E::from(unavailable("the change was not made"))),
        };
        // A caller that does not wait needs no answer.
        let _ = self.answer.send(result);
    }
}

/// Why a group was not stored, or may not be.
struct GroupFailure {
    is_in_doubt: bool,
    reason: String,
}

impl GroupFailure {
    fn of(error: rusqlite::Error) -> Self {
        Self { is_in_doubt: false, reason: error_chain(&failed(error)) }
    }

    fn as_error(&self) -> StoreError {
        if self.is_in_doubt { in_doubt(self.reason.clone()) } else { unavailable(self.reason.clone()) }
    }
}

fn run(database: &Database, queue: &Receiver<Option<Box<dyn Job>>>) {
    while let Ok(Some(first)) = queue.recv() {
        let mut is_last = false;
        let others = queue.try_iter().take(MAX_GROUP).take_while(|job| {
            is_last = job.is_none();
            !is_last
        });
        let jobs = std::iter::once(first).chain(others.flatten());
        let mut group: Vec<_> = jobs.filter(|job| job.begin()).collect();
        let stored = store(database, &mut group);
        for job in group {
            job.end(stored.as_ref().copied());
        }
        if is_last {
            break;
        }
    }
}

/// Makes the changes of a group in one transaction.
fn store(database: &Database, group: &mut [Box<dyn Job>]) -> Result<(), GroupFailure> {
    let connection = database.connection();
    let run =
        |sql: &str| -> Result<(), rusqlite::Error> { connection.prepare_cached(sql)?.execute(()).map(drop) };
    let make = || {
        run("BEGIN IMMEDIATE").map_err(GroupFailure::of)?;
        for job in group {
            run("SAVEPOINT change").map_err(GroupFailure::of)?;
            let is_kept = job.run(database);
            // SQLite rolls back the whole transaction if, for example, a statement finds the disk full.
            if connection.is_autocommit() {
                let reason = "a statement failed, and SQLite rolled back the whole group".to_owned();
                return Err(GroupFailure { is_in_doubt: false, reason });
            }
            if !is_kept {
                run("ROLLBACK TO change").map_err(GroupFailure::of)?;
            }
            run("RELEASE change").map_err(GroupFailure::of)?;
        }
        Ok(())
    };
    let stored = make().and_then(|()| {
        run("COMMIT").map_err(|error| GroupFailure {
            // Only these errors come before anything of the commit is written.
            is_in_doubt: !matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::DatabaseBusy | ErrorCode::DiskFull | ErrorCode::OutOfMemory)
            ),
            ..GroupFailure::of(error)
        })
    });
    if stored.is_err()
        && !connection.is_autocommit()
        && let Err(error) = run("ROLLBACK")
    {
        tracing::error!(error = &error as &dyn std::error::Error, "cannot roll back");
    }
    stored
}
