//! The port, composed of cache and requests.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::id::OrganizationId;
use domain::issuer::{IssuerUrl, KeySource, MAX_ISSUERS};
use domain::issuer_key::IssuerKey;
use metrics::{Counter, counter};
use ports::clock::Clock;
use ports::error_chain::error_chain;
use ports::issuer_keys::{IssuerKeys, KeysState, KeysStatus, KeysUnavailable};
use shares::Shares;
use tracing::{Instrument as _, debug_span};

use super::address::AllowedAddresses;
use super::cache::{Entry, KeyCache, Refresh, State};
use super::fetch::{FetchError, Fetcher, OTHER_ISSUER};
use super::resolver::{Resolver, SystemResolver};
use super::settings::{IssuerKeySettings, IssuerKeysError};
use super::source::Location;
use super::target::Target;

/// Time that an attempt may take, from looking up the host to the last byte, with both requests of discovery.
const ATTEMPT: Duration = Duration::from_secs(3);

/// The most attempts of one organization at a time: one for each of its issuers.
///
/// An attempt counts until its look-up has ended, which can be long after its time. Otherwise one organization could change
/// the URLs of its issuers to ever more names whose servers do not answer, until no other host can be looked up.
const MAX_ATTEMPTS: usize = MAX_ISSUERS as usize;

/// Fetches the keys of issuers, and caches them in this process.
///
/// Keys are cached by URL for the `max-age` of their `Cache-Control`, at least 60 seconds and at most an hour, and for 300
/// seconds without it. They are fetched again in the background from three quarters of that time on. If this fails, the
/// last keys are used for up to 24 hours after they were fetched. Of a host with several addresses, only those that are
/// allowed are connected to.
pub struct FetchedIssuerKeys {
    fetcher: Arc<Fetcher>,
    attempts: Shares,
    cache: KeyCache,
    clock: Arc<dyn Clock>,
}

impl FetchedIssuerKeys {
    /// Reads the trusted certificates. Nothing is fetched yet.
    ///
    /// Returns an error if the file of certificates cannot be used.
    pub fn new(settings: &IssuerKeySettings, clock: Arc<dyn Clock>) -> Result<Self, IssuerKeysError> {
        Self::with_resolver(settings, clock, Arc::new(SystemResolver::default()))
    }

    pub(crate) fn with_resolver(
        settings: &IssuerKeySettings,
        clock: Arc<dyn Clock>,
        resolver: Arc<dyn Resolver>,
    ) -> Result<Self, IssuerKeysError> {
        let allowed = AllowedAddresses::new(&settings.private_networks);
        let fetcher = Arc::new(Fetcher { allowed, resolver, tls: settings.tls()? });
        // Reported as 0 before the first fetch.
        [OK, FAILED].map(fetches).iter().for_each(|counter| counter.increment(0));
        Ok(Self { fetcher, attempts: Shares::of(MAX_ATTEMPTS), cache: KeyCache::new(), clock })
    }

    /// Begins an attempt if one is allowed, as a task, so that it goes on without the caller.
    fn begin(
        &self,
        OrganizationId(organization): OrganizationId,
        location: &Location,
        entry: &Arc<Entry>,
        state: &mut State,
    ) {
        // Another organization may need the same keys, and must not have to wait because this one has no place.
        let Some(place) = self.attempts.try_enter(organization).map(Arc::new) else { return };
        let Some(running) = state.begin(self.clock.now()) else { return };
        let (fetcher, cache, clock) = (self.fetcher.clone(), self.cache.clone(), self.clock.clone());
        let (location, entry) = (location.clone(), entry.clone());
        let span = debug_span!("fetch", otel.kind = "client");
        let attempt = async move {
            let result = tokio::time::timeout(ATTEMPT, location.fetch(&fetcher, &place)).await;
            let result = result.unwrap_or(Err(FetchError::TimeOut)).map_err(|error| {
                // The query of a URL may contain a secret.
                let url = location.url().split('?').next().unwrap_or_default();
                tracing::debug!(url, error = error_chain(&error), "the keys of an issuer cannot be fetched");
                error.sentence()
            });
            fetches(if result.is_ok() { OK } else { FAILED }).increment(1);
            entry.lock().record(clock.now(), result);
            cache.reweigh(location, entry);
            drop(running);
        };
        tokio::spawn(attempt.instrument(span));
    }
}

#[async_trait]
impl IssuerKeys for FetchedIssuerKeys {
    fn check_url(&self, url: &str) -> Result<(), &'static str> {
        Target::parse(url, &self.fetcher.allowed).map(drop)
    }

    async fn keys(
        &self,
        organization: OrganizationId,
        issuer: &IssuerUrl,
        source: &KeySource,
        wanted: Option<&str>,
    ) -> Result<Arc<[IssuerKey]>, KeysUnavailable> {
        let location = match Location::of(issuer, source) {
            Ok(location) => location,
            Err(pinned) => return Ok(pinned.clone()),
        };
        let entry = self.cache.get_or_insert(&location);
        let usable = |state: &State| {
            let keys = state.usable(self.clock.now());
            keys.and_then(|keys| keys.for_issuer(issuer, source)).cloned()
        };
        let (keys, awaited) = {
            let mut state = entry.lock();
            let keys = usable(&state);
            let refresh = state.refresh(self.clock.now(), keys.as_deref(), wanted);
            if refresh != Refresh::NotNeeded {
                self.begin(organization, &location, &entry, &mut state);
            }
            (keys, state.running().filter(|_| refresh == Refresh::Awaited))
        };
        let keys = match awaited {
            None => keys,
            Some(mut attempt) => {
                // Nothing is sent: the channel is closed when the attempt ends.
                let _ = attempt.changed().await;
                usable(&entry.lock())
            }
        };
        keys.ok_or_else(|| {
            let retry_after = entry.lock().seconds_to_next_attempt(self.clock.now());
            KeysUnavailable { retry_after }
        })
    }

    fn status(&self, issuer: &IssuerUrl, source: &KeySource) -> KeysStatus {
        let Ok(location) = Location::of(issuer, source) else {
            return KeysStatus { state: KeysState::Ok, checked_at: None, error: None };
        };
        let entry = self.cache.get(&location);
        let Some(entry) = entry else { return UNKNOWN };
        let state = entry.lock();
        let Some(outcome) = state.outcome() else { return UNKNOWN };
        let is_other = || state.last_keys().is_some_and(|keys| keys.for_issuer(issuer, source).is_none());
        let error = outcome.error.or_else(|| is_other().then_some(OTHER_ISSUER));
        let state = if error.is_some() { KeysState::Failing } else { KeysState::Ok };
        KeysStatus { state, checked_at: Some(outcome.at), error }
    }

    fn stale(&self) -> usize {
        self.cache.failing()
    }
}

const OK: &str = "ok";
const FAILED: &str = "failed";

/// Attempts to fetch keys, by their result.
fn fetches(result: &'static str) -> Counter {
    counter!("agentidp_issuer_fetches_total", "result" => result)
}

const UNKNOWN: KeysStatus = KeysStatus { state: KeysState::Unknown, checked_at: None, error: None };
