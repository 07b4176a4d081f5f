//! Jobs that wait for a thread of SQLite.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::failure::unavailable;
use ports::store_error::StoreError;

/// Maximum number of jobs that wait in one queue.
pub const MAX_WAITING: usize = 10_000;
/// How long the caller of a job waits.
pub const DEADLINE: Duration = Duration::from_millis(2_500);

/// The end of a queue at which jobs come in. `None` ends a thread that takes jobs from the other end.
pub struct Queue<J>(Sender<Option<J>>);

impl<J> Queue<J> {
    /// Creates a queue, and returns both ends.
    pub fn new() -> (Self, Receiver<Option<J>>) {
        let (sender, receiver) = bounded(MAX_WAITING);
        (Self(sender), receiver)
    }

    /// Adds a job. Returns a [`StoreError`] if too many wait, or if no thread takes any.
    pub fn add(&self, job: J) -> Result<(), StoreError> {
        self.0.try_send(Some(job)).map_err(|error| match error {
            TrySendError::Full(_) => unavailable("too many callers wait for the disk"),
            TrySendError::Disconnected(_) => unavailable("the thread for it has ended"),
        })
    }

    /// Ends one thread once it has done all jobs that wait now.
    pub fn end(&self) {
        // A thread that has ended needs no message, and one that hangs takes none.
        let _ = self.0.send_timeout(None, DEADLINE);
    }

    /// Returns how many jobs wait.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}
