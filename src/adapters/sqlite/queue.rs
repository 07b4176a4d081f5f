//! Jobs that wait for a thread of SQLite.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use instruments::QueueMetrics;

use super::failure::unavailable;
use ports::store_error::StoreError;

/// Maximum number of jobs that wait in one queue.
pub const MAX_WAITING: usize = 10_000;
/// How long the caller of a job waits.
pub const DEADLINE: Duration = Duration::from_millis(2_500);

/// The end of a queue at which jobs come in. `None` ends a thread that takes jobs from the other end.
pub struct Queue<J> {
    jobs: Sender<Option<J>>,
    metrics: QueueMetrics,
}

impl<J> Queue<J> {
    /// Creates a queue, and returns both ends. Metrics name it so.
    pub fn new(name: &str) -> (Self, Receiver<Option<J>>) {
        let (jobs, receiver) = bounded(MAX_WAITING);
        (Self { jobs, metrics: QueueMetrics::new(name) }, receiver)
    }

    /// Returns the metrics of the queue, for the thread that takes jobs from the other end.
    pub const fn metrics(&self) -> &QueueMetrics {
        &self.metrics
    }

    /// Adds a job. Returns a [`StoreError`] if too many wait, or if no thread takes any.
    pub fn add(&self, job: J) -> Result<(), StoreError> {
        // Counted first, because the thread may take the job at once.
        self.metrics.joined();
        self.jobs.try_send(Some(job)).map_err(|error| {
            self.metrics.left(1);
            match error {
                TrySendError::Full(_) => unavailable("too many callers wait for the disk"),
                TrySendError::Disconnected(_) => unavailable("the thread for it has ended"),
            }
        })
    }

    /// Ends one thread once it has done all jobs that wait now.
    pub fn end(&self) {
        // A thread that has ended needs no message, and one that hangs takes none.
        let _ = self.jobs.send_timeout(None, DEADLINE);
    }

    /// Returns how many jobs wait.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.jobs.len()
    }
}
