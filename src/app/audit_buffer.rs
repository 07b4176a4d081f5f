//! Buffers high-volume audit events (introspections, failed logins) and aggregates them per minute.
//!
//! Aggregation keeps them from flooding the audit log and from delaying `token.issued`:
//!
//! * `token.introspected` is one event per caller, subject and minute, with a `count`;
//! * `auth.failed` is the first five events per network address, claimed client and minute in full, then one more
//!   event for the rest, with a `count`;
//! * `token.refused` is the same per client and minute, whatever its address.
//!
//! Each instance counts on its own and writes to the store every second. The store adds up all instances, and a
//! tally becomes an event when its minute is over. The buffer is bounded. Each organization has a share of it, and
//! unknown clients together have one. Events beyond a share are folded into summary tallies, so that one tenant's
//! events never displace another's. Events that still do not fit are dropped and counted in
//! `agentidp_audit_dropped_total`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::audit_key::Key;
use super::metrics::dropped_events;
use domain::audit::{AuditEvent, MAX_SAMPLES, Metadata, Origin, Resource, Tally};
use domain::id::{AgentId, EventId, OrganizationId};
use domain::rate::network_of;
use domain::time::Timestamp;
use ports::audit_log::AuditLog;
use ports::clock::Clock;
use ports::ids::Ids;
use ports::store_error::StoreError;

/// Maximum number of buffered events to be written in full.
const MAX_SAMPLES_WAITING: usize = 10_000;
/// Maximum number of open tallies of each kind; further events are folded.
const MAX_TALLIES: usize = 10_000;
/// Maximum number of tallies of one organization, or of all unknown clients, per minute and kind.
const MAX_OF_ONE: usize = 1_000;
/// Maximum number of addresses counted separately for failures that claim the same client.
const MAX_OF_CLIENT: usize = 100;
/// Maximum number of tallies written at once.
const MAX_BATCH: usize = 500;
/// Seconds for which tallies stay open after their minute, for instances that have not written yet.
const GRACE_SECONDS: i64 = 2;

/// Buffers audit events that are too frequent for one row per request.
pub struct AuditBuffer {
    log: Arc<dyn AuditLog>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    state: Mutex<State>,
    /// Held during a flush, so that nothing is written twice.
    flushing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    /// Separate from `failures`, as are `refusals`, so that unauthenticated callers cannot crowd them out.
    introspections: HashMap<Key, RunningTally>,
    failures: HashMap<Key, RunningTally>,
    refusals: HashMap<Key, RunningTally>,
    /// Number of events that wait to be written in full.
    waiting: usize,
    /// Number of tallies opened in `minute`, by organization and, for failures, also by claimed client.
    shares: HashMap<Share, usize>,
    /// Minute that `shares` applies to.
    minute: Option<Timestamp>,
}

/// Holder of a share of the tallies of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Share {
    Introspections(Option<OrganizationId>),
    Failures(Option<OrganizationId>),
    FailuresOf(Uuid),
    Refusals(Option<OrganizationId>),
}

impl State {
    /// Takes a place in each share, or in none if one of them is full.
    ///
    /// Returns whether the places were taken.
    fn enter(&mut self, shares: &[(Share, usize)]) -> bool {
        let has_place =
            |(share, most): &(Share, usize)| self.shares.get(share).is_none_or(|taken| taken < most);
        let may_enter = shares.iter().all(has_place);
        if may_enter {
            for (share, _) in shares {
                *self.shares.entry(*share).or_default() += 1;
            }
        }
        may_enter
    }
}

/// Returns the event that represents many: without actor and address, with `folded` in its metadata.
fn folded(event: &AuditEvent, resource: Option<Resource>) -> AuditEvent {
    let origin = Origin::NONE;
    let metadata = Metadata::default().with("folded", true);
    AuditEvent { actor: None, resource, origin, metadata, ..event.clone() }
}

/// A tally, and the part of it that has not been written.
struct RunningTally {
    event: AuditEvent,
    count: u64,
    samples: Vec<AuditEvent>,
    /// Number of events selected to be written in full, already written or not.
    sampled: usize,
}

impl RunningTally {
    /// Creates the tally of events that are like this one but for the traces of their requests.
    const fn new(mut event: AuditEvent) -> Self {
        event.origin.trace = None;
        Self { event, count: 0, samples: Vec::new(), sampled: 0 }
    }

    /// Keeps an event to be written in full, or counts it.
    ///
    /// The event is kept if it is one of the first few and there is room. Returns how many more events wait to be
    /// written.
    fn sample(&mut self, event: AuditEvent, has_room: bool) -> usize {
        if self.sampled < MAX_SAMPLES && has_room {
            self.sampled += 1;
            self.samples.push(event);
            return 1;
        }
        self.count += 1;
        0
    }

    /// Takes the unwritten counts and events; `None` if nothing is unwritten.
    ///
    /// Uses a new event ID each time, because the stored tally may have been settled already, and this would then
    /// open a new one.
    fn pending(&mut self, key: &Key, ids: &dyn Ids) -> Option<Tally> {
        if self.count == 0 && self.samples.is_empty() {
            return None;
        }
        let mut event = self.event.clone();
        event.id = EventId(ids.next());
        Some(Tally {
            key: key.text(),
            minute: key.minute(),
            event,
            samples: std::mem::take(&mut self.samples),
            count: std::mem::take(&mut self.count),
        })
    }
}

impl AuditBuffer {
    pub(super) fn new(log: Arc<dyn AuditLog>, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Self {
        Self { log, clock, ids, state: Mutex::default(), flushing: tokio::sync::Mutex::default() }
    }

    /// Counts an introspection of a token of `subject` by `caller`.
    ///
    /// `event` is called only if these two have no open tally of this minute.
    pub(super) fn introspected(
        &self,
        caller: AgentId,
        subject: AgentId,
        at: Timestamp,
        event: impl FnOnce() -> AuditEvent,
    ) {
        let key = Key::Introspected { minute: at.to_the_minute(), caller, subject };
        let mut state = self.lock();
        let state = &mut *state;
        if let Some(tally) = state.introspections.get_mut(&key) {
            tally.count += 1;
            return;
        }
        let event = event();
        let organization = event.organization;
        let has_room = state.introspections.len() < MAX_TALLIES;
        let (key, event) = if has_room && state.enter(&[(Share::Introspections(organization), MAX_OF_ONE)]) {
            (key, event)
        } else {
            (Key::IntrospectedBeyond { minute: key.minute(), organization }, folded(&event, None))
        };
        add(&mut state.introspections, key, event, |tally| tally.count += 1);
    }

    /// Records a failed authentication.
    pub(super) fn failed(&self, event: AuditEvent) {
        let key = Key::Failed {
            minute: event.at.to_the_minute(),
            network: event.origin.address.map(network_of),
            claimed: event.resource.map(|resource| resource.id),
        };
        let mut state = self.lock();
        let state = &mut *state;
        let Some(tally) = state.failures.get_mut(&key) else {
            let organization = event.organization;
            let claimed = event.resource.map(|resource| resource.id);
            let mut shares = vec![(Share::Failures(organization), MAX_OF_ONE)];
            shares.extend(claimed.map(|claimed| (Share::FailuresOf(claimed), MAX_OF_CLIENT)));
            if state.failures.len() < MAX_TALLIES && state.enter(&shares) {
                let mut tally = RunningTally::new(event.clone());
                state.waiting += tally.sample(event, state.waiting < MAX_SAMPLES_WAITING);
                state.failures.insert(key, tally);
                return;
            }
            // Beyond its share, each client has one tally while its organization has room; then all share one tally
            // of the organization.
            let minute = key.minute();
            let resource = event.resource;
            let of_client = Key::FailedBeyond { minute, organization, claimed };
            let is_room = state.failures.contains_key(&of_client)
                || state.failures.len() < MAX_TALLIES && state.enter(&shares[..1]);
            let (key, resource) = match is_room {
                true => (of_client, resource),
                false => (Key::FailedBeyond { minute, organization, claimed: None }, None),
            };
            add(&mut state.failures, key, folded(&event, resource), |tally| tally.count += 1);
            return;
        };
        state.waiting += tally.sample(event, state.waiting < MAX_SAMPLES_WAITING);
    }

    /// Records a refused exchange of this client.
    pub(super) fn refused(&self, client: AgentId, event: AuditEvent) {
        let (minute, organization) = (event.at.to_the_minute(), event.organization);
        let key = Key::Refused { minute, client };
        let mut state = self.lock();
        let state = &mut *state;
        let has_place = state.refusals.contains_key(&key)
            || state.refusals.len() < MAX_TALLIES
                && state.enter(&[(Share::Refusals(organization), MAX_OF_ONE)]);
        if !has_place {
            let beyond = Key::RefusedBeyond { minute, organization };
            add(&mut state.refusals, beyond, folded(&event, None), |tally| tally.count += 1);
            return;
        }
        let has_room = state.waiting < MAX_SAMPLES_WAITING;
        let tally = state.refusals.entry(key).or_insert_with(|| RunningTally::new(event.clone()));
        state.waiting += tally.sample(event, has_room);
    }

    /// Writes buffered events, and settles the tallies of past minutes.
    ///
    /// If the store is unavailable, events stay in the buffer. After any other error the failed batch is dropped and
    /// counted in `agentidp_audit_dropped_total`.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.write().await?;
        self.settle(self.clock.now().plus_seconds(-GRACE_SECONDS).to_the_minute()).await
    }

    /// Settles the tallies of minutes before `end`: each that has counted events becomes one event.
    pub async fn settle(&self, end: Timestamp) -> Result<(), StoreError> {
        self.log.settle(end).await
    }

    async fn write(&self) -> Result<(), StoreError> {
        let _one_at_a_time = self.flushing.lock().await;
        let mut pending = self.take_pending();
        while !pending.is_empty() {
            let rest = pending.split_off(pending.len().min(MAX_BATCH));
            let tallies: Vec<Tally> = pending.iter().map(|(_, tally)| tally.clone()).collect();
            let outcome = self.log.tally(&tallies).await;
            match &outcome {
                Ok(()) => {}
                Err(StoreError::Unavailable { .. }) => self.put_back(pending),
                // The batch may have been written, or can never be: a retry would count it twice, or fail every
                // time.
                Err(_) => dropped(pending.iter().map(|(_, tally)| events_of(tally)).sum()),
            }
            if outcome.is_err() {
                self.put_back(rest);
                return outcome;
            }
            pending = rest;
        }
        Ok(())
    }

    /// Takes everything unwritten, and removes the tallies of past minutes from the buffer.
    fn take_pending(&self) -> Vec<(Key, Tally)> {
        let minute = self.clock.now().to_the_minute();
        let mut state = self.lock();
        let state = &mut *state;
        let mut pending = Vec::new();
        for tally in [&mut state.introspections, &mut state.failures, &mut state.refusals] {
            pending.extend(
                tally.iter_mut().filter_map(|(key, one)| Some((*key, one.pending(key, &*self.ids)?))),
            );
            tally.retain(|key, _| key.minute() >= minute);
        }
        if state.minute != Some(minute) {
            state.minute = Some(minute);
            state.shares.clear();
        }
        state.waiting = 0;
        pending
    }

    fn put_back(&self, pending: Vec<(Key, Tally)>) {
        let mut state = self.lock();
        let state = &mut *state;
        for (key, tally) in pending {
            let tallies = match key {
                Key::Introspected { .. } | Key::IntrospectedBeyond { .. } => &mut state.introspections,
                Key::Failed { .. } | Key::FailedBeyond { .. } => &mut state.failures,
                Key::Refused { .. } | Key::RefusedBeyond { .. } => &mut state.refusals,
            };
            if tallies.len() >= 2 * MAX_TALLIES && !tallies.contains_key(&key) {
                dropped(events_of(&tally));
                continue;
            }
            let running = tallies.entry(key).or_insert_with(|| RunningTally::new(tally.event));
            state.waiting += tally.samples.len();
            running.count += tally.count;
            running.sampled = running.sampled.max(tally.samples.len());
            running.samples.extend(tally.samples);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds to the tally with this key, opening it with this event if missing.
fn add(
    tallies: &mut HashMap<Key, RunningTally>,
    key: Key,
    event: AuditEvent,
    count: impl FnOnce(&mut RunningTally),
) {
    // Folded tallies are few, but the shares do not bound their number.
    if tallies.len() >= 2 * MAX_TALLIES && !tallies.contains_key(&key) {
        dropped(1);
        return;
    }
    count(tallies.entry(key).or_insert_with(|| RunningTally::new(event)));
}

/// Returns the number of events that a tally represents.
fn events_of(tally: &Tally) -> u64 {
    tally.count + tally.samples.len() as u64
}

fn dropped(events: u64) {
    dropped_events().increment(events);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use async_trait::async_trait;
    use metrics_exporter_prometheus::PrometheusBuilder;

    use domain::id::TokenId;

    use super::*;
    use domain::audit::{AuditAction, AuditEvent, Metadata, Origin, Outcome};
    use domain::id::EventId;
    use domain::tenancy::Tenancy;
    use ports::audit_log::AuditQuery;

    /// Accepts `answers` writes, then fails as unavailable or, if `is_in_doubt`, without saying whether it wrote.
    struct Log {
        answers: AtomicUsize,
        is_in_doubt: AtomicBool,
        written: Mutex<Vec<Tally>>,
    }

    impl Log {
        fn answers(&self, times: usize) {
            self.answers.store(times, Ordering::SeqCst);
        }
    }

    #[async_trait]
    impl AuditLog for Log {
        async fn tally(&self, tallies: &[Tally]) -> Result<(), StoreError> {
            let one_less = |times: usize| times.checked_sub(1);
            if self.answers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_err() {
                let (store, source) = ("log", "away".into());
                let is_in_doubt = self.is_in_doubt.load(Ordering::SeqCst);
                return Err(match is_in_doubt {
                    true => StoreError::InDoubt { store, source },
                    false => StoreError::Unavailable { store, source },
                });
            }
            self.written.lock().expect("no panic").extend_from_slice(tallies);
            Ok(())
        }

        async fn settle(&self, end: Timestamp) -> Result<(), StoreError> {
            assert_eq!(end.as_millis(), -60_000, "the minute that ended just now is not settled yet");
            Ok(())
        }

        async fn list(&self, _: &AuditQuery) -> Result<Vec<Arc<AuditEvent>>, StoreError> {
            Ok(Vec::new())
        }

        async fn exchanged_from(
            &self,
            _: OrganizationId,
            _: TokenId,
            _: Timestamp,
            _: u32,
        ) -> Result<Vec<Arc<AuditEvent>>, StoreError> {
            Ok(Vec::new())
        }

        async fn find(
            &self,
            _: Tenancy,
            _: EventId,
            _: Timestamp,
        ) -> Result<Option<Arc<AuditEvent>>, StoreError> {
            Ok(None)
        }
    }

    struct NoNewIds;

    impl Ids for NoNewIds {
        fn next(&self) -> Uuid {
            Uuid::nil()
        }
    }

    struct Noon;

    impl Clock for Noon {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(0)
        }
    }

    fn failure(address: [u8; 4]) -> AuditEvent {
        AuditEvent {
            organization: None,
            id: EventId(Uuid::from_u128(u128::from(u32::from_be_bytes(address)))),
            actor: None,
            action: AuditAction::AuthFailed,
            outcome: Outcome::Failure,
            resource: None,
            origin: Origin { address: Some(address.into()), user_agent: None, trace: None },
            metadata: Metadata::default(),
            at: Timestamp::from_millis(0),
        }
    }

    /// Returns the event as one of an organization and of one of its clients.
    fn of(organization: u128, event: AuditEvent) -> AuditEvent {
        let resource = Some(AgentId(Uuid::from_u128(organization)).into());
        let organization = Some(OrganizationId(Uuid::from_u128(organization)));
        AuditEvent { organization, resource, ..event }
    }

    fn buffer() -> (Arc<Log>, AuditBuffer) {
        let log = Arc::new(Log {
            answers: AtomicUsize::new(usize::MAX),
            is_in_doubt: AtomicBool::new(false),
            written: Mutex::default(),
        });
        (log.clone(), AuditBuffer::new(log, Arc::new(Noon), Arc::new(NoNewIds)))
    }

    /// Returns how many events were written in full, and how many were counted.
    fn written(log: &Log) -> (usize, u64) {
        let written = log.written.lock().expect("no panic");
        (written.iter().map(|tally| tally.samples.len()).sum(), written.iter().map(|tally| tally.count).sum())
    }

    #[tokio::test]
    async fn what_cannot_be_told_waits_and_is_told_once() {
        let (log, buffer) = buffer();
        log.answers(0);
        for _ in 0..9 {
            buffer.failed(failure([192, 0, 2, 1]));
        }
        assert!(buffer.flush().await.is_err());
        buffer.failed(failure([192, 0, 2, 1]));
        assert!(buffer.flush().await.is_err());
        log.answers(usize::MAX);
        buffer.flush().await.expect("written");
        buffer.flush().await.expect("nothing is left");
        assert_eq!(written(&log), (5, 5), "five in full, and the rest counted");
    }

    #[tokio::test]
    async fn what_waits_of_a_minute_that_is_over_is_not_forgotten() {
        let (log, buffer) = buffer();
        let mut late = failure([192, 0, 2, 1]);
        late.at = Timestamp::from_millis(-1);
        log.answers(0);
        buffer.failed(late);
        assert!(buffer.flush().await.is_err());
        log.answers(usize::MAX);
        buffer.flush().await.expect("written");
        assert_eq!(written(&log), (1, 0));
    }

    #[tokio::test]
    async fn five_of_a_minute_are_told_in_full_however_often_it_is_told() {
        let (log, buffer) = buffer();
        for _ in 0..9 {
            buffer.failed(failure([192, 0, 2, 1]));
            buffer.flush().await.expect("written");
        }
        assert_eq!(written(&log), (5, 4));
    }

    #[tokio::test]
    async fn what_was_told_before_the_log_went_away_is_not_told_again() {
        let (log, buffer) = buffer();
        let many = 3 * MAX_BATCH + 1;
        for place in 0..many as u32 {
            buffer.failed(of(u128::from(place), failure(place.to_be_bytes())));
        }
        log.answers(1);
        assert!(buffer.flush().await.is_err());
        assert_eq!(written(&log).0, MAX_BATCH);
        log.answers(usize::MAX);
        buffer.flush().await.expect("written");
        assert_eq!(written(&log), (many, 0));
    }

    fn bounds(buffer: &AuditBuffer) -> (usize, usize) {
        let state = buffer.lock();
        (state.failures.len(), state.waiting)
    }

    #[tokio::test]
    async fn a_flood_from_everywhere_stays_within_its_bound() {
        let (log, buffer) = buffer();
        let flood = |buffer: &AuditBuffer| {
            for place in 0..3 * MAX_TALLIES as u32 {
                for _ in 0..2 {
                    buffer.failed(of(u128::from(place) / 100, failure(place.to_be_bytes())));
                }
            }
        };
        flood(&buffer);
        let (tallies, waiting) = bounds(&buffer);
        assert!(tallies <= 2 * MAX_TALLIES && waiting == MAX_SAMPLES_WAITING, "{tallies} {waiting}");
        log.answers(0);
        assert!(buffer.flush().await.is_err());
        flood(&buffer);
        assert!(buffer.flush().await.is_err());
        assert_eq!(bounds(&buffer), (tallies, waiting));
    }

    #[tokio::test]
    async fn failures_that_claim_one_client_from_everywhere_are_folded_and_push_nothing_out() {
        let (log, buffer) = buffer();
        for place in 0..4 * MAX_TALLIES as u32 {
            buffer.failed(of(1, failure(place.to_be_bytes())));
            buffer.failed(failure(place.to_be_bytes()));
        }
        buffer.failed(of(2, failure([192, 0, 2, 1])));
        buffer.flush().await.expect("written");
        let written = log.written.lock().expect("no panic");
        let count_of = |organization: Option<u128>| {
            let organization = organization.map(|id| OrganizationId(Uuid::from_u128(id)));
            let own = written.iter().filter(|tally| tally.event.organization == organization);
            own.fold((0, 0), |(tallies, events), tally| (tallies + 1, events + events_of(tally)))
        };
        assert_eq!(count_of(Some(1)), (MAX_OF_CLIENT + 1, 4 * MAX_TALLIES as u64), "each is counted");
        assert_eq!(count_of(None), (MAX_OF_ONE + 1, 4 * MAX_TALLIES as u64));
        assert_eq!(count_of(Some(2)), (1, 1), "another tenant's is there, in full");
        let folded = written.iter().find(|tally| tally.event.metadata.as_map().contains_key("folded"));
        assert_eq!(folded.expect("one").event.origin.address, None);
    }

    #[tokio::test]
    async fn introspections_of_one_organization_beyond_its_share_are_folded_and_push_nothing_out() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let _guard = metrics::set_default_local_recorder(&recorder);
        let (log, buffer) = buffer();
        let caller = AgentId(Uuid::nil());
        // More organizations than could fill all tallies together, each beyond its share.
        for organization in 1..=12 {
            for subject in 0..MAX_OF_ONE as u128 + 100 {
                let subject = AgentId(Uuid::from_u128(organization * 10_000 + subject));
                let event = || of(organization, failure([192, 0, 2, 1]));
                buffer.introspected(caller, subject, Timestamp::from_millis(0), event);
            }
        }
        buffer.introspected(caller, caller, Timestamp::from_millis(0), || of(99, failure([192, 0, 2, 1])));
        buffer.flush().await.expect("written");
        let events_of_all = 12 * (MAX_OF_ONE as u64 + 100) + 1;
        assert_eq!(
            written(&log),
            (0, events_of_all),
            "each is counted, in a tally of its own or in its organization's"
        );
        let written = log.written.lock().expect("no panic");
        let last = OrganizationId(Uuid::from_u128(99));
        assert!(written.iter().any(|tally| tally.event.organization == Some(last)));
        let metrics = recorder.handle().render();
        assert!(!metrics.contains("agentidp_audit_dropped_total"), "{metrics}");
    }

    #[tokio::test]
    async fn what_may_have_been_told_is_dropped_and_each_event_of_it_counted() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let _guard = metrics::set_default_local_recorder(&recorder);
        let (log, buffer) = buffer();
        log.answers(0);
        log.is_in_doubt.store(true, Ordering::SeqCst);
        for _ in 0..9 {
            buffer.failed(failure([192, 0, 2, 1]));
        }
        assert!(buffer.flush().await.is_err());
        log.answers(usize::MAX);
        buffer.flush().await.expect("nothing is left");
        assert_eq!(written(&log), (0, 0));
        let metrics = recorder.handle().render();
        assert!(metrics.contains("agentidp_audit_dropped_total 9\n"), "{metrics}");
    }
}
