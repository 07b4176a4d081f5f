//! Relays revocations from the transactional outbox to the shared revocation cache.

use std::sync::Arc;

use futures_util::future::join_all;

use super::ports::Ports;
use ports::outbox::Outbox;
use ports::revocation_cache::RevocationCache;
use ports::store_error::StoreError;

/// Maximum number of notices published at once.
const BATCH: u32 = 200;

/// Publishes the notices of the outbox to the revocation cache.
#[derive(Clone)]
pub struct RevocationRelay {
    outbox: Arc<dyn Outbox>,
    /// Shared cache; if `None`, no notice is published.
    cache: Option<Arc<dyn RevocationCache>>,
}

impl RevocationRelay {
    pub(super) fn new(ports: &Ports) -> Self {
        Self { outbox: ports.stores.outbox.clone(), cache: ports.stores.revocation_cache.clone() }
    }

    /// Publishes pending notices, then deletes them (at least once; publishing is idempotent).
    ///
    /// A notice that the cache refuses stays in the outbox, and the others of its batch are still published. The
    /// error is returned after such a batch.
    pub async fn relay(&self) -> Result<(), StoreError> {
        let Some(cache) = &self.cache else { return Ok(()) };
        loop {
            let pending = self.outbox.pending(BATCH).await?;
            let outcomes = join_all(pending.iter().map(|pending| cache.publish(&pending.notice))).await;
            let published: Vec<_> = std::iter::zip(&pending, &outcomes)
                .filter(|(_, outcome)| outcome.is_ok())
                .map(|(pending, _)| pending.id)
                .collect();
            if !published.is_empty() {
                self.outbox.remove(&published).await?;
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
    use ports::outbox::{NoticeId, PendingNotice};

    struct Pending(Mutex<Vec<PendingNotice>>);

    #[async_trait]
    impl Outbox for Pending {
        async fn pending(&self, limit: u32) -> Result<Vec<PendingNotice>, StoreError> {
            Ok(self.0.lock().expect("no panic").iter().take(limit as usize).cloned().collect())
        }

        async fn remove(&self, ids: &[NoticeId]) -> Result<(), StoreError> {
            self.0.lock().expect("no panic").retain(|pending| !ids.contains(&pending.id));
            Ok(())
        }
    }

    /// Accepts revocations of single tokens only.
    #[derive(Default)]
    struct Cache(Mutex<Vec<RevocationNotice>>);

    #[async_trait]
    impl RevocationCache for Cache {
        async fn publish(&self, notice: &RevocationNotice) -> Result<(), StoreError> {
            match notice.target {
                RevocationTarget::Token(_) => {
                    self.0.lock().expect("no panic").push(*notice);
                    Ok(())
                }
                _ => Err(StoreError::Unavailable { store: "cache", source: "wrong type".into() }),
            }
        }

        async fn is_revoked(&self, _: &Claims) -> Result<bool, StoreError> {
            Ok(false)
        }
    }

    fn notice(place: i64) -> PendingNotice {
        let target = match place {
            0 => RevocationTarget::Agent(AgentId(Uuid::nil()), 1),
            _ => RevocationTarget::Token(TokenId(Uuid::from_u64_pair(0, place.unsigned_abs()))),
        };
        PendingNotice {
            id: NoticeId(place),
            notice: RevocationNotice { target, until: Timestamp::from_millis(0) },
        }
    }

    #[tokio::test]
    async fn all_that_is_pending_is_told_and_then_it_is_over() {
        for many in [0, 1, BATCH, 2 * BATCH + 1].map(i64::from) {
            let outbox = Arc::new(Pending(Mutex::new((1..=many).map(notice).collect())));
            let cache = Arc::new(Cache::default());
            let relay = RevocationRelay { outbox: outbox.clone(), cache: Some(cache.clone()) };
            relay.relay().await.expect("published");
            assert_eq!(outbox.pending(1).await.expect("an answer"), []);
            assert_eq!(cache.0.lock().expect("no panic").len() as i64, many);
        }
    }

    #[tokio::test]
    async fn a_notice_that_the_board_refuses_stays_and_the_others_are_told() {
        let many = i64::from(BATCH) + 5;
        let outbox = Arc::new(Pending(Mutex::new((0..many).map(notice).collect())));
        let cache = Arc::new(Cache::default());
        let relay = RevocationRelay { outbox: outbox.clone(), cache: Some(cache.clone()) };
        for _ in 0..2 {
            relay.relay().await.expect_err("one is refused");
        }
        assert_eq!(outbox.pending(BATCH).await.expect("an answer"), [notice(0)]);
        let published: Vec<_> = (1..many).map(|place| notice(place).notice).collect();
        assert_eq!(*cache.0.lock().expect("no panic"), published);
    }
}
