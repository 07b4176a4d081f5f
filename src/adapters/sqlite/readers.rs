//! Threads that read the file, while the writer changes it.

use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use tokio::sync::oneshot;

use super::database::Database;
use super::failure::{failed, unavailable};
use ports::store_error::StoreError;

/// How long a caller waits for its answer.
const DEADLINE: Duration = Duration::from_millis(2_500);

/// Answers questions. Each sees the file as of one moment, with every change that was stored before.
pub struct Readers {
    /// Questions; `None` ends a thread.
    jobs: Sender<Option<Job>>,
    threads: usize,
}

type Job = Box<dyn FnOnce(&Database) + Send>;

impl Readers {
    /// Starts a thread for each connection. They end with the readers.
    pub fn start(
        name: &str,
        connections: impl IntoIterator<Item = Database>,
    ) -> std::io::Result<(Self, Vec<JoinHandle<()>>)> {
        let (jobs, queue) = crossbeam_channel::unbounded();
        let start = |database: Database| {
            let queue: Receiver<Option<Job>> = queue.clone();
            let thread = std::thread::Builder::new().name(name.to_owned());
            thread.spawn(move || {
                while let Ok(Some(job)) = queue.recv() {
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
            // A thread that has ended needs no message.
            let _ = self.jobs.send(None);
        }
    }

    /// Answers a question.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, response) = oneshot::channel();
        let job = Box::new(move |database: &Database| {
            if !answer.is_closed() {
                // A caller that gave up meanwhile needs no answer.
                let _ = answer.send(of_one_moment(database, read));
            }
        });
        if self.jobs.send(Some(job)).is_err() {
            return Err(unavailable("the readers have ended"));
        }
        match tokio::time::timeout(DEADLINE, response).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(unavailable("a reader has ended")),
            Err(_) => Err(unavailable("the disk did not answer in time")),
        }
    }
}

fn of_one_moment<T>(
    database: &Database,
    read: impl FnOnce(&Database) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let run = |sql: &str| database.connection().prepare_cached(sql)?.execute(()).map(drop);
    run("BEGIN").map_err(failed)?;
    database.cached_rows().begin_reading();
    let result = read(database);
    run("COMMIT").map_err(failed)?;
    result
}
