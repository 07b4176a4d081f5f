//! Whether a caller may still write, and whether anyone can still administer.

use rusqlite::params;

use super::database::Database;
use super::facts::Facts as _;
use domain::id::AgentId;
use domain::time::Timestamp;
use ports::store_error::StoreError;
use ports::write::Write;

impl Database {
    /// Returns whether the authority for a write still holds.
    pub fn allows(&self, write: Write<'_>) -> Result<bool, StoreError> {
        match write.authority {
            Some(authority) => self.holds(authority),
            None => Ok(true),
        }
    }

    /// Returns whether this agent, or any, can administer at that time.
    ///
    /// This requires an active agent in an active organization, with `admin:orgs` and a live credential, of an active
    /// issuer if it is federated.
    pub fn has_administrator(&self, agent: Option<AgentId>, at: Timestamp) -> Result<bool, StoreError> {
        const HAS_ADMINISTRATOR: &str = "\
SELECT EXISTS (
    SELECT 1 FROM agents a INDEXED BY agents_administrators_idx
    JOIN organizations o ON o.organization_id = a.organization_id
    JOIN credentials c ON c.agent_id = a.agent_id
    LEFT JOIN trusted_issuers i ON i.issuer_id = c.issuer_id
    WHERE a.status = 'active' AND instr(' ' || a.capabilities || ' ', ' admin:orgs ') > 0
        AND (?1 IS NULL OR a.agent_id = ?1) AND o.status = 'active'
        AND c.revoked_at IS NULL AND (c.expires_at IS NULL OR c.expires_at > ?2)
        AND (c.issuer_id IS NULL OR i.status = 'active'))";
        self.value(HAS_ADMINISTRATOR, params![agent.map(|id| id.0), at.as_millis()])
    }
}
