//! Threads that read the file, while the writer changes it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::database::Database;
use super::failure::{failed, inconsistent, unavailable};
use super::queue::{DEADLINE, Queue};
use ports::store_error::StoreError;

/// Answers questions. Each sees every change that was stored before it was asked.
pub struct Readers {
    jobs: Queue<Job>,
    threads: usize,
}

type Job = Box<dyn FnOnce(&Database) + Send>;

impl Readers {
    /// Starts a thread for each connection, named after their operation. They end with the readers.
    pub fn start(
        name: &str,
        connections: impl IntoIterator<Item = Database>,
    ) -> std::io::Result<(Self, Vec<JoinHandle<()>>)> {
        let (jobs, queue) = Queue::<Job>::new(name);
        let start = |database: Database| {
            let (queue, metrics) = (queue.clone(), jobs.metrics().clone());
            let thread = std::thread::Builder::new().name(format!("sqlite-{name}"));
            thread.spawn(move || {
                while let Ok(Some(job)) = queue.recv() {
                    metrics.left(1);
                    job(&database);
                }
            })
        };
        let threads: Vec<_> = connections.into_iter().map(start).collect::<Result<_, _>>()?;
        Ok((Self { jobs, threads: threads.len() }, threads))
    }

    /// Ends the threads once all questions are answered that wait now.
    pub fn end(&self) {
        for _ in 0..self.threads {
            self.jobs.end();
        }
    }

    /// Answers a question. What is read for a caller that has given up is broken off.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, response) = oneshot::channel();
        let caller = Caller::default();
        let has_given_up = caller.has_given_up.clone();
        let job = Box::new(move |database: &Database| {
            if !answer.is_closed() {
                // A caller that gave up meanwhile needs no answer.
                let _ = answer.send(of_one_moment(database, has_given_up, read));
            }
        });
        self.jobs.add(job)?;
        match tokio::time::timeout(DEADLINE, response).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(unavailable("a reader has ended")),
            Err(_) => Err(unavailable("the disk did not answer in time")),
        }
    }
}

/// A caller that waits. It gives up when it is dropped.
#[derive(Default)]
struct Caller {
    has_given_up: Arc<AtomicBool>,
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.has_given_up.store(true, Ordering::Relaxed);
    }
}

fn of_one_moment<T>(
    database: &Database,
    has_given_up: Arc<AtomicBool>,
    read: impl FnOnce(&Database) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let run = |sql: &str| database.connection().prepare_cached(sql)?.execute(()).map(drop);
    run("BEGIN").map_err(failed)?;
    database.cached_rows().begin_reading();
    // A question whose answer panics has none, and the thread goes on with the others.
    let read = || catch_unwind(AssertUnwindSafe(|| read(database)));
    let result = database.reading_for(has_given_up, read);
    run("COMMIT").map_err(failed)?;
    result.unwrap_or_else(|_| Err(inconsistent("a look-up panicked")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A query that never ends.
    const ENDLESS: &str =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";

    fn one_reader() -> Arc<Readers> {
        let database = Database::open(":memory:".as_ref()).expect("a database");
        Arc::new(Readers::start("reader", [database]).expect("a thread").0)
    }

    async fn answer(readers: &Readers) -> Result<i64, StoreError> {
        readers.read(|database| database.value("SELECT 7", ())).await
    }

    #[tokio::test]
    async fn what_is_read_for_a_caller_that_has_given_up_is_broken_off() {
        let readers = one_reader();
        let (has_begun, begun) = oneshot::channel();
        let asked = readers.clone();
        let caller = tokio::spawn(async move {
            let endless = asked.read(|database| {
                let _ = has_begun.send(());
                database.value::<i64>(ENDLESS, ())
            });
            endless.await
        });
        begun.await.expect("it begins");
        caller.abort();
        assert_eq!(answer(&readers).await.expect("the thread is free"), 7);
    }

    #[tokio::test]
    async fn a_look_up_that_panics_leaves_the_thread_to_the_others() {
        let readers = one_reader();
        let panicked = readers.read(|_| -> Result<(), StoreError> { panic!("as a test") }).await;
        assert!(matches!(panicked, Err(StoreError::Inconsistent { .. })), "{panicked:?}");
        assert_eq!(answer(&readers).await.expect("an answer"), 7);
    }
}
