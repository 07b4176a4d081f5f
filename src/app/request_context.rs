//! Per-request context: ID, origin and rate-limit outcome.

use std::sync::{Mutex, OnceLock, PoisonError};

use super::auth_failures::AuthFailure;
use super::metrics::rate_limit_rejections;
use super::proofs::PresentedProof;
use domain::audit::Origin;
use domain::id::{AgentId, OrganizationId};
use domain::plan::Limit;
use domain::rate::RateDecision;
use ports::rate_limiter::{Admission, ProofUse, RateKey, RateLimiter};
use ports::store_error::StoreError;

/// ID, origin, organization and rate-limit outcome of one request.
#[derive(Debug)]
pub struct RequestContext {
    /// ID of the request, by which the log names it.
    pub id: String,
    /// Origin of the request.
    pub origin: Origin,
    /// The proof of possession that comes with the request; `None` without the header `DPoP`.
    pub proof: Option<PresentedProof>,
    rate: Mutex<Option<RateDecision>>,
    organization: OnceLock<OrganizationId>,
    client: OnceLock<AgentId>,
    failure: OnceLock<AuthFailure>,
}

impl RequestContext {
    /// Creates the context of the request with this ID from this origin.
    pub const fn new(id: String, origin: Origin) -> Self {
        Self {
            id,
            origin,
            proof: None,
            rate: Mutex::new(None),
            organization: OnceLock::new(),
            client: OnceLock::new(),
            failure: OnceLock::new(),
        }
    }

    /// Adds the proof of possession that comes with the request, if there is one.
    #[must_use]
    pub fn with_proof(self, proof: Option<PresentedProof>) -> Self {
        Self { proof, ..self }
    }

    /// Returns the organization of the caller, once it is known.
    pub fn organization(&self) -> Option<OrganizationId> {
        self.organization.get().copied()
    }

    /// Returns the client that makes the request, once it is authenticated.
    pub fn client(&self) -> Option<AgentId> {
        self.client.get().copied()
    }

    /// Records the client that makes the request, and its organization.
    pub(super) fn set_client(&self, client: AgentId, organization: OrganizationId) {
        // A request has one client, which never changes.
        let _ = self.client.set(client);
        let _ = self.organization.set(organization);
    }

    /// Returns why the authentication of the request failed; `None` if it did not, or if the address has exceeded its
    /// limit of failures.
    pub fn failure(&self) -> Option<&AuthFailure> {
        self.failure.get()
    }

    /// Records why the authentication of the request failed.
    pub(super) fn set_failure(&self, failure: AuthFailure) {
        // The first failure ends the authentication.
        let _ = self.failure.set(failure);
    }

    /// Returns the rate-limit outcome; `None` if no limit was applied.
    pub fn rate_limit(&self) -> Option<RateDecision> {
        *self.rate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies a rate limit to the request, and records the outcome.
    pub(super) async fn admit(
        &self,
        limiter: &dyn RateLimiter,
        key: RateKey,
        limit: Limit,
    ) -> Result<(), AdmissionError> {
        self.admit_once(limiter, key, limit, None).await
    }

    /// Same as [`admit`](Self::admit), and refuses a proof of possession that was used before.
    pub(super) async fn admit_once(
        &self,
        limiter: &dyn RateLimiter,
        key: RateKey,
        limit: Limit,
        proof: Option<&ProofUse>,
    ) -> Result<(), AdmissionError> {
        let at_most = match limit {
            Limit::AtMost(limit) => Some(limit),
            Limit::Unlimited => None,
        };
        if at_most.is_none() && proof.is_none() {
            self.set_rate(None);
            return Ok(());
        }
        let Admission { rate, is_replay } =
            limiter.admit_once(key, at_most.unwrap_or(u32::MAX), proof).await?;
        self.set_rate(at_most.map(|_| rate));
        match is_replay {
            true => Err(AdmissionError::ProofUsed),
            false if rate.admitted => Ok(()),
            false => {
                rate_limit_rejections(&key).increment(1);
                Err(AdmissionError::RateLimited)
            }
        }
    }

    fn set_rate(&self, rate: Option<RateDecision>) {
        *self.rate.lock().unwrap_or_else(PoisonError::into_inner) = rate;
    }

    /// Returns whether the request, which was admitted, would be admitted by this limit too.
    pub(super) fn is_within(&self, limit: Limit) -> bool {
        match (limit, self.rate_limit()) {
            (Limit::AtMost(limit), Some(decision)) => decision.is_within(limit),
            (Limit::AtMost(_), None) => false,
            (Limit::Unlimited, decision) => decision.is_none(),
        }
    }
}

/// Error returned if a request is not admitted now.
#[derive(Debug, thiserror::Error)]
pub enum AdmissionError {
    /// The rate limit is exceeded; [`RequestContext::rate_limit`] contains the time to retry.
    #[error("too many requests")]
    RateLimited,
    /// The proof of possession was used before.
    #[error("the proof of possession was used before")]
    ProofUsed,
    /// The store returned an error.
    #[error(transparent)]
    Store(#[from] StoreError),
}
