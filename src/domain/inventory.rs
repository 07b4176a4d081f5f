//! Counts of a whole service, for its operators.

use crate::agent::AgentStatus;

/// Counts across all organizations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Number of agents by status, in any order. A status that no agent has may be absent.
    pub agents: Vec<(AgentStatus, u64)>,
    /// Number of credentials that expire in the period that was asked about, and are not revoked.
    pub expiring_credentials: u64,
    /// Number of messages of the outbox that are not delivered yet.
    pub pending_messages: u64,
}
