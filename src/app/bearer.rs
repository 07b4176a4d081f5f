//! Bearer tokens (RFC 6750): who calls this API.

use std::sync::Arc;

use super::auth_failures::{AuthFailures, ClaimedClient};
use super::caller::Caller;
use super::request_context::{AdmissionError, RequestContext};
use crate::domain::token::Audience;
use crate::ports::clock::Clock;
use crate::ports::rate_limiter::{RateKey, RateLimiter};
use crate::ports::store_error::StoreError;
use crate::ports::token_signer::TokenSigner;
use crate::ports::token_store::TokenStore;

/// Knows callers by their tokens.
#[derive(Clone)]
pub struct Bearer {
    pub(super) tokens: Arc<dyn TokenStore>,
    pub(super) signer: Arc<dyn TokenSigner>,
    pub(super) limiter: Arc<dyn RateLimiter>,
    pub(super) auth_failures: AuthFailures,
    pub(super) clock: Arc<dyn Clock>,
}

impl Bearer {
    /// The caller whose token this is, held to its rate.
    ///
    /// The token must be alive, and for this service: one for a resource server does not work here.
    pub async fn authenticate(
        &self,
        context: &RequestContext,
        token: Option<&str>,
    ) -> Result<Caller, BearerError> {
        let Some(token) = token else {
            self.auth_failures.count(context).await?;
            return Err(BearerError::Missing);
        };
        let Some(claims) = self.signer.verify(token, self.clock.now()) else {
            return Err(self.refused(context, None).await);
        };
        let claimed = Some(ClaimedClient { agent: claims.agent, organization: claims.organization });
        let status = self.tokens.status(&claims).await?;
        let Some(status) = status.filter(|status| status.is_active(&claims)) else {
            return Err(self.refused(context, claimed).await);
        };
        if claims.audience != Audience::Issuer {
            return Err(self.refused(context, claimed).await);
        }
        context.set_organization(claims.organization);
        let limit = status.organization.limits().requests_per_minute;
        context.admit(&*self.limiter, RateKey::Client(claims.agent), limit).await?;
        Ok(Caller {
            generation: claims.generation,
            scopes: status.effective_scopes(&claims).management(),
            agent: status.agent,
            origin: context.origin.clone(),
            token: Some(claims.id),
        })
    }

    /// A token that we did not sign claims nothing that can be believed.
    async fn refused(&self, context: &RequestContext, claimed: Option<ClaimedClient>) -> BearerError {
        match self.auth_failures.record(context, claimed, "bearer").await {
            Ok(()) => BearerError::Invalid,
            Err(failure) => failure.into(),
        }
    }
}

/// Why a caller is not known.
#[derive(Debug, thiserror::Error)]
pub enum BearerError {
    #[error("an access token is required: Authorization: Bearer <token>")]
    Missing,
    #[error("the access token is invalid, expired or revoked")]
    Invalid,
    #[error("too many requests")]
    RateLimited,
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
