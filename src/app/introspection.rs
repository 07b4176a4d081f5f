//! Introspection (RFC 7662): a resource server asks whether a token is alive.

use std::sync::Arc;

use super::audit_buffer::AuditBuffer;
use super::caller::{Caller, Forbidden};
use super::events::Events;
use crate::domain::audit::{AuditAction, AuditEvent, Metadata};
use crate::domain::scope::{ManagementScope, Scopes};
use crate::domain::token::{Audience, Claims};
use crate::ports::clock::Clock;
use crate::ports::store_error::StoreError;
use crate::ports::token_signer::TokenSigner;
use crate::ports::token_store::TokenStore;

/// Tells the active tokens from the rest.
#[derive(Clone)]
pub struct Introspection {
    pub(super) store: Arc<dyn TokenStore>,
    pub(super) signer: Arc<dyn TokenSigner>,
    pub(super) buffer: Arc<AuditBuffer>,
    pub(super) events: Events,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) issuer: Arc<str>,
}

/// What is said of an active token.
#[derive(Clone, Debug)]
pub struct ActiveToken {
    pub claims: Arc<Claims>,
    /// Its scopes, as far as the agent still has them.
    pub scopes: Scopes,
    pub issuer: Arc<str>,
}

impl ActiveToken {
    /// `aud`: whom the token is for.
    pub fn audience(&self) -> &str {
        match &self.claims.audience {
            Audience::Issuer => &self.issuer,
            Audience::Resource(uri) => uri,
        }
    }
}

impl Introspection {
    /// What the token says, if it is alive and of an organization within the caller's reach.
    ///
    /// Dead, foreign and malformed are all `None`, and nothing tells them apart.
    pub async fn introspect(
        &self,
        caller: &Caller,
        token: &str,
    ) -> Result<Option<ActiveToken>, IntrospectionError> {
        caller.require(ManagementScope::TokensRead)?;
        let now = self.clock.now();
        let Some(claims) = self.signer.verify(token, now) else { return Ok(None) };
        let status = self.store.status(&claims).await?;
        let status = status
            .filter(|status| status.is_active(&claims) && caller.tenancy().contains(status.organization.id));
        let Some(status) = status else { return Ok(None) };
        self.buffer.introspected(caller.agent(), claims.agent, now, || {
            let details = caller.event(AuditAction::TokenIntrospected, claims.agent, Metadata::default());
            AuditEvent { organization: Some(claims.organization), draft: self.events.success(details, now) }
        });
        let scopes = status.effective_scopes(&claims);
        Ok(Some(ActiveToken { claims, scopes, issuer: self.issuer.clone() }))
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum IntrospectionError {
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    #[error(transparent)]
    Store(#[from] StoreError),
}
