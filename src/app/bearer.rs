//! Bearer token authentication (RFC 6750).

use std::sync::Arc;

use super::auth_failures::{AuthFailure, AuthFailureReason, AuthFailures, ClaimedClient};
use super::caller::Caller;
use super::ports::Ports;
use super::request_context::{AdmissionError, RequestContext};
use domain::token::Audience;
use ports::clock::Clock;
use ports::rate_limiter::{RateKey, RateLimiter};
use ports::store_error::StoreError;
use ports::token_signer::TokenSigner;
use ports::token_store::TokenStore;

/// Authenticates callers by their access tokens.
#[derive(Clone)]
pub struct Bearer {
    tokens: Arc<dyn TokenStore>,
    signer: Arc<dyn TokenSigner>,
    limiter: Arc<dyn RateLimiter>,
    auth_failures: AuthFailures,
    clock: Arc<dyn Clock>,
}

impl Bearer {
    pub(super) fn new(ports: &Ports, auth_failures: AuthFailures) -> Self {
        Self {
            tokens: ports.stores.tokens.clone(),
            signer: ports.signer.clone(),
            limiter: ports.stores.limiter.clone(),
            auth_failures,
            clock: ports.clock.clone(),
        }
    }

    /// Authenticates the caller by its access token, and applies its rate limit.
    ///
    /// The token must be active and issued for this service; a token for a resource server is refused.
    pub async fn authenticate(
        &self,
        context: &RequestContext,
        token: Option<&str>,
    ) -> Result<Caller, BearerError> {
        let (caller, ()) = self.authenticate_with(context, token, std::future::ready(())).await?;
        Ok(caller)
    }

    /// Same as [`authenticate`](Self::authenticate), and asks `lookup` while the store is asked about the caller, so
    /// that both questions share a round trip.
    ///
    /// It is asked only for a token that this service has signed and that is within its validity period.
    pub async fn authenticate_with<T>(
        &self,
        context: &RequestContext,
        token: Option<&str>,
        lookup: impl Future<Output = T>,
    ) -> Result<(Caller, T), BearerError> {
        let Some(token) = token else {
            self.auth_failures.count(context).await?;
            return Err(BearerError::Missing);
        };
        let Some(claims) = self.signer.read(token) else {
            return Err(self.refused(context, None, AuthFailureReason::Signature).await);
        };
        if !claims.are_in_time(self.clock.now()) {
            return Err(self.refused(context, None, AuthFailureReason::Expired).await);
        }
        let claimed = Some(ClaimedClient { agent: claims.agent, organization: claims.organization });
        let (status, found) = tokio::join!(self.tokens.status(&claims), lookup);
        let status = match status? {
            Some(status) if status.is_active(&claims) && claims.audience == Audience::Issuer => status,
            other => {
                let reason = match other {
                    None => AuthFailureReason::UnknownClient,
                    Some(status) if status.is_revoked => AuthFailureReason::Revoked,
                    Some(_) if claims.audience != Audience::Issuer => AuthFailureReason::Audience,
                    Some(_) => AuthFailureReason::Inactive,
                };
                return Err(self.refused(context, claimed, reason).await);
            }
        };
        context.set_organization(claims.organization);
        let limit = status.organization.limits().requests_per_minute;
        context.admit(&*self.limiter, RateKey::Client(claims.agent), limit).await?;
        let caller = Caller {
            generation: claims.generation,
            scopes: status.effective_scopes(&claims).management(),
            agent: status.agent,
            origin: context.origin.clone(),
            token: Some(claims.id),
            issuers: claims.issuers.clone(),
        };
        Ok((caller, found))
    }

    /// Records a failed authentication.
    ///
    /// `claimed` is `None` for a token that this service did not sign, because its claims cannot be trusted, and for
    /// one outside its validity period.
    async fn refused(
        &self,
        context: &RequestContext,
        claimed: Option<ClaimedClient>,
        reason: AuthFailureReason,
    ) -> BearerError {
        let failure = AuthFailure { method: "bearer", claimed, reason };
        match self.auth_failures.record(context, &failure).await {
            Ok(()) => BearerError::Invalid,
            Err(failure) => failure.into(),
        }
    }
}

/// Error returned by bearer token authentication.
#[derive(Debug, thiserror::Error)]
pub enum BearerError {
    /// The request has no access token.
    #[error("an access token is required: Authorization: Bearer <token>")]
    Missing,
    /// The access token is invalid, expired, revoked, or for another audience.
    #[error("the access token is invalid, expired or revoked")]
    Invalid,
    /// The caller, or the address of a failed authentication, has exceeded its rate limit.
    #[error("too many requests")]
    RateLimited,
    /// The store returned an error.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<AdmissionError> for BearerError {
    fn from(failure: AdmissionError) -> Self {
        match failure {
            AdmissionError::RateLimited => Self::RateLimited,
            AdmissionError::Store(failure) => Self::Store(failure),
        }
    }
}
