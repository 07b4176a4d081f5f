//! Graceful shutdown of connections and requests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Maximum time for requests in progress to finish after the last new request. Longer than a connection may
/// continue, so that a change whose caller has disconnected is finished too.
const LONGEST_DRAIN: Duration = Duration::from_secs(12);

/// Shutdown state of a running service, shared by all parts that need to know it.
#[derive(Default)]
pub struct Shutdown {
    ending: AtomicBool,
    closing: CancellationToken,
    /// Connections and requests. A request continues here if its caller disconnects.
    tasks: TaskTracker,
}

impl Shutdown {
    /// Marks the service as draining: no longer ready, but still serving.
    pub fn start_draining(&self) {
        self.ending.store(true, Ordering::Release);
    }

    /// Returns whether shutdown has begun.
    pub fn is_draining(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// Stops accepting connections, closes idle ones, and waits at most 12 s for requests in progress.
    pub async fn drain(&self) {
        self.start_draining();
        self.closing.cancel();
        self.tasks.close();
        if tokio::time::timeout(LONGEST_DRAIN, self.tasks.wait()).await.is_err() {
            tracing::warn!(left = self.tasks.len(), "ended with requests under way");
        }
    }

    /// Waits until no new connections are accepted.
    pub async fn closing(&self) {
        self.closing.cancelled().await;
    }

    /// Returns the tasks that [`drain`](Self::drain) waits for.
    pub const fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }
}
