//! Token revocation (RFC 7009).

use std::sync::Arc;

use super::caller::{Caller, Forbidden};
use super::events::Events;
use super::metrics::{RevocationCounts, RevocationKind};
use super::ports::Ports;
use domain::audit::{AuditAction, Metadata};
use domain::scope::ManagementScope;
use domain::time::{CLOCK_SLACK_SECONDS, Timestamp};
use domain::token::{Claims, REVOCATION_MARGIN_SECONDS, TokenStatus};
use ports::clock::Clock;
use ports::store_error::StoreError;
use ports::token_signer::TokenSigner;
use ports::token_store::{Revocation, TokenStore};

/// Revokes tokens.
#[derive(Clone)]
pub struct Revocations {
    store: Arc<dyn TokenStore>,
    signer: Arc<dyn TokenSigner>,
    events: Events,
    clock: Arc<dyn Clock>,
    counts: RevocationCounts,
}

impl Revocations {
    pub(super) fn new(ports: &Ports) -> Self {
        Self {
            store: ports.stores.tokens.clone(),
            signer: ports.signer.clone(),
            events: Events::new(ports.ids.clone()),
            clock: ports.clock.clone(),
            counts: RevocationCounts::new(),
        }
    }

    /// Revokes a token. Once this returns `Ok`, the token and every token that was exchanged from it are inactive on every
    /// instance.
    ///
    /// A token is the caller's own if the caller is an agent of its chain.
    ///
    /// Returns `Ok` and stores nothing if the token was not signed by this service, has expired by the clock of
    /// every instance, or belongs to an organization outside the caller's tenancy. The rule against privilege
    /// escalation applies, except that a token may always revoke itself.
    pub async fn revoke(&self, caller: &Caller, token: &str) -> Result<(), RevocationError> {
        let now = self.clock.now();
        let Some(claims) = self.signer.read(token) else { return Ok(()) };
        let ends_at = Timestamp::from_millis(0).plus_seconds(claims.expires_at);
        // By another instance's clock the token may not have expired yet, or may become valid again.
        if ends_at.plus_seconds(CLOCK_SLACK_SECONDS) <= now {
            return Ok(());
        }
        if !caller.tenancy().contains(claims.organization) {
            return Ok(());
        }
        let Some(status) = self.store.status(&claims).await? else { return Ok(()) };
        ensure_may_revoke(caller, &claims, &status)?;
        let metadata = Metadata::default().with("agentId", claims.agent.to_string());
        let event = self.events.success(caller.event(AuditAction::TokenRevoked, claims.id, metadata), now);
        let revocation = Revocation {
            token: claims.id,
            organization: claims.organization,
            until: ends_at.plus_seconds(REVOCATION_MARGIN_SECONDS),
        };
        self.store.revoke(&revocation, &event).await?;
        self.counts.count(RevocationKind::Token);
        Ok(())
    }
}

/// Returns [`Forbidden`] if the caller may not revoke a token with these claims and this status.
///
/// A token may revoke itself. A token whose chain has the caller is its own, for which the rule against privilege escalation
/// looks at the caller alone. Any other token needs `agents:write` and the management scopes of all agents of its chain.
pub(super) fn ensure_may_revoke(
    caller: &Caller,
    claims: &Claims,
    status: &TokenStatus,
) -> Result<(), Forbidden> {
    if caller.token == Some(claims.id) {
        return Ok(());
    }
    if claims.parties().any(|agent| agent == caller.agent()) {
        return caller.ensure_may_manage(caller.agent.capabilities.management());
    }
    caller.require(ManagementScope::AgentsWrite)?;
    caller.ensure_may_manage(status.management())
}

/// Error returned by revocation.
#[derive(Debug, thiserror::Error)]
pub enum RevocationError {
    /// The caller lacks a required scope.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// The store returned an error.
    #[error(transparent)]
    Store(#[from] StoreError),
}
