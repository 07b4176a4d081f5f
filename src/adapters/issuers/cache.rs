//! Keys by location, and when they are fetched again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::issuer_key::IssuerKey;
use domain::time::Timestamp;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::sync::watch;

use super::source::{FetchedKeys, Location};

/// Time between the beginnings of two attempts, in milliseconds.
pub(crate) const ATTEMPT_EVERY_MILLIS: i64 = 30_000;
/// Time for which keys are used while they cannot be fetched again, in milliseconds.
const USED_MILLIS: i64 = 24 * 3_600_000;
/// Time after which a location that no issuer uses any more is forgotten.
const UNUSED: Duration = Duration::from_secs(25 * 3_600);
/// The most memory for keys, in bytes. The locations that were not used for the longest time are forgotten first.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// About the bytes that a location takes without its URL and its keys.
const LOCATION_BYTES: usize = 512;

/// Locations in this process. Bounded in memory.
#[derive(Clone)]
pub(crate) struct KeyCache(Cache<Location, Arc<Entry>>);

impl KeyCache {
    pub(crate) fn new() -> Self {
        Self::bounded(MAX_BYTES)
    }

    fn bounded(bytes: u64) -> Self {
        let weigher = |location: &Location, entry: &Arc<Entry>| {
            let keys = entry.lock().keys.as_ref().map_or(0, |fetched| fetched.keys.bytes());
            u32::try_from(LOCATION_BYTES + location.url().len() + keys).unwrap_or(u32::MAX)
        };
        let cache = Cache::builder()
            .max_capacity(bytes)
            .weigher(weigher)
            // Another policy could refuse a new location instead, whose keys would then be fetched for every request.
            .eviction_policy(EvictionPolicy::lru())
            .time_to_idle(UNUSED)
            .build();
        Self(cache)
    }

    pub(crate) fn get(&self, location: &Location) -> Option<Arc<Entry>> {
        self.0.get(location)
    }

    pub(crate) fn get_or_insert(&self, location: &Location) -> Arc<Entry> {
        self.0.get_with_by_ref(location, Arc::default)
    }

    /// Returns how many locations could not be fetched at the last attempt.
    pub(crate) fn failing(&self) -> usize {
        let has_failed =
            |entry: &Entry| entry.lock().outcome().is_some_and(|outcome| outcome.error.is_some());
        self.0.iter().filter(|(_, entry)| has_failed(entry)).count()
    }

    /// Weighs a location again, after its keys were fetched.
    pub(crate) fn reweigh(&self, location: Location, entry: Arc<Entry>) {
        self.0.insert(location, entry);
    }
}

/// Keys of a location, and the attempts to fetch them.
#[derive(Default)]
pub(crate) struct Entry(Mutex<State>);

impl Entry {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, so the state is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// State of a location.
#[derive(Default)]
pub(crate) struct State {
    /// The last keys that could be fetched.
    keys: Option<Kept>,
    /// When the last attempt began.
    begun_at: Option<Timestamp>,
    /// How the last attempt ended.
    outcome: Option<Outcome>,
    /// Closed when the attempt ends. An attempt that panics closes it too.
    running: Option<watch::Receiver<()>>,
}

struct Kept {
    keys: FetchedKeys,
    fetched_at: Timestamp,
}

/// How an attempt ended.
#[derive(Clone, Copy)]
pub(crate) struct Outcome {
    pub(crate) at: Timestamp,
    /// Why it failed.
    pub(crate) error: Option<&'static str>,
}

/// Whether cached keys must be fetched again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refresh {
    /// They are fresh.
    NotNeeded,
    /// They may be used while they are fetched again.
    InBackground,
    /// The caller waits until they are fetched again.
    Awaited,
}

impl State {
    /// Returns the keys that may be used, fresh or not.
    pub(crate) fn usable(&self, now: Timestamp) -> Option<&FetchedKeys> {
        self.keys
            .as_ref()
            .filter(|kept| millis_between(kept.fetched_at, now) <= USED_MILLIS)
            .map(|kept| &kept.keys)
    }

    /// Returns whether keys must be fetched again for a caller who has these, and wants one with this ID.
    pub(crate) fn refresh(
        &self,
        now: Timestamp,
        keys: Option<&[IssuerKey]>,
        wanted: Option<&str>,
    ) -> Refresh {
        let has_wanted = |keys: &[IssuerKey]| {
            wanted.is_none_or(|wanted| keys.iter().any(|key| key.id.as_deref() == Some(wanted)))
        };
        let Some(kept) = self.keys.as_ref().filter(|_| keys.is_some_and(has_wanted)) else {
            return Refresh::Awaited;
        };
        let lifetime = i64::from(kept.keys.lifetime_seconds) * 1000;
        let age = millis_between(kept.fetched_at, now);
        // After a failure, no caller waits for a server that may stall again. A negative age means that the clock was
        // set back.
        let has_failed = self.outcome.is_some_and(|outcome| outcome.error.is_some());
        if (0..lifetime * 3 / 4).contains(&age) {
            Refresh::NotNeeded
        } else if has_failed || (0..lifetime).contains(&age) {
            Refresh::InBackground
        } else {
            Refresh::Awaited
        }
    }

    /// Returns the attempt that is running.
    pub(crate) fn running(&self) -> Option<watch::Receiver<()>> {
        // The channel is closed if the attempt has ended.
        self.running.clone().filter(|running| running.has_changed().is_ok())
    }

    /// Begins an attempt, unless one began less than 30 seconds ago or is running.
    ///
    /// The attempt ends when the sender is dropped.
    pub(crate) fn begin(&mut self, now: Timestamp) -> Option<watch::Sender<()>> {
        if self.running().is_some() || self.millis_to_next_attempt(now) > 0 {
            return None;
        }
        let (sender, receiver) = watch::channel(());
        self.begun_at = Some(now);
        self.running = Some(receiver);
        Some(sender)
    }

    /// Records how an attempt ended. After a failure the last keys stay.
    pub(crate) fn record(&mut self, at: Timestamp, result: Result<FetchedKeys, &'static str>) {
        self.outcome = Some(Outcome { at, error: result.as_ref().err().copied() });
        if let Ok(keys) = result {
            self.keys = Some(Kept { keys, fetched_at: at });
        }
    }

    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }

    /// Returns the keys of the last attempt that succeeded, however old.
    pub(crate) fn last_keys(&self) -> Option<&FetchedKeys> {
        self.keys.as_ref().map(|kept| &kept.keys)
    }

    /// Returns the seconds until the next attempt is allowed, at least 1.
    pub(crate) fn seconds_to_next_attempt(&self, now: Timestamp) -> u32 {
        let seconds = self.millis_to_next_attempt(now).unsigned_abs().div_ceil(1000);
        u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
    }

    fn millis_to_next_attempt(&self, now: Timestamp) -> i64 {
        let since = self.begun_at.map_or(i64::MAX, |begun_at| millis_between(begun_at, now));
        // A negative time means that the clock was set back, maybe by hours.
        if (0..ATTEMPT_EVERY_MILLIS).contains(&since) { ATTEMPT_EVERY_MILLIS - since } else { 0 }
    }
}

fn millis_between(from: Timestamp, to: Timestamp) -> i64 {
    to.as_millis().saturating_sub(from.as_millis())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fetched(count: usize) -> FetchedKeys {
        let key = json!({ "kty": "RSA", "n": "a".repeat(683), "e": "AQAB" });
        FetchedKeys::of(&json!({ "keys": vec![key; count] }), None, 60).expect("a set")
    }

    #[test]
    fn the_cache_is_bounded_and_forgets_the_locations_that_are_not_used() {
        const BYTES: u64 = 1024 * 1024;
        let cache = KeyCache::bounded(BYTES);
        let locations: Vec<_> =
            (0..50).map(|n| Location::Set(format!("https://{n}.example/").into())).collect();
        for location in &locations {
            let entry = cache.get_or_insert(location);
            entry.lock().record(Timestamp::from_millis(0), Ok(fetched(100)));
            cache.reweigh(location.clone(), entry);
            cache.0.run_pending_tasks();
            assert!(cache.0.weighted_size() <= BYTES);
            assert!(cache.get(&locations[0]).is_some(), "the location that is used is kept");
        }
        assert!(
            cache.get(&locations[1]).is_none(),
            "the location that was not used for the longest time is not"
        );
        assert!(cache.get(&locations[49]).is_some(), "the newest location is cached");
        assert!((5..20).contains(&cache.0.entry_count()), "{} locations", cache.0.entry_count());
        assert_eq!(KeyCache::new().0.policy().time_to_idle(), Some(UNUSED));
    }

    #[test]
    fn an_attempt_that_panics_is_over() {
        let mut state = State::default();
        let now = Timestamp::from_millis(0);
        let attempt = state.begin(now).expect("the first attempt");
        assert!(state.running().is_some() && state.begin(now.plus_seconds(60)).is_none());
        drop(attempt);
        assert!(state.running().is_none() && state.begin(now.plus_seconds(29)).is_none());
        assert!(state.begin(now.plus_seconds(30)).is_some());
    }
}
