//! Gauges for operators, read from the stores.

use std::sync::Arc;

use metrics::{Gauge, gauge};

use super::ports::Ports;
use super::readiness::Readiness;
use domain::agent::AgentStatus;
use ports::clock::Clock;
use ports::inventory_store::InventoryStore;
use ports::issuer_keys::IssuerKeys;
use ports::store_error::StoreError;

/// Time before its expiry from which a credential is reported, in seconds.
const EXPIRING_WITHIN_SECONDS: i64 = 7 * 86_400;

/// Reports the state of the whole service as metrics.
#[derive(Clone)]
pub struct Monitoring {
    inventory: Arc<dyn InventoryStore>,
    issuer_keys: Arc<dyn IssuerKeys>,
    clock: Arc<dyn Clock>,
    readiness: Arc<Readiness>,
    /// Whether there is a store that the messages of the outbox are for.
    has_sink: bool,
    expiring_credentials: Gauge,
    pending_messages: Gauge,
    stale_issuer_keys: Gauge,
}

impl Monitoring {
    pub(super) fn new(ports: &Ports, readiness: &Arc<Readiness>) -> Self {
        Self {
            inventory: ports.stores.inventory.clone(),
            issuer_keys: ports.issuer_keys.clone(),
            clock: ports.clock.clone(),
            readiness: readiness.clone(),
            has_sink: ports.stores.revocation_cache.is_some(),
            expiring_credentials: gauge!("agentidp_credentials_expiring", "within" => "7d"),
            pending_messages: gauge!("agentidp_outbox_pending"),
            stale_issuer_keys: gauge!("agentidp_issuer_keys_stale"),
        }
    }

    /// Reports which stores respond, and how many issuers have keys that could not be fetched again in time.
    pub async fn report_health(&self) {
        for (store, responds) in self.readiness.report().await.stores {
            gauge!("agentidp_store_up", "store" => store).set(f64::from(u8::from(responds)));
        }
        self.stale_issuer_keys.set(count(self.issuer_keys.stale() as u64));
    }

    /// Reports the counts of the inventory.
    ///
    /// Returns a [`StoreError`] if the store cannot answer; the counts then stay as they were.
    pub async fn report_inventory(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let inventory = self.inventory.inventory(now, now.plus_seconds(EXPIRING_WITHIN_SECONDS)).await?;
        for (name, status) in AgentStatus::ALL {
            let agents =
                inventory.agents.iter().find(|(found, _)| *found == status).map_or(0, |(_, agents)| *agents);
            gauge!("agentidp_agents", "status" => name).set(count(agents));
        }
        self.expiring_credentials.set(count(inventory.expiring_credentials));
        // Without a sink, messages stay until they expire, and are not late.
        self.pending_messages.set(if self.has_sink { count(inventory.pending_messages) } else { 0.0 });
        Ok(())
    }
}

/// Converts a count to the value of a gauge, exactly up to 2^53.
fn count(count: u64) -> f64 {
    count as f64
}
