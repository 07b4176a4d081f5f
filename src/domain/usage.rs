//! Usage of organizations and clients.

use crate::id::AgentId;
use crate::time::Month;

/// Usage of an organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Number of agents that are not decommissioned.
    pub agents: u64,
    /// Number of tokens in the month, of all clients of the organization.
    pub tokens: u64,
    /// Clients with their numbers of tokens in the month, busiest first.
    pub by_client: Vec<(AgentId, u32)>,
}

/// Number of tokens that a client was issued in a month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MonthlyUsage {
    /// The client.
    pub client: AgentId,
    /// The month.
    pub month: Month,
    /// Number of its tokens in that month.
    pub tokens: u64,
}
