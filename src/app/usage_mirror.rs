//! Publishes monthly usage for operators.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::try_join_all;

use domain::id::AgentId;
use domain::time::Month;
use ports::store_error::StoreError;
use ports::usage_mirror::UsageMirror;
use ports::usage_store::UsageStore;

/// Maximum number of clients whose usage waits to be published. Usage of further clients is published after their next token.
const MAX_CHANGED: usize = 10_000;
/// Number of clients read and published at a time.
const BATCH: usize = 200;

/// Publishes the usage of clients that were issued tokens since the last time.
#[derive(Clone)]
pub struct UsagePublisher {
    store: Arc<dyn UsageStore>,
    /// `None` if nothing is to be published.
    mirror: Option<Arc<dyn UsageMirror>>,
    changed: Arc<Mutex<HashSet<(AgentId, Month)>>>,
}

impl UsagePublisher {
    /// Creates a publisher without pending clients.
    pub(super) fn new(store: Arc<dyn UsageStore>, mirror: Option<Arc<dyn UsageMirror>>) -> Self {
        Self { store, mirror, changed: Arc::default() }
    }

    /// Notes that a client was issued a token in that month.
    pub(super) fn note(&self, client: AgentId, month: Month) {
        if self.mirror.is_some() {
            let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
            if changed.len() < MAX_CHANGED {
                changed.insert((client, month));
            }
        }
    }

    /// Publishes the usage that changed.
    ///
    /// Returns a [`StoreError`] if a store failed; what was not published then is published the next time.
    pub async fn publish(&self) -> Result<(), StoreError> {
        let Some(mirror) = &self.mirror else { return Ok(()) };
        let changed = std::mem::take(&mut *self.changed.lock().unwrap_or_else(PoisonError::into_inner));
        let changed = Vec::from_iter(changed);
        for (place, clients) in changed.chunks(BATCH).enumerate() {
            let outcome = self.publish_batch(&**mirror, clients).await;
            if outcome.is_err() {
                changed[place * BATCH..].iter().for_each(|(client, month)| self.note(*client, *month));
                return outcome;
            }
        }
        Ok(())
    }

    async fn publish_batch(
        &self,
        mirror: &dyn UsageMirror,
        clients: &[(AgentId, Month)],
    ) -> Result<(), StoreError> {
        let usage = self.store.monthly(clients).await?;
        try_join_all(usage.iter().map(|usage| mirror.publish(usage))).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use uuid::Uuid;

    use super::*;
    use domain::time::Timestamp;
    use domain::usage::{MonthlyUsage, Usage};
    use ports::usage_store::UsageQuery;

    /// Counts 7 tokens for every client, and keeps what is published.
    #[derive(Default)]
    struct Stores(Mutex<Vec<MonthlyUsage>>);

    #[async_trait]
    impl UsageStore for Stores {
        async fn usage(&self, _: &UsageQuery) -> Result<Usage, StoreError> {
            Ok(Usage { agents: 0, tokens: 0, by_client: Vec::new() })
        }

        async fn monthly(&self, clients: &[(AgentId, Month)]) -> Result<Vec<MonthlyUsage>, StoreError> {
            assert!(clients.len() <= BATCH);
            let usage = |(client, month): &(AgentId, Month)| MonthlyUsage {
                client: *client,
                month: *month,
                tokens: 7,
            };
            Ok(clients.iter().map(usage).collect())
        }
    }

    #[async_trait]
    impl UsageMirror for Stores {
        async fn publish(&self, usage: &MonthlyUsage) -> Result<(), StoreError> {
            self.0.lock().expect("no panic").push(*usage);
            Ok(())
        }
    }

    #[tokio::test]
    async fn the_usage_of_each_client_that_was_issued_tokens_is_published_once() {
        let stores = Arc::new(Stores::default());
        let publisher = UsagePublisher::new(stores.clone(), Some(stores.clone()));
        let month = Timestamp::from_millis(0).month();
        let many = 2 * BATCH as u128 + 1;
        for client in (0..many).chain(0..many) {
            publisher.note(AgentId(Uuid::from_u128(client)), month);
        }
        for _ in 0..2 {
            publisher.publish().await.expect("published");
        }
        let mut published = stores.0.lock().expect("no panic").clone();
        published.sort_by_key(|usage| usage.client);
        let expected = (0..many).map(|client| MonthlyUsage {
            client: AgentId(Uuid::from_u128(client)),
            month,
            tokens: 7,
        });
        assert_eq!(published, Vec::from_iter(expected));
    }

    #[tokio::test]
    async fn nothing_is_kept_if_there_is_no_mirror_and_no_more_than_its_bound_if_there_is() {
        let stores = Arc::new(Stores::default());
        let month = Timestamp::from_millis(0).month();
        for (mirror, expected) in [(None, 0), (Some(stores.clone() as Arc<dyn UsageMirror>), MAX_CHANGED)] {
            let publisher = UsagePublisher::new(stores.clone(), mirror);
            for client in 0..=MAX_CHANGED as u128 {
                publisher.note(AgentId(Uuid::from_u128(client)), month);
            }
            assert_eq!(publisher.changed.lock().expect("no panic").len(), expected);
        }
    }
}
