//! What instances tell one another of the dead, quickly and without promise.

use async_trait::async_trait;

use super::store_error::StoreError;
use crate::domain::id::AgentId;
use crate::domain::time::Month;
use crate::domain::token::{Claims, RevocationNotice};

/// A board that all instances read and write. It may forget, all or some; it may only ever say "dead".
#[async_trait]
pub trait RevocationCache: Send + Sync {
    /// Puts up a notice until its time. A generation is only ever raised, so again or late does no harm.
    async fn publish(&self, notice: &RevocationNotice) -> Result<(), StoreError>;

    /// Whether a notice says that the token is dead. `false` says nothing.
    async fn is_revoked(&self, claims: &Claims) -> Result<bool, StoreError>;

    /// Shows how many tokens a client has had in a month, until the month's end. Only ever raised, and for
    /// operators to read: no limit is held by it.
    async fn show_usage(&self, usage: &MonthlyUsage) -> Result<(), StoreError>;
}

/// How many tokens a client has had in a month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MonthlyUsage {
    pub client: AgentId,
    pub month: Month,
    pub tokens: u64,
}
