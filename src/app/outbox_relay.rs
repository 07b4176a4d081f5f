//! Delivers the messages of the transactional outbox to their sinks.

use std::sync::Arc;

use futures_util::future::join_all;

use super::ports::Ports;
use super::revocation_sink::RevocationSink;
use ports::message_sink::MessageSink;
use ports::outbox::Outbox;
use ports::store_error::StoreError;

/// Maximum number of messages delivered at once.
const BATCH: u32 = 200;

/// Delivers the messages of the outbox. A message without a sink stays until it expires.
#[derive(Clone)]
pub struct OutboxRelay {
    outbox: Arc<dyn Outbox>,
    sinks: Vec<Arc<dyn MessageSink>>,
}

impl OutboxRelay {
    /// Creates the relay with its sinks: one line each.
    pub(super) fn new(ports: &Ports) -> Self {
        let cache = ports.stores.revocation_cache.clone();
        let sinks = [cache.map(|cache| Arc::new(RevocationSink(cache)) as Arc<dyn MessageSink>)];
        Self { outbox: ports.stores.outbox.clone(), sinks: sinks.into_iter().flatten().collect() }
    }

    /// Delivers pending messages, then removes them (at least once; delivery is idempotent).
    ///
    /// A sink that fails delays no other. The first error is returned after all sinks had their turn.
    pub async fn relay(&self) -> Result<(), StoreError> {
        let outcomes = join_all(self.sinks.iter().map(|sink| self.relay_to(&**sink))).await;
        outcomes.into_iter().collect()
    }

    /// Delivers the messages of one sink.
    ///
    /// A message that the sink refuses stays in the outbox, and the others of its batch are still delivered. The
    /// error is returned after such a batch.
    async fn relay_to(&self, sink: &dyn MessageSink) -> Result<(), StoreError> {
        loop {
            let pending = self.outbox.pending(sink.topic(), BATCH).await?;
            let outcomes = join_all(pending.iter().map(|pending| sink.deliver(&pending.message))).await;
            let delivered: Vec<_> = std::iter::zip(&pending, &outcomes)
                .filter(|(_, outcome)| outcome.is_ok())
                .map(|(pending, _)| pending.sequence)
                .collect();
            if !delivered.is_empty() {
                self.outbox.remove(&delivered).await?;
            }
            outcomes.into_iter().collect::<Result<(), _>>()?;
            if pending.len() < BATCH as usize {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use uuid::Uuid;

    use super::*;
    use domain::id::{AgentId, TokenId};
    use domain::time::Timestamp;
    use domain::token::{Claims, RevocationNotice, RevocationTarget};
    use ports::outbox::{Message, Pending, Sequence, Topic};
    use ports::revocation_cache::RevocationCache;

    struct Entries(Mutex<Vec<Pending>>);

    #[async_trait]
    impl Outbox for Entries {
        async fn pending(&self, _: Topic, limit: u32) -> Result<Vec<Pending>, StoreError> {
            Ok(self.0.lock().expect("no panic").iter().take(limit as usize).cloned().collect())
        }

        async fn remove(&self, sequences: &[Sequence]) -> Result<(), StoreError> {
            self.0.lock().expect("no panic").retain(|pending| !sequences.contains(&pending.sequence));
            Ok(())
        }
    }

    /// Accepts revocations of single tokens only.
    #[derive(Default)]
    struct Cache(Mutex<Vec<Message>>);

    #[async_trait]
    impl RevocationCache for Cache {
        async fn publish(&self, notice: &RevocationNotice) -> Result<(), StoreError> {
            match notice.target {
                RevocationTarget::Token(_) => {
                    self.0.lock().expect("no panic").push(Message::Revocation(*notice));
                    Ok(())
                }
                _ => Err(StoreError::Unavailable { store: "cache", source: "wrong type".into() }),
            }
        }

        async fn is_revoked(&self, _: &Claims) -> Result<bool, StoreError> {
            Ok(false)
        }
    }

    fn notice(place: i64) -> Pending {
        let target = match place {
            0 => RevocationTarget::Agent(AgentId(Uuid::nil()), 1),
            _ => RevocationTarget::Token(TokenId(Uuid::from_u64_pair(0, place.unsigned_abs()))),
        };
        let notice = RevocationNotice { target, until: Timestamp::from_millis(0) };
        Pending { sequence: Sequence(place), message: Message::Revocation(notice) }
    }

    #[tokio::test]
    async fn all_that_is_pending_is_told_and_then_it_is_over() {
        for many in [0, 1, BATCH, 2 * BATCH + 1].map(i64::from) {
            let outbox = Arc::new(Entries(Mutex::new((1..=many).map(notice).collect())));
            let cache = Arc::new(Cache::default());
            let relay =
                OutboxRelay { outbox: outbox.clone(), sinks: vec![Arc::new(RevocationSink(cache.clone()))] };
            relay.relay().await.expect("published");
            assert_eq!(outbox.pending(Topic::Revocations, 1).await.expect("an answer"), []);
            assert_eq!(cache.0.lock().expect("no panic").len() as i64, many);
        }
    }

    #[tokio::test]
    async fn a_notice_that_the_board_refuses_stays_and_the_others_are_told() {
        let many = i64::from(BATCH) + 5;
        let outbox = Arc::new(Entries(Mutex::new((0..many).map(notice).collect())));
        let cache = Arc::new(Cache::default());
        let relay =
            OutboxRelay { outbox: outbox.clone(), sinks: vec![Arc::new(RevocationSink(cache.clone()))] };
        for _ in 0..2 {
            relay.relay().await.expect_err("one is refused");
        }
        assert_eq!(outbox.pending(Topic::Revocations, BATCH).await.expect("an answer"), [notice(0)]);
        let published: Vec<_> = (1..many).map(|place| notice(place).message).collect();
        assert_eq!(*cache.0.lock().expect("no panic"), published);
    }

    /// An outbox that gives every sink the same messages.
    struct Kept(Vec<Pending>);

    #[async_trait]
    impl Outbox for Kept {
        async fn pending(&self, _: Topic, _: u32) -> Result<Vec<Pending>, StoreError> {
            Ok(self.0.clone())
        }

        async fn remove(&self, _: &[Sequence]) -> Result<(), StoreError> {
            Ok(())
        }
    }

    /// Refuses everything.
    struct Down;

    #[async_trait]
    impl MessageSink for Down {
        fn topic(&self) -> Topic {
            Topic::Revocations
        }

        async fn deliver(&self, _: &Message) -> Result<(), StoreError> {
            Err(StoreError::Unavailable { store: "sink", source: "down".into() })
        }
    }

    #[tokio::test]
    async fn a_sink_that_fails_delays_no_other() {
        for is_first in [true, false] {
            let outbox = Arc::new(Kept((1..=3).map(notice).collect()));
            let cache = Arc::new(Cache::default());
            let mut sinks: Vec<Arc<dyn MessageSink>> =
                vec![Arc::new(Down), Arc::new(RevocationSink(cache.clone()))];
            if !is_first {
                sinks.reverse();
            }
            let relay = OutboxRelay { outbox, sinks };
            relay.relay().await.expect_err("one is down");
            assert_eq!(cache.0.lock().expect("no panic").len(), 3);
        }
    }
}
