//! The table of background tasks. A task is one line here and one method of its use case.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::{App, StoreError};

/// Interval of tasks that write or publish buffered data.
const FLUSH: Duration = Duration::from_secs(1);
/// Interval at which the stores are checked for the metrics.
const CHECK: Duration = Duration::from_secs(10);
/// Interval at which the stores are counted for the metrics.
const COUNT: Duration = Duration::from_secs(60);
/// Interval of tasks that remove expired data.
const PURGE: Duration = Duration::from_secs(3600);

type Run = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>> + Send + Sync>;

/// A task that is repeated while the service runs. Running it twice does no harm.
pub struct Task {
    /// Time between the starts of two runs.
    pub every: Duration,
    /// Handling at shutdown.
    pub at_shutdown: AtShutdown,
    /// Log message of a failure.
    pub failure: &'static str,
    run: Run,
}

/// Handling of a task at shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtShutdown {
    /// A run under way finishes, and the task runs once more: it holds data that would be lost.
    RunOnce,
    /// A run under way is interrupted.
    Interrupt,
}

/// Returns all background tasks of the core.
pub fn tasks(app: &Arc<App>) -> Vec<Task> {
    use AtShutdown::{Interrupt, RunOnce};
    let mut tasks = vec![
        task(FLUSH, RunOnce, "cannot write buffered audit events", app, |app| async move {
            app.audit_buffer.flush().await
        }),
        task(
            FLUSH,
            RunOnce,
            "cannot deliver messages of the outbox, such as revocations",
            app,
            |app| async move { app.outbox_relay.relay().await },
        ),
        task(FLUSH, RunOnce, "cannot publish monthly usage", app, |app| async move {
            app.usage_publisher.publish().await
        }),
        task(PURGE, Interrupt, "cannot remove expired rows", app, |app| async move {
            app.retention.purge().await
        }),
    ];
    if let Some(monitoring) = &app.monitoring {
        tasks.push(task(CHECK, Interrupt, "cannot check the stores", monitoring, |monitoring| async move {
            monitoring.report_health().await;
            Ok(())
        }));
        let failure = "cannot count agents and credentials for the metrics";
        tasks.push(task(COUNT, Interrupt, failure, monitoring, |monitoring| async move {
            monitoring.report_inventory().await
        }));
    }
    tasks
}

fn task<T, F>(
    every: Duration,
    at_shutdown: AtShutdown,
    failure: &'static str,
    state: &T,
    run: fn(T) -> F,
) -> Task
where
    T: Clone + Send + Sync + 'static,
    F: Future<Output = Result<(), StoreError>> + Send + 'static,
{
    let state = state.clone();
    Task { every, at_shutdown, failure, run: Box::new(move || Box::pin(run(state.clone()))) }
}

impl Task {
    /// Runs the task once.
    ///
    /// Returns a [`StoreError`] if a store failed; the next run continues.
    pub async fn run(&self) -> Result<(), StoreError> {
        (self.run)().await
    }
}
