//! Per-request context: ID, origin and rate-limit outcome.

use std::sync::{Mutex, OnceLock, PoisonError};

use domain::audit::Origin;
use domain::id::OrganizationId;
use domain::plan::Limit;
use domain::rate::RateDecision;
use ports::rate_limiter::{RateKey, RateLimiter};
use ports::store_error::StoreError;

/// ID, origin, organization and rate-limit outcome of one request.
#[derive(Debug)]
pub struct RequestContext {
    /// ID of the request, by which the log names it.
    pub id: String,
    /// Origin of the request.
    pub origin: Origin,
    rate: Mutex<Option<RateDecision>>,
    organization: OnceLock<OrganizationId>,
}

impl RequestContext {
    /// Creates the context of the request with this ID from this origin.
    pub const fn new(id: String, origin: Origin) -> Self {
        Self { id, origin, rate: Mutex::new(None), organization: OnceLock::new() }
    }

    /// Returns the organization of the caller, once it is known.
    pub fn organization(&self) -> Option<OrganizationId> {
        self.organization.get().copied()
    }

    /// Records the organization of the caller.
    pub(super) fn set_organization(&self, organization: OrganizationId) {
        // A caller has one organization, which never changes.
        let _ = self.organization.set(organization);
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
        let Limit::AtMost(limit) = limit else {
            *self.rate.lock().unwrap_or_else(PoisonError::into_inner) = None;
            return Ok(());
        };
        let decision = limiter.admit(key, limit).await?;
        *self.rate.lock().unwrap_or_else(PoisonError::into_inner) = Some(decision);
        if decision.admitted { Ok(()) } else { Err(AdmissionError::RateLimited) }
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
    /// The store returned an error.
    #[error(transparent)]
    Store(#[from] StoreError),
}
