//! Tells what an organization has used.

use async_trait::async_trait;

use super::store_error::StoreError;
use crate::domain::id::{AgentId, OrganizationId};
use crate::domain::time::Month;

/// Counts agents and tokens. The counts are those that the limits are held by.
#[async_trait]
pub trait UsageStore: Send + Sync {
    /// What the organization has used: its agents now, its tokens in that month, and of its clients the
    /// busiest `clients`, busiest first, or the one named.
    async fn usage(&self, query: &UsageQuery) -> Result<Usage, StoreError>;
}

/// What is asked of [`UsageStore::usage`].
#[derive(Clone, Copy, Debug)]
pub struct UsageQuery {
    pub organization: OrganizationId,
    pub month: Month,
    pub client: Option<AgentId>,
    pub clients: u32,
}

/// What an organization has used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Agents that are not decommissioned.
    pub agents: u64,
    /// Tokens of the month, of all its clients.
    pub tokens: u64,
    pub by_client: Vec<(AgentId, u32)>,
}
