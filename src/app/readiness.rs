//! Readiness of the service, derived from the health of its stores.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

use ports::store_health::StoreHealth;

/// Checks the health of the stores.
pub struct Readiness {
    stores: Vec<Arc<dyn StoreHealth>>,
    /// Number of checks started.
    begun: AtomicU64,
    /// Number and result of the last check.
    ///
    /// Locked while a check runs, so that many concurrent probes cause few checks.
    last: Mutex<(u64, Report)>,
}

/// Health of the stores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Name of each store, and whether it responds.
    pub stores: Vec<(&'static str, bool)>,
    /// Whether all essential stores respond.
    pub is_ready: bool,
    /// Whether all stores respond and are whole.
    pub is_whole: bool,
}

impl Readiness {
    pub(super) fn new(stores: Vec<Arc<dyn StoreHealth>>) -> Self {
        Self { stores, begun: AtomicU64::new(0), last: Mutex::default() }
    }

    /// Returns the health of the stores, by a check that started after this call.
    pub async fn report(&self) -> Report {
        let asked_after = self.begun.load(Ordering::SeqCst);
        let mut last = self.last.lock().await;
        if last.0 > asked_after {
            return last.1.clone();
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let mut report = Report { stores: Vec::new(), is_ready: true, is_whole: true };
        for store in &self.stores {
            let outcome = store.check().await;
            if let Err(error) = &outcome {
                tracing::debug!(store = store.name(), error = error as &dyn std::error::Error, "unavailable");
            }
            report.stores.push((store.name(), outcome.is_ok()));
            report.is_whole &= outcome.is_ok() && store.is_whole();
            report.is_ready &= outcome.is_ok() || !store.is_essential();
        }
        *last = (number, report.clone());
        report
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use ports::store_error::StoreError;

    struct Store {
        answers: bool,
        is_essential: bool,
        checks: AtomicU64,
    }

    fn store(answers: bool, is_essential: bool) -> Arc<Store> {
        Arc::new(Store { answers, is_essential, checks: AtomicU64::new(0) })
    }

    #[async_trait]
    impl StoreHealth for Store {
        fn name(&self) -> &'static str {
            "store"
        }

        fn is_essential(&self) -> bool {
            self.is_essential
        }

        async fn check(&self) -> Result<(), StoreError> {
            self.checks.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            match self.answers {
                true => Ok(()),
                false => Err(StoreError::Unavailable { store: "store", source: "unreachable".into() }),
            }
        }
    }

    #[tokio::test]
    async fn only_an_essential_store_makes_it_unready() {
        for (answers, is_essential, is_ready, is_whole) in [
            (true, true, true, true),
            (true, false, true, true),
            (false, false, true, false),
            (false, true, false, false),
        ] {
            let report = Readiness::new(vec![store(answers, is_essential)]).report().await;
            assert_eq!((report.is_ready, report.is_whole), (is_ready, is_whole), "{answers} {is_essential}");
        }
    }

    #[tokio::test]
    async fn a_crowd_of_probes_makes_few_checks() {
        let store = store(true, true);
        let readiness = Arc::new(Readiness::new(vec![store.clone()]));
        let probes = (0..100).map(|_| {
            let readiness = readiness.clone();
            async move { readiness.report().await }
        });
        let reports = probes.collect::<tokio::task::JoinSet<_>>().join_all().await;
        assert!(reports.iter().all(|report| report.is_ready));
        assert!(store.checks.load(Ordering::SeqCst) <= 2);
    }
}
