//! Spawns the background tasks, and runs them once more at shutdown.

use std::error::Error;
use std::sync::Arc;

use tokio::time::{MissedTickBehavior, interval};

use crate::app::App;
use crate::app::background::{AtShutdown, Task, tasks};
use crate::app::shutdown::Shutdown;

/// Spawns the background tasks, which run until the service shuts down.
///
/// Each task runs on its own, so that an unavailable store stops only the tasks that need it.
pub(super) fn spawn(app: &Arc<App>, shutdown: &Arc<Shutdown>) {
    for task in tasks(app) {
        shutdown.tasks().spawn(repeat(task, shutdown.clone()));
    }
}

/// Writes and publishes all buffered data, for an orderly shutdown.
pub(super) async fn finish(app: &Arc<App>) {
    for task in tasks(app).iter().filter(|task| task.at_shutdown == AtShutdown::RunOnce) {
        if let Err(error) = task.run().await {
            tracing::error!(error = &error as &dyn Error, "{} during shutdown", task.failure);
        }
    }
}

/// Repeats a task until shutdown. A failure is logged once, until the task succeeds again.
async fn repeat(task: Task, shutdown: Arc<Shutdown>) {
    let mut pace = interval(task.every);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut fails = false;
    loop {
        tokio::select! {
            () = shutdown.closing() => return,
            _ = pace.tick() => {}
        }
        let outcome = tokio::select! {
            () = shutdown.closing(), if task.at_shutdown == AtShutdown::Interrupt => return,
            outcome = task.run() => outcome,
        };
        if let (Err(error), false) = (&outcome, fails) {
            tracing::warn!(error = error as &dyn Error, "{}", task.failure);
        }
        fails = outcome.is_err();
    }
}
