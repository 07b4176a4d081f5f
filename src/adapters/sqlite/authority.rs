//! Whether a caller may still write, and whether anyone can still administer.

use rusqlite::params;

use super::database::Database;
use domain::id::{AgentId, TokenId};
use domain::time::Timestamp;
use ports::store_error::StoreError;
use ports::write::Write;

impl Database {
    /// Returns whether the authority for a write still holds.
    pub fn allows(&self, write: Write<'_>) -> Result<bool, StoreError> {
        let Some(authority) = write.authority else { return Ok(true) };
        let Some(agent) = self.agent(authority.agent)? else { return Ok(false) };
        let Some(organization) = self.organization(agent.organization)? else { return Ok(false) };
        let is_revoked = match authority.token {
            Some(token) => self.is_revoked(token)?,
            None => false,
        };
        Ok(authority.holds(&agent, &organization, is_revoked, self.issuers_hold(&authority.issuers)?))
    }

    /// Returns whether this one token was revoked.
    pub fn is_revoked(&self, token: TokenId) -> Result<bool, StoreError> {
        self.value("SELECT EXISTS (SELECT 1 FROM token_revocations WHERE token_id = ?1)", [token.0])
    }

    /// Returns whether this agent, or any, can administer at that time.
    ///
    /// This requires an active agent in an active organization, with `admin:orgs` and a live credential, of an active
    /// issuer if it is federated.
    pub fn has_administrator(&self, agent: Option<AgentId>, at: Timestamp) -> Result<bool, StoreError> {
        const HAS_ADMINISTRATOR: &str = "\
SELECT EXISTS (
    SELECT 1 FROM agents a
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
