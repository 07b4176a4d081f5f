//! What is done now and then: writing what waits, telling what must be told, removing what is past.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::stores::Stores;
use crate::adapters::http::lifecycle::Lifecycle;
use crate::app::{App, StoreError};

/// How often what waits is written and told.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// How often what is past its retention is removed.
const PURGE_EVERY: Duration = Duration::from_secs(3600);

/// Keeps house until the service ends.
pub(super) async fn keep(app: Arc<App>, stores: Stores, lifecycle: Arc<Lifecycle>) {
    let mut flush = interval(FLUSH_EVERY);
    let mut purge = interval(PURGE_EVERY);
    flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
    purge.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut chores = Chores::default();
    loop {
        tokio::select! {
            () = lifecycle.closed() => return,
            _ = flush.tick() => chores.flush(&app, &stores).await,
            _ = purge.tick() => match app.audit.purge().await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "removed audit events past their retention"),
                Err(error) => tracing::error!(%error, "old audit events could not be removed"),
            },
        }
    }
}

/// Writes and tells everything, for an orderly end.
pub(super) async fn finish(app: &App, stores: &Stores) {
    if let Err(error) = app.audit_lane.flush().await {
        tracing::error!(%error, "the last audit events could not be written");
    }
    Chores::default().tell(app, stores).await;
}

/// The chores of every second. One that fails is told of once, until it works again.
#[derive(Default)]
struct Chores {
    audit: Chore,
    notices: Chore,
    usage: Chore,
}

impl Chores {
    async fn flush(&mut self, app: &App, stores: &Stores) {
        self.audit.note("audit events wait to be written", app.audit_lane.flush().await);
        self.tell(app, stores).await;
    }

    async fn tell(&mut self, app: &App, stores: &Stores) {
        self.notices.note("notices of the dead wait to be told", app.notices.relay().await);
        if let Some(watchful) = &stores.watchful {
            self.usage.note("usage is not shown", watchful.show_usage().await);
        }
    }
}

#[derive(Default)]
struct Chore {
    fails: bool,
}

impl Chore {
    fn note(&mut self, what: &'static str, outcome: Result<(), StoreError>) {
        match outcome {
            Ok(()) => self.fails = false,
            Err(_) if self.fails => {}
            Err(error) => {
                self.fails = true;
                tracing::warn!(error = &error as &dyn std::error::Error, "{what}");
            }
        }
    }
}
