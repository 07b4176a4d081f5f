//! What is done now and then: writing what waits, telling what must be told, removing what is past.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::stores::OpenStores;
use crate::adapters::http::shutdown::Shutdown;
use crate::app::{App, StoreError};

/// How often what waits is written and told.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// How often what is past its retention is removed.
const PURGE_EVERY: Duration = Duration::from_secs(3600);

/// Keeps house until the service ends, each task by itself: a store that is away stops only what needs it.
pub(super) fn spawn(app: &Arc<App>, stores: &OpenStores, shutdown: &Arc<Shutdown>) {
    for task in [Task::Audit, Task::RevocationRelay, Task::Usage, Task::Purge] {
        shutdown.tasks().spawn(task.repeat(app.clone(), stores.clone(), shutdown.clone()));
    }
}

/// Writes and tells everything, for an orderly end.
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
    /// Does the task again and again. A failure is told of once, until it works again.
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
                // A purge may take long, and may be cut; the others have something in hand.
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

    /// What it means that the task fails.
    const fn failure(self) -> &'static str {
        match self {
            Self::Audit => "cannot write buffered audit events",
            Self::RevocationRelay => "cannot relay revocations to Redis",
            Self::Usage => "cannot publish monthly usage to Redis",
            Self::Purge => "cannot remove expired rows",
        }
    }
}
