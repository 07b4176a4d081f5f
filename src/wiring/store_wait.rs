//! Waiting for stores at startup.

use std::error::Error;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::start_error::StartError;
use crate::ports::store_error::StoreError;

/// Interval at which a store that is unavailable at start is retried.
const TRY_EVERY: Duration = Duration::from_millis(250);

/// Interval at which the log repeats which store the start is waiting for.
const LOG_EVERY: Duration = Duration::from_secs(5);

/// Retries `connect` until it succeeds, fails for good, or `wait` has elapsed.
pub(super) async fn wait_for<T, F>(
    wait: Duration,
    connect: impl Fn() -> F,
    is_permanent: impl Fn(&StoreError) -> bool,
) -> Result<T, StartError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let began = Instant::now();
    let mut logged: Option<Instant> = None;
    let mut pause = interval(TRY_EVERY);
    pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pause.tick().await;
        match connect().await {
            Ok(connected) => return Ok(connected),
            Err(error) if is_permanent(&error) || began.elapsed() >= wait => {
                return Err(StartError::Store(error));
            }
            Err(error) if logged.is_none_or(|logged| logged.elapsed() >= LOG_EVERY) => {
                logged = Some(Instant::now());
                let store = match &error {
                    StoreError::Unavailable { store, .. } => store,
                    _ => "the store",
                };
                tracing::info!(error = &error as &dyn Error, "waiting for {store}");
            }
            Err(_) => {}
        }
    }
}
