//! Revocation (RFC 7009): one token is dead from now on, everywhere.

use std::sync::Arc;

use super::caller::{Caller, Forbidden};
use super::events::Events;
use crate::domain::audit::{AuditAction, Metadata};
use crate::domain::scope::ManagementScope;
use crate::domain::time::{CLOCK_SLACK_SECONDS, Timestamp};
use crate::domain::token::REVOCATION_MARGIN_SECONDS;
use crate::ports::clock::Clock;
use crate::ports::store_error::StoreError;
use crate::ports::token_signer::TokenSigner;
use crate::ports::token_store::{Revocation, TokenStore};

/// Ends tokens.
#[derive(Clone)]
pub struct Revocations {
    pub(super) store: Arc<dyn TokenStore>,
    pub(super) signer: Arc<dyn TokenSigner>,
    pub(super) events: Events,
    pub(super) clock: Arc<dyn Clock>,
}

impl Revocations {
    /// Ends the token. When this answers `Ok`, it is dead on every instance.
    ///
    /// A token that we did not sign, that has expired by every clock, or that is of an organization out of reach: `Ok`, and
    /// nothing is stored. The rule against escalation holds, but a token may always end itself.
    pub async fn revoke(&self, caller: &Caller, token: &str) -> Result<(), RevocationError> {
        let now = self.clock.now();
        let Some(claims) = self.signer.read(token) else { return Ok(()) };
        let ends_at = Timestamp::from_millis(0).plus_seconds(claims.expires_at);
        // By the clock of another instance it may be alive for a while yet, or again.
        if ends_at.plus_seconds(CLOCK_SLACK_SECONDS) <= now {
            return Ok(());
        }
        if !caller.tenancy().contains(claims.organization) {
            return Ok(());
        }
        let Some(status) = self.store.status(&claims).await? else { return Ok(()) };
        if caller.token != Some(claims.id) {
            if claims.agent != caller.agent() {
                caller.require(ManagementScope::AgentsWrite)?;
            }
            caller.ensure_may_manage(status.agent.capabilities.management())?;
        }
        let metadata = Metadata::default().with("agentId", claims.agent.to_string());
        let event = self.events.success(caller.event(AuditAction::TokenRevoked, claims.id, metadata), now);
        let revocation = Revocation {
            token: claims.id,
            organization: claims.organization,
            until: ends_at.plus_seconds(REVOCATION_MARGIN_SECONDS),
        };
        Ok(self.store.revoke(&revocation, &event).await?)
    }
}

/// Why nothing was revoked.
#[derive(Debug, thiserror::Error)]
pub enum RevocationError {
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    #[error(transparent)]
    Store(#[from] StoreError),
}
