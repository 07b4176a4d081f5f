//! Usage counts of organizations.

use async_trait::async_trait;

use super::store_error::StoreError;
use domain::id::{AgentId, OrganizationId};
use domain::time::Month;
use domain::usage::{MonthlyUsage, Usage};

/// Counts agents and tokens. The limits are enforced by the same counts.
#[async_trait]
pub trait UsageStore: Send + Sync {
    /// Returns what the organization has used, now and in the month of the query.
    ///
    /// The result has its present agents, its tokens in that month, and the `clients` clients with the most
    /// tokens, busiest first, or only the named client. Returns a [`StoreError`] if the store cannot answer.
    async fn usage(&self, query: &UsageQuery) -> Result<Usage, StoreError>;

    /// Returns how many tokens each of these clients was issued in that month, in any order.
    ///
    /// A client without tokens in the month has no entry. Returns a [`StoreError`] if the store cannot answer.
    async fn monthly(&self, clients: &[(AgentId, Month)]) -> Result<Vec<MonthlyUsage>, StoreError>;
}

/// Query of [`UsageStore::usage`].
#[derive(Clone, Copy, Debug)]
pub struct UsageQuery {
    /// Organization whose usage is wanted.
    pub organization: OrganizationId,
    /// Month whose tokens are counted.
    pub month: Month,
    /// The only client to return; the busiest clients if `None`.
    pub client: Option<AgentId>,
    /// Maximum number of clients to return.
    pub clients: u32,
}
