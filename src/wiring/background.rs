//! Background tasks: flush the audit buffer, relay revocations, publish usage, purge expired rows.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::stores::OpenStores;
use crate::adapters::http::shutdown::Shutdown;
use crate::app::{App, StoreError};

/// Interval at which buffered data is written and published.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// Interval at which expired rows are purged.
const PURGE_EVERY: Duration = Duration::from_secs(3600);

/// Spawns the background tasks, which run until the service shuts down.
///
/// Each task runs on its own, so that an unavailable store stops only the tasks that need it.
pub(super) fn spawn(app: &Arc<App>, stores: &OpenStores, shutdown: &Arc<Shutdown>) {
    for task in [Task::Audit, Task::RevocationRelay, Task::Usage, Task::Purge] {
        shutdown.tasks().spawn(task.repeat(app.clone(), stores.clone(), shutdown.clone()));
    }
}

/// Writes and publishes all buffered data, for an orderly shutdown.
pub(super) async fn finish(app: &App, stores: &OpenStores) {
    for task in [Task::Audit, Task::RevocationRelay, Task::Usage] {
        if let Err(error) = task.run(app, stores).await {
            tracing::error!(error = &error as &dyn Error, "{} during shutdown", task.failure());
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Task {
    Audit,
    RevocationRelay,
    Usage,
    Purge,
}

impl Task {
    /// Repeats the task until shutdown. A failure is logged once, until the task succeeds again.
    async fn repeat(self, app: Arc<App>, stores: OpenStores, shutdown: Arc<Shutdown>) {
        let mut pace = interval(if self == Self::Purge { PURGE_EVERY } else { FLUSH_EVERY });
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut fails = false;
        loop {
            tokio::select! {
                () = shutdown.closing() => return,
                _ = pace.tick() => {}
            }
            let outcome = tokio::select! {
                // A purge may take long and can be interrupted; the other tasks hold data that would be lost.
                () = shutdown.closing(), if self == Self::Purge => return,
                outcome = self.run(&app, &stores) => outcome,
            };
            if let (Err(error), false) = (&outcome, fails) {
                tracing::warn!(error = error as &dyn Error, "{}", self.failure());
            }
            fails = outcome.is_err();
        }
    }

    async fn run(self, app: &App, stores: &OpenStores) -> Result<(), StoreError> {
        match self {
            Self::Audit => app.audit_buffer.flush().await,
            Self::RevocationRelay => app.revocation_relay.relay().await,
            Self::Usage => match &stores.fallback {
                Some(fallback) => fallback.show_usage().await,
                None => Ok(()),
            },
            Self::Purge => {
                let removed = app.audit.purge().await?;
                if removed > 0 {
                    tracing::info!(removed, "removed audit events past their retention period");
                }
                Ok(())
            }
        }
    }

    /// Returns the log message for a failure of the task.
    const fn failure(self) -> &'static str {
        match self {
            Self::Audit => "cannot write buffered audit events",
            Self::RevocationRelay => "cannot relay revocations to Redis",
            Self::Usage => "cannot publish monthly usage to Redis",
            Self::Purge => "cannot remove expired rows",
        }
    }
}
