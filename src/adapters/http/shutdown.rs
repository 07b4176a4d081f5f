//! From the first request to the last: what runs, and how it ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long requests that are under way may take to finish once no new ones come: longer than a connection goes on, so that
/// a change whose caller has gone is finished too.
const LONGEST_DRAIN: Duration = Duration::from_secs(12);

/// The life of a running service, shared by all that must know when it ends.
#[derive(Default)]
pub struct Shutdown {
    ending: AtomicBool,
    closing: CancellationToken,
    /// Connections and requests. A request goes on here when its caller has gone away.
    tasks: TaskTracker,
}

impl Shutdown {
    /// Says that the service is about to end: it is no longer ready, but still serves.
    pub fn start_draining(&self) {
        self.ending.store(true, Ordering::Release);
    }

    /// Whether the end has begun.
    pub fn is_draining(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// Takes no new connections, closes idle ones, and waits until what is under way has finished.
    pub async fn drain(&self) {
        self.start_draining();
        self.closing.cancel();
        self.tasks.close();
        if tokio::time::timeout(LONGEST_DRAIN, self.tasks.wait()).await.is_err() {
            tracing::warn!(left = self.tasks.len(), "ended with requests under way");
        }
    }

    /// Ends when no new connection is to be taken.
    pub async fn closing(&self) {
        self.closing.cancelled().await;
    }

    /// The tasks that [`drain`](Self::drain) waits for.
    pub const fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }
}
