//! The one thread that changes the file.
//!
//! All changes that wait are made in one transaction, so that they share one write to the disk. Each has a savepoint of its
//! own unless it is refused only before it writes: a refused change leaves nothing behind, and the others are stored all the
//! same.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::Receiver;
use instruments::{QueueMetrics, batch_span};
use rusqlite::ErrorCode;
use tokio::sync::oneshot;
use tracing::{Span, debug_span};

use super::database::Database;
use super::failure::{failed, in_doubt, unavailable};
use super::file_lock::FileLock;
use super::queue::{DEADLINE, Queue};
use ports::error_chain::error_chain;
use ports::store_error::StoreError;

/// Maximum number of changes in one transaction.
const MAX_GROUP: usize = 256;

/// Makes changes, one after the other, in groups.
pub struct Writer {
    jobs: Queue<Box<dyn Job>>,
}

impl Writer {
    /// Starts the thread. It ends with the writer, and then releases the file.
    pub fn start(database: Database, lock: FileLock) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (jobs, queue) = Queue::new("change");
        let metrics = jobs.metrics().clone();
        let thread = std::thread::Builder::new().name("sqlite-writer".to_owned()).spawn(move || {
            run(&database, &queue, &metrics);
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
        refusal: Refusal,
        change: impl FnOnce(&Database) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (answer, response) = oneshot::channel();
        let has_begun = Arc::new(AtomicBool::new(false));
        let span = Span::current();
        let task =
            Task { span, change: Some(change), refusal, result: None, answer, has_begun: has_begun.clone() };
        self.jobs.add(Box::new(task))?;
        match tokio::time::timeout(DEADLINE, response).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) if !has_begun.load(Ordering::Acquire) => {
                Err(unavailable("the writer has ended").into())
            }
            Ok(Err(_)) => Err(in_doubt("the writer has ended").into()),
            Err(_) if has_begun.swap(true, Ordering::AcqRel) => {
                Err(in_doubt("the disk did not confirm the change in time").into())
            }
            Err(_) => Err(unavailable("the change did not begin in time").into()),
        }
    }

    /// Ends the thread once all changes are made that wait now.
    pub fn end(&self) {
        self.jobs.end();
    }
}

/// When a change returns an error, unless SQLite failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Perhaps after it has written something. The change has a savepoint.
    AtAnyTime,
    /// Only before it writes anything. If SQLite fails within the change, its whole group is not stored.
    BeforeWriting,
}

/// A change that waits.
trait Job: Send {
    /// Returns the span of the request that wants the change.
    fn span(&self) -> &Span;

    /// Returns when the change may be refused.
    fn refusal(&self) -> Refusal;

    /// Returns whether the change is still wanted. From then on it is made.
    fn begin(&self) -> bool;

    /// Makes the change. Returns whether it is to be kept.
    fn run(&mut self, database: &Database) -> bool;

    /// Answers the caller, once the whole group is stored or is not.
    fn end(self: Box<Self>, stored: Result<(), &GroupFailure>);
}

struct Task<F, T, E> {
    span: Span,
    change: Option<F>,
    refusal: Refusal,
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
    fn span(&self) -> &Span {
        &self.span
    }

    fn refusal(&self) -> Refusal {
        self.refusal
    }

    fn begin(&self) -> bool {
        !self.answer.is_closed() && !self.has_begun.swap(true, Ordering::AcqRel)
    }

    fn run(&mut self, database: &Database) -> bool {
        let change = self.change.take();
        // A change that panics is not made, and the thread goes on with the others.
        let made = catch_unwind(AssertUnwindSafe(|| change.map(|change| change(database))));
        self.result = made.unwrap_or_default();
        matches!(self.result, Some(Ok(_)))
    }

    fn end(self: Box<Self>, stored: Result<(), &GroupFailure>) {
        let result = match (stored, self.result) {
            // A refusal may rest on another change of the group, and that was not stored.
            (Err(failure), _) => Err(E::from(failure.as_error())),
            (Ok(()), Some(result)) => result,
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

fn run(database: &Database, queue: &Receiver<Option<Box<dyn Job>>>, metrics: &QueueMetrics) {
    while let Ok(Some(first)) = queue.recv() {
        let mut is_last = false;
        let others = queue.try_iter().take(MAX_GROUP).take_while(|job| {
            is_last = job.is_none();
            !is_last
        });
        let jobs: Vec<_> = std::iter::once(first).chain(others.flatten()).collect();
        metrics.left(jobs.len());
        let mut group: Vec<_> = jobs.into_iter().filter(|job| job.begin()).collect();
        metrics.batch(group.len());
        let span = batch_span("change", group.iter().map(|job| job.span()));
        let stored = span.in_scope(|| store(database, &mut group));
        for job in group {
            job.end(stored.as_ref().copied());
        }
        if is_last {
            break;
        }
    }
}

/// Returns whether the error of a commit says that nothing is stored: the mark of a commit is written last.
fn is_certain(error: &rusqlite::Error) -> bool {
    let is_unwritten = |error: &rusqlite::ffi::Error| {
        matches!(error.code, ErrorCode::DatabaseBusy | ErrorCode::DiskFull)
            || error.extended_code == rusqlite::ffi::SQLITE_IOERR_WRITE
    };
    error.sqlite_error().is_some_and(is_unwritten)
}

/// Makes the changes of a group in one transaction.
fn store(database: &Database, group: &mut [Box<dyn Job>]) -> Result<(), GroupFailure> {
    let connection = database.connection();
    let run =
        |sql: &str| -> Result<(), rusqlite::Error> { connection.prepare_cached(sql)?.execute(()).map(drop) };
    let make = || {
        run("BEGIN IMMEDIATE").map_err(GroupFailure::of)?;
        for job in group {
            let has_savepoint = job.refusal() == Refusal::AtAnyTime;
            if has_savepoint {
                run("SAVEPOINT change").map_err(GroupFailure::of)?;
            }
            let rows_before = connection.total_changes();
            let is_kept = job.run(database);
            // SQLite rolls back the whole transaction if, for example, a statement finds the disk full.
            if connection.is_autocommit() {
                let reason = "a statement failed, and SQLite rolled back the whole group".to_owned();
                return Err(GroupFailure { is_in_doubt: false, reason });
            }
            if has_savepoint {
                if !is_kept {
                    run("ROLLBACK TO change").map_err(GroupFailure::of)?;
                }
                run("RELEASE change").map_err(GroupFailure::of)?;
            } else if !is_kept && connection.total_changes() != rows_before {
                let reason = "a change without a savepoint failed after it had written".to_owned();
                return Err(GroupFailure { is_in_doubt: false, reason });
            }
        }
        Ok(())
    };
    let stored = make().and_then(|()| {
        let commit = debug_span!("commit").in_scope(|| database.cached_rows().store(|| run("COMMIT")));
        commit.map_err(|error| GroupFailure { is_in_doubt: !is_certain(&error), ..GroupFailure::of(error) })
    });
    if stored.is_err()
        && !connection.is_autocommit()
        && let Err(error) = run("ROLLBACK")
    {
        tracing::error!(error = &error as &dyn std::error::Error, "cannot roll back");
    }
    stored
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tempfile::TempDir;

    use super::*;
    use crate::failure::inconsistent;
    use crate::queue::MAX_WAITING;

    /// A file with an empty table, and the thread that changes it.
    struct Place {
        folder: TempDir,
        writer: Arc<Writer>,
        thread: JoinHandle<()>,
    }

    impl Place {
        fn new() -> Self {
            let folder = TempDir::new().expect("a folder");
            let path = folder.path().join("data.db");
            let database = Database::open(&path).expect("a file");
            let sql = "PRAGMA journal_mode = wal; CREATE TABLE numbers (number INTEGER, filling BLOB)";
            database.connection().execute_batch(sql).expect("a table");
            let (writer, thread) =
                Writer::start(database, FileLock::take(&path).expect("free")).expect("a thread");
            Self { folder, writer: Arc::new(writer), thread }
        }

        /// Begins a change that ends only when the sender is used or dropped.
        fn hold(&self) -> mpsc::Sender<()> {
            let (sender, receiver) = mpsc::channel();
            let writer = self.writer.clone();
            let (has_begun, begun) = mpsc::channel();
            tokio::spawn(async move {
                writer
                    .change(Refusal::AtAnyTime, move |database| {
                        has_begun.send(()).expect("awaited");
                        let _ = receiver.recv();
                        insert(database, 0, 1)
                    })
                    .await
            });
            while begun.try_recv().is_err() {
                std::thread::yield_now();
            }
            sender
        }

        /// Ends the thread, and returns the numbers that are stored.
        fn stored(self) -> Vec<i64> {
            self.writer.end();
            self.thread.join().expect("no panic");
            let database = Database::open(&self.folder.path().join("data.db")).expect("a file");
            let read = |row: &rusqlite::Row<'_>| row.get(0).map_err(failed);
            database.all("SELECT number FROM numbers ORDER BY number", (), read).expect("numbers")
        }
    }

    fn insert(database: &Database, number: i64, bytes: i64) -> Result<(), StoreError> {
        let sql = "INSERT INTO numbers VALUES (?1, zeroblob(?2))";
        database.execute(sql, [number, bytes]).map(drop)
    }

    type Change = Box<dyn FnOnce(&Database) -> Result<(), StoreError> + Send>;

    /// Queues changes of one group, and returns their results in order.
    async fn group(place: &Place, changes: Vec<Change>) -> Vec<Result<(), StoreError>> {
        let held = place.hold();
        let waiting: Vec<_> = changes
            .into_iter()
            .map(|change| {
                let writer = place.writer.clone();
                tokio::spawn(async move { writer.change(Refusal::AtAnyTime, change).await })
            })
            .collect();
        while place.writer.jobs.len() < waiting.len() {
            tokio::task::yield_now().await;
        }
        drop(held);
        let mut results = Vec::new();
        for one in waiting {
            results.push(one.await.expect("no panic"));
        }
        results
    }

    /// Makes a change, which inserts 2 and fails, between two that insert 1 and 3.
    async fn only_the_others_are_stored(fail: Change) {
        let place = Place::new();
        let others = [1, 3].map(|number| -> Change { Box::new(move |database| insert(database, number, 1)) });
        let [first, last] = others;
        let results = group(&place, vec![first, fail, last]).await;
        assert!(matches!(results[..], [Ok(()), Err(_), Ok(())]), "{results:?}");
        assert_eq!(place.stored(), [0, 1, 3]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_refused_change_leaves_nothing_and_the_others_of_its_group_are_stored() {
        only_the_others_are_stored(Box::new(|database| {
            insert(database, 2, 1)?;
            Err(unavailable("refused"))
        }))
        .await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_change_that_panics_is_not_made_and_the_others_are() {
        only_the_others_are_stored(Box::new(|database| {
            insert(database, 2, 1)?;
            panic!("as a test")
        }))
        .await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_full_disk_stores_nothing_of_a_group_and_is_over_once_there_is_room() {
        let place = Place::new();
        let limit = |pages: i64| {
            move |database: &Database| {
                let sql = format!("PRAGMA max_page_count = {pages}");
                database.value::<i64>(&sql, ()).map(drop)
            }
        };
        place.writer.change(Refusal::AtAnyTime, limit(20)).await.expect("a limit");
        let results = group(
            &place,
            vec![
                Box::new(|database| insert(database, 1, 1)),
                Box::new(|database| insert(database, 2, 1_000_000)),
                Box::new(|database| insert(database, 3, 1)),
            ],
        )
        .await;
        let is_unavailable = |result: &Result<(), _>| matches!(result, Err(StoreError::Unavailable { .. }));
        assert!(is_unavailable(&results[1]), "{results:?}");
        // SQLite may roll back the one statement or all of the transaction.
        let others: Vec<i64> = [(0, 1), (2, 3)]
            .into_iter()
            .filter(|(place, _)| results[*place].is_ok())
            .map(|(_, number)| number)
            .collect();
        assert!(results.iter().all(|result| result.is_ok() || is_unavailable(result)), "{results:?}");
        place.writer.change(Refusal::AtAnyTime, limit(1_000_000)).await.expect("a limit");
        place
            .writer
            .change(Refusal::AtAnyTime, |database| insert(database, 4, 1_000_000))
            .await
            .expect("there is room");
        assert_eq!(place.stored(), [&[0], &others[..], &[4]].concat());
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_that_does_not_begin_in_time_is_not_made_and_one_that_does_not_end_is_in_doubt() {
        let place = Place::new();
        let (sender, receiver) = mpsc::channel::<()>();
        let writer = place.writer.clone();
        let begun = tokio::spawn(async move {
            writer
                .change(Refusal::AtAnyTime, move |database| {
                    let _ = receiver.recv();
                    insert(database, 1, 1)
                })
                .await
        });
        tokio::task::yield_now().await;
        // The clock stands still while something runs, and goes on by itself once everything waits.
        while place.writer.jobs.len() > 0 {
            std::thread::yield_now();
        }
        let late = place.writer.change(Refusal::AtAnyTime, |database| insert(database, 2, 1)).await;
        assert!(matches!(late, Err(StoreError::Unavailable { .. })), "{late:?}");
        let begun = begun.await.expect("no panic");
        assert!(matches!(begun, Err(StoreError::InDoubt { .. })), "{begun:?}");
        drop(sender);
        assert_eq!(place.stored(), [1]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_change_of_a_caller_that_is_gone_is_made_whole_or_not_at_all() {
        let place = Place::new();
        let held = place.hold();
        let writer = place.writer.clone();
        let gone = tokio::spawn(async move {
            writer.change(Refusal::AtAnyTime, |database| insert(database, 1, 1)).await
        });
        while place.writer.jobs.len() == 0 {
            tokio::task::yield_now().await;
        }
        gone.abort();
        assert!(gone.await.is_err());
        drop(held);
        assert_eq!(place.stored(), [0]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_refusal_that_rests_on_a_change_that_was_not_stored_is_not_given() {
        let place = Place::new();
        let results = group(
            &place,
            vec![
                Box::new(|database| insert(database, 1, 1)),
                Box::new(|database| match database.value::<i64>("SELECT max(number) FROM numbers", ())? {
                    1 => Err(inconsistent("the number is taken")),
                    _ => Ok(()),
                }),
                Box::new(|database| {
                    let sql = "ROLLBACK";
                    database.execute(sql, ()).map(drop)
                }),
            ],
        )
        .await;
        assert!(
            results.iter().all(|result| matches!(result, Err(StoreError::Unavailable { .. }))),
            "{results:?}"
        );
        assert_eq!(place.stored(), [0]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_change_that_decides_first_needs_no_savepoint() {
        let place = Place::new();
        let refused =
            place.writer.change(Refusal::BeforeWriting, |_| Err::<(), _>(inconsistent("refused"))).await;
        assert!(matches!(refused, Err(StoreError::Inconsistent { .. })), "{refused:?}");
        let broken = place.writer.change(Refusal::BeforeWriting, |database| {
            insert(database, 1, 1)?;
            Err::<(), _>(inconsistent("too late"))
        });
        let broken = broken.await;
        assert!(matches!(broken, Err(StoreError::Unavailable { .. })), "{broken:?}");
        place.writer.change(Refusal::BeforeWriting, |database| insert(database, 2, 1)).await.expect("stored");
        assert_eq!(place.stored(), [2]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_change_that_finds_no_place_is_refused_at_once() {
        let place = Place::new();
        let held = place.hold();
        let waiting: Vec<_> = (0..MAX_WAITING)
            .map(|_| {
                let writer = place.writer.clone();
                tokio::spawn(
                    async move { writer.change(Refusal::AtAnyTime, |_| Ok::<_, StoreError>(())).await },
                )
            })
            .collect();
        while place.writer.jobs.len() < MAX_WAITING {
            tokio::task::yield_now().await;
        }
        let refused = place.writer.change(Refusal::AtAnyTime, |database| insert(database, 1, 1)).await;
        assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
        drop(held);
        for one in waiting {
            // Those at the end may have waited too long on a slow machine.
            let _ = one.await.expect("no panic");
        }
        assert_eq!(place.stored(), [0]);
    }
}
