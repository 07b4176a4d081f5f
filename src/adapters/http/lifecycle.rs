//! From the first request to the last: what runs, and how it ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long requests that are under way may take to finish once no new ones come: longer than a connection goes on, so that
/// a change whose caller has gone is finished too.
const LONGEST_FINISH: Duration = Duration::from_secs(12);

/// The life of a running service, shared by all that must know when it ends.
#[derive(Default)]
pub struct Lifecycle {
    ending: AtomicBool,
    closing: CancellationToken,
    /// Connections and requests. A request goes on here when its caller has gone away.
    tasks: TaskTracker,
}

impl Lifecycle {
    /// Says that the service is about to end: it is no longer ready, but still serves.
    pub fn begin_end(&self) {
        self.ending.store(true, Ordering::Release);
    }

    /// Whether the end has begun.
    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// Takes no new connections, closes idle ones, and waits until what is under way has finished.
    pub async fn finish(&self) {
        self.begin_end();
        self.closing.cancel();
        self.tasks.close();
        if tokio::time::timeout(LONGEST_FINISH, self.tasks.wait()).await.is_err() {
            tracing::warn!(left = self.tasks.len(), "ended with requests under way");
        }
    }

    /// Ends when no new connection is to be taken.
    pub async fn closed(&self) {
        self.closing.cancelled().await;
    }

    /// The tasks that [`finish`](Self::finish) waits for.
    pub const fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }
}
