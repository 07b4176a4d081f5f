//! The side lane of the audit log: what reads and strangers leave behind, tallied so that they cannot flood
//! the record or delay `token.issued`.
//!
//! * `token.introspected` is one event a caller, subject and minute, with a `count`;
//! * `auth.failed` is the first five a minute a network address and claimed client in full, then one more event for
//!   the rest, with a `count`.
//!
//! A tally becomes an event when its minute is over. All of it is bounded; what does not fit is dropped and
//! counted in `agentidp_audit_dropped_total`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::audit::{AuditEvent, EventDraft};
use crate::domain::id::AgentId;
use crate::domain::rate::network_of;
use crate::domain::time::Timestamp;
use crate::ports::audit_log::AuditLog;
use crate::ports::clock::Clock;
use crate::ports::store_error::StoreError;

/// How many failures a minute are kept in full, an address and claimed client.
const FAILURES_IN_FULL: u64 = 5;
/// How many events may wait to be written, beside the tallies of a minute: at most twice as many.
const MAX_WAITING: usize = 10_000;
/// How many tallies of either kind may run in a minute.
const MAX_TALLIES: usize = 10_000;

/// Gathers what is not worth a row a request.
pub struct AuditLane {
    log: Arc<dyn AuditLog>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// One flush at a time, so that none is written twice.
    flushing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    /// Apart from the failures, so that strangers cannot crowd them out.
    introspections: HashMap<Key, Tally>,
    failures: HashMap<Key, Tally>,
    waiting: Vec<AuditEvent>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    Introspected { minute: Timestamp, caller: AgentId, subject: AgentId },
    Failed { minute: Timestamp, network: Option<IpAddr>, claimed: Option<uuid::Uuid> },
}

impl Key {
    const fn minute(&self) -> Timestamp {
        match self {
            Self::Introspected { minute, .. } | Self::Failed { minute, .. } => *minute,
        }
    }
}

struct Tally {
    /// The first event that is not written in full; it stands for all of them.
    event: Option<AuditEvent>,
    count: u64,
    in_full: u64,
}

impl Tally {
    /// The one event that stands for all that was counted; none where all were written in full.
    fn into_event(self) -> Option<AuditEvent> {
        let event = self.event?;
        let metadata = event.draft.metadata.with("count", self.count);
        Some(AuditEvent { draft: EventDraft { metadata, ..event.draft }, ..event })
    }
}

impl AuditLane {
    pub(super) fn new(log: Arc<dyn AuditLog>, clock: Arc<dyn Clock>) -> Self {
        Self { log, clock, state: Mutex::default(), flushing: tokio::sync::Mutex::default() }
    }

    /// Notes that `caller` introspected a token of `subject`; `event` writes the first of a minute.
    pub(super) fn introspected(
        &self,
        caller: AgentId,
        subject: AgentId,
        at: Timestamp,
        event: impl FnOnce() -> AuditEvent,
    ) {
        let key = Key::Introspected { minute: at.to_the_minute(), caller, subject };
        let mut state = self.lock();
        if let Some(tally) = state.introspections.get_mut(&key) {
            tally.count += 1;
        } else if state.introspections.len() < MAX_TALLIES {
            state.introspections.insert(key, Tally { event: Some(event()), count: 1, in_full: 0 });
        } else {
            dropped(1);
        }
    }

    /// Notes a failed authentication.
    pub(super) fn failed(&self, event: AuditEvent) {
        let draft = &event.draft;
        let key = Key::Failed {
            minute: draft.at.to_the_minute(),
            network: draft.origin.address.map(network_of),
            claimed: draft.resource.map(|resource| resource.id),
        };
        let mut state = self.lock();
        let room = state.failures.len() < MAX_TALLIES;
        match state.failures.entry(key) {
            Entry::Occupied(mut tally) => {
                let tally = tally.get_mut();
                if tally.in_full >= FAILURES_IN_FULL {
                    tally.count += 1;
                    tally.event.get_or_insert(event);
                    return;
                }
                tally.in_full += 1;
            }
            Entry::Vacant(vacant) if room => {
                vacant.insert(Tally { event: None, count: 0, in_full: 1 });
            }
            Entry::Vacant(_) => {
                dropped(1);
                return;
            }
        }
        if state.waiting.len() < MAX_WAITING {
            state.waiting.push(event);
        } else {
            dropped(1);
        }
    }

    /// Writes what waits, and the tallies of minutes that are over. What cannot be written waits on.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.write(self.clock.now().to_the_minute()).await
    }

    /// Writes everything, for an orderly end.
    pub async fn flush_all(&self) -> Result<(), StoreError> {
        self.write(Timestamp::from_millis(i64::MAX)).await
    }

    /// Writes what waits and the tallies of minutes before `end`.
    async fn write(&self, end: Timestamp) -> Result<(), StoreError> {
        let _one_at_a_time = self.flushing.lock().await;
        let batch = {
            let mut state = self.lock();
            let state = &mut *state;
            for tallies in [&mut state.introspections, &mut state.failures] {
                let ended = tallies.extract_if(|key, _| key.minute() < end).map(|(_, tally)| tally);
                state.waiting.extend(ended.filter_map(Tally::into_event));
            }
            std::mem::take(&mut state.waiting)
        };
        if batch.is_empty() {
            return Ok(());
        }
        let outcome = self.log.append(&batch).await;
        if outcome.is_err() {
            let mut state = self.lock();
            let room = MAX_WAITING.saturating_sub(state.waiting.len());
            dropped(batch.len().saturating_sub(room));
            state.waiting.extend(batch.into_iter().take(room));
        }
        outcome
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn dropped(events: usize) {
    metrics::counter!("agentidp_audit_dropped_total").increment(events as u64);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;
    use uuid::Uuid;

    use super::*;
    use crate::domain::audit::{Action, Metadata, Origin, Outcome};
    use crate::domain::id::EventId;
    use crate::domain::tenancy::Tenancy;
    use crate::ports::audit_log::AuditQuery;

    /// Keeps what it is given, unless it is away.
    #[derive(Default)]
    struct Log {
        is_away: AtomicBool,
        events: Mutex<Vec<AuditEvent>>,
    }

    #[async_trait]
    impl AuditLog for Log {
        async fn append(&self, events: &[AuditEvent]) -> Result<(), StoreError> {
            if self.is_away.load(Ordering::SeqCst) {
                return Err(StoreError::Unavailable { store: "log", source: "away".into() });
            }
            self.events.lock().expect("no panic").extend_from_slice(events);
            Ok(())
        }

        async fn list(&self, _: &AuditQuery) -> Result<Vec<Arc<AuditEvent>>, StoreError> {
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

        async fn purge(&self, _: Timestamp) -> Result<u64, StoreError> {
            Ok(0)
        }
    }

    struct Noon;

    impl Clock for Noon {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(0)
        }
    }

    fn failure(address: [u8; 4]) -> AuditEvent {
        let draft = EventDraft {
            id: EventId(Uuid::from_u128(u128::from(u32::from_be_bytes(address)))),
            actor: None,
            action: Action::AuthFailed,
            outcome: Outcome::Failure,
            resource: None,
            origin: Origin { address: Some(address.into()), user_agent: None },
            metadata: Metadata::default(),
            at: Timestamp::from_millis(0),
        };
        AuditEvent { organization: None, draft }
    }

    fn lane() -> (Arc<Log>, AuditLane) {
        let log = Arc::new(Log::default());
        (log.clone(), AuditLane::new(log, Arc::new(Noon)))
    }

    fn written(log: &Log) -> usize {
        log.events.lock().expect("no panic").len()
    }

    #[tokio::test]
    async fn what_cannot_be_written_waits_and_is_written_once() {
        let (log, lane) = lane();
        log.is_away.store(true, Ordering::SeqCst);
        for _ in 0..9 {
            lane.failed(failure([192, 0, 2, 1]));
        }
        assert!(lane.flush().await.is_err() && lane.flush_all().await.is_err());
        log.is_away.store(false, Ordering::SeqCst);
        lane.flush_all().await.expect("written");
        lane.flush_all().await.expect("nothing is left");
        assert_eq!(written(&log), 6, "five in full, and the tally of the rest");
    }

    #[tokio::test]
    async fn a_tally_waits_until_its_minute_is_over() {
        let (log, lane) = lane();
        for _ in 0..9 {
            lane.failed(failure([192, 0, 2, 1]));
        }
        lane.flush().await.expect("written");
        assert_eq!(written(&log), 5, "those in full do not wait");
    }

    #[tokio::test]
    async fn a_flood_from_everywhere_stays_within_its_bound() {
        let (log, lane) = lane();
        for place in 0..3 * MAX_WAITING as u32 {
            lane.failed(failure(place.to_be_bytes()));
        }
        assert_eq!(lane.lock().failures.len(), MAX_TALLIES);
        log.is_away.store(true, Ordering::SeqCst);
        assert!(lane.flush_all().await.is_err());
        for place in 0..3 * MAX_WAITING as u32 {
            lane.failed(failure(place.to_be_bytes()));
        }
        assert!(lane.flush_all().await.is_err());
        assert_eq!(lane.lock().waiting.len(), MAX_WAITING);
    }
}
