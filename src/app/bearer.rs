//! Bearer token authentication (RFC 6750).

use std::sync::Arc;

use super::auth_failures::{AuthFailure, AuthFailureReason, AuthFailures, ClaimedClient};
use super::caller::Caller;
use super::ports::Ports;
use super::proofs::{InvalidProof, Proofs};
use super::request_context::{AdmissionError, RequestContext};
use super::settings::Settings;
use domain::token::{Audience, Claims, TokenStatus};
use ports::clock::Clock;
use ports::rate_limiter::{ProofUse, RateKey, RateLimiter};
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
    proofs: Proofs,
    clock: Arc<dyn Clock>,
}

/// An access token as it was presented.
#[derive(Clone, Copy, Debug)]
pub struct PresentedToken<'a> {
    /// The scheme of the header.
    pub scheme: TokenScheme,
    /// The token itself.
    pub text: &'a str,
}

/// A scheme of the `Authorization` header for access tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenScheme {
    /// `Bearer` (RFC 6750): a token that is not bound to a key.
    Bearer,
    /// `DPoP` (RFC 9449 section 7): a token that is bound to a key, with a proof.
    Dpop,
}

impl<'a> PresentedToken<'a> {
    /// Creates a token that was presented as a bearer token.
    pub const fn bearer(text: &'a str) -> Self {
        Self { scheme: TokenScheme::Bearer, text }
    }
}

impl Bearer {
    pub(super) fn new(ports: &Ports, auth_failures: AuthFailures, settings: &Settings) -> Self {
        Self {
            tokens: ports.stores.tokens.clone(),
            signer: ports.signer.clone(),
            limiter: ports.stores.limiter.clone(),
            auth_failures,
            proofs: Proofs::new(ports, settings),
            clock: ports.clock.clone(),
        }
    }

    /// Authenticates the caller by its access token, and applies its rate limit.
    ///
    /// The token must be active and issued for this service; a token for a resource server is refused. One that is bound to
    /// a key must come with a proof for this request, by that key, which was not used before.
    pub async fn authenticate(
        &self,
        context: &RequestContext,
        token: Option<PresentedToken<'_>>,
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
        token: Option<PresentedToken<'_>>,
        lookup: impl Future<Output = T>,
    ) -> Result<(Caller, T), BearerError> {
        let is_own = |audience: &Audience| *audience == Audience::Issuer;
        let (claims, status, found) = self.judge(context, token, is_own, lookup).await?;
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

    /// Checks an access token whose audience is wanted, and applies the rate limit of its client, as
    /// [`authenticate_with`](Self::authenticate_with) does.
    pub(super) async fn judge<T>(
        &self,
        context: &RequestContext,
        token: Option<PresentedToken<'_>>,
        is_wanted: impl Fn(&Audience) -> bool,
        lookup: impl Future<Output = T>,
    ) -> Result<(Arc<Claims>, TokenStatus, T), BearerError> {
        let Some(token) = token else {
            self.auth_failures.count(context).await?;
            return Err(BearerError::Missing);
        };
        let PresentedToken { scheme, text } = token;
        let invalid = || match scheme {
            TokenScheme::Bearer => BearerError::Invalid,
            TokenScheme::Dpop => BearerError::InvalidBound,
        };
        let Some(claims) = self.signer.read(text) else {
            return Err(self.refused(context, None, AuthFailureReason::Signature, invalid()).await);
        };
        if !claims.are_in_time(self.clock.now()) {
            return Err(self.refused(context, None, AuthFailureReason::Expired, invalid()).await);
        }
        let claimed = Some(ClaimedClient { agent: claims.agent, organization: claims.organization });
        let proof = match self.check_binding(context, &claims, token) {
            Ok(proof) => proof,
            Err(error) => return Err(self.refused(context, claimed, AuthFailureReason::Proof, error).await),
        };
        let (status, found) = tokio::join!(self.tokens.status(&claims), lookup);
        let status = match status? {
            Some(status) if status.is_active(&claims) && is_wanted(&claims.audience) => status,
            other => {
                let reason = match other {
                    None => AuthFailureReason::UnknownClient,
                    Some(status) if status.is_revoked => AuthFailureReason::Revoked,
                    Some(_) if !is_wanted(&claims.audience) => AuthFailureReason::Audience,
                    Some(_) => AuthFailureReason::Inactive,
                };
                return Err(self.refused(context, claimed, reason, invalid()).await);
            }
        };
        context.set_client(claims.agent, claims.organization);
        let limit = status.organization.limits().requests_per_minute;
        let key = RateKey::Client(claims.agent);
        match context.admit_once(&*self.limiter, key, limit, proof.as_ref()).await {
            Err(AdmissionError::ProofUsed) => {
                let error = InvalidProof::USED.into();
                return Err(self.refused(context, claimed, AuthFailureReason::Replayed, error).await);
            }
            admitted => admitted?,
        }
        Ok((claims, status, found))
    }

    /// Checks that a token comes with the scheme and, if it is bound to a key, with the proof that it needs.
    ///
    /// Returns the proof, which must not have been used before.
    fn check_binding(
        &self,
        context: &RequestContext,
        claims: &Claims,
        PresentedToken { scheme, text }: PresentedToken<'_>,
    ) -> Result<Option<ProofUse>, BearerError> {
        let key = match (&claims.key, scheme) {
            (None, TokenScheme::Bearer) => return Ok(None),
            (Some(key), TokenScheme::Dpop) => key,
            _ => return Err(BearerError::InvalidBound),
        };
        let proof = self.proofs.verify(context, Some(text))?.ok_or(InvalidProof::MISSING)?;
        if proof.key != *key {
            return Err(InvalidProof::OTHER_KEY.into());
        }
        Ok(Some(ProofUse { digest: proof.digest(), until: proof.until() }))
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
        error: BearerError,
    ) -> BearerError {
        let failure = AuthFailure { method: "bearer", claimed, reason };
        match self.auth_failures.record(context, failure).await {
            Ok(()) => error,
            Err(failure) => failure.into(),
        }
    }
}

/// Error returned by bearer token authentication.
#[derive(Debug, thiserror::Error)]
pub enum BearerError {
    /// The request has no access token.
    #[error("an access token is required: Authorization: Bearer <token>, or DPoP <token> with a proof")]
    Missing,
    /// The access token is invalid, expired, revoked, or for another audience.
    #[error("the access token is invalid, expired or revoked")]
    Invalid,
    /// The access token is invalid, expired, revoked, for another audience, or sent with the wrong scheme: one that is bound
    /// to a key needs `DPoP`, any other `Bearer`.
    #[error("the access token is invalid, expired or revoked, or was not sent with the scheme that it needs")]
    InvalidBound,
    /// The proof of possession that comes with the token is missing or not valid.
    #[error(transparent)]
    InvalidProof(#[from] InvalidProof),
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
            AdmissionError::ProofUsed => Self::InvalidProof(InvalidProof::USED),
            AdmissionError::Store(failure) => Self::Store(failure),
        }
    }
}
