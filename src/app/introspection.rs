//! Token introspection (RFC 7662).

use std::sync::Arc;

use super::audit_buffer::AuditBuffer;
use super::caller::{Caller, Forbidden};
use super::events::Events;
use super::metrics::Introspections;
use super::ports::Ports;
use super::settings::Settings;
use domain::audit::{AuditAction, AuditEvent, Metadata};
use domain::scope::{ManagementScope, Scopes};
use domain::token::{Audience, Claims, TokenStatus};
use ports::clock::Clock;
use ports::store_error::StoreError;
use ports::token_signer::TokenSigner;
use ports::token_store::TokenStore;

/// Introspects tokens for resource servers.
#[derive(Clone)]
pub struct Introspection {
    store: Arc<dyn TokenStore>,
    signer: Arc<dyn TokenSigner>,
    buffer: Arc<AuditBuffer>,
    events: Events,
    clock: Arc<dyn Clock>,
    issuer: Arc<str>,
    counts: Introspections,
}

/// Result of [`Introspection::look_up`].
pub type LookUp = Result<Option<(Arc<Claims>, TokenStatus)>, StoreError>;

/// Properties of an active token.
#[derive(Clone, Debug)]
pub struct ActiveToken {
    /// Claims of the token.
    pub claims: Arc<Claims>,
    /// Scopes of the token that every party of its chain still has.
    pub scopes: Scopes,
    /// `iss`: the issuer of the token.
    pub issuer: Arc<str>,
}

impl ActiveToken {
    /// Returns `aud`: the issuer, or the resource server that the token is for.
    pub fn audience(&self) -> &str {
        match &self.claims.audience {
            Audience::Issuer => &self.issuer,
            Audience::Resource(uri) => uri,
        }
    }
}

impl Introspection {
    pub(super) fn new(ports: &Ports, buffer: Arc<AuditBuffer>, settings: &Settings) -> Self {
        Self {
            store: ports.stores.tokens.clone(),
            signer: ports.signer.clone(),
            buffer,
            events: Events::new(ports.ids.clone()),
            clock: ports.clock.clone(),
            issuer: settings.issuer.clone(),
            counts: Introspections::new(),
        }
    }

    /// Returns the token's properties if the token is active and within the caller's tenancy.
    ///
    /// `None` if the token is inactive, foreign or malformed; nothing distinguishes these cases.
    pub async fn introspect(
        &self,
        caller: &Caller,
        token: &str,
    ) -> Result<Option<ActiveToken>, IntrospectionError> {
        self.report(caller, self.look_up(token).await)
    }

    /// Returns the claims of a token and its current status; `None` if this service has not signed it, if it is outside
    /// its validity period, or if its agent is unknown.
    ///
    /// Returns a [`StoreError`] if the store cannot answer.
    pub async fn look_up(&self, token: &str) -> LookUp {
        let Some(claims) = self.signer.verify(token, self.clock.now()) else { return Ok(None) };
        let status = self.store.status(&claims).await?;
        Ok(status.map(|status| (claims, status)))
    }

    /// Returns of a token that was looked up what [`introspect`](Self::introspect) returns.
    pub fn report(
        &self,
        caller: &Caller,
        looked_up: LookUp,
    ) -> Result<Option<ActiveToken>, IntrospectionError> {
        caller.require(ManagementScope::TokensRead)?;
        let found = looked_up?.filter(|(claims, status)| {
            status.is_active(claims) && caller.tenancy().contains(status.organization.id)
        });
        self.counts.count(found.is_some());
        let Some((claims, status)) = found else { return Ok(None) };
        let now = self.clock.now();
        self.buffer.introspected(caller.agent(), claims.agent, now, || {
            let details = caller.event(AuditAction::TokenIntrospected, claims.agent, Metadata::default());
            AuditEvent { organization: Some(claims.organization), ..self.events.success(details, now) }
        });
        let scopes = status.effective_scopes(&claims);
        Ok(Some(ActiveToken { claims, scopes, issuer: self.issuer.clone() }))
    }
}

/// Error returned by introspection.
#[derive(Debug, thiserror::Error)]
pub enum IntrospectionError {
    /// The caller lacks `tokens:read`.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// The store returned an error.
    #[error(transparent)]
    Store(#[from] StoreError),
}
