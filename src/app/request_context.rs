//! One request as the core sees it: where it comes from, and how its allowance stands.

use std::sync::{Mutex, OnceLock, PoisonError};

use crate::domain::audit::Origin;
use crate::domain::id::OrganizationId;
use crate::domain::plan::Limit;
use crate::domain::rate::RateDecision;
use crate::ports::rate_limiter::{RateKey, RateLimiter};
use crate::ports::store_error::StoreError;

/// The circumstances of one request.
#[derive(Debug)]
pub struct RequestContext {
    /// Where it comes from.
    pub origin: Origin,
    rate: Mutex<Option<RateDecision>>,
    organization: OnceLock<OrganizationId>,
}

impl RequestContext {
    /// A request that comes from there.
    pub const fn new(origin: Origin) -> Self {
        Self { origin, rate: Mutex::new(None), organization: OnceLock::new() }
    }

    /// The organization of the caller, once that is known.
    pub fn organization(&self) -> Option<OrganizationId> {
        self.organization.get().copied()
    }

    /// Notes whose caller it is.
    pub(super) fn set_organization(&self, organization: OrganizationId) {
        // A caller has one organization, which never changes.
        let _ = self.organization.set(organization);
    }

    /// How the allowance that the request was held to stands, if it was held to one.
    pub fn rate_limit(&self) -> Option<RateDecision> {
        *self.rate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds the request to a limit, and notes how that stands.
    pub(super) async fn admit(
        &self,
        limiter: &dyn RateLimiter,
        key: RateKey,
        limit: Limit,
    ) -> Result<(), AdmissionError> {
        let Limit::AtMost(limit) = limit else { return Ok(()) };
        let decision = limiter.admit(key, limit).await?;
        *self.rate.lock().unwrap_or_else(PoisonError::into_inner) = Some(decision);
        if decision.admitted { Ok(()) } else { Err(AdmissionError::RateLimited) }
    }
}

/// Why a request may not go on now.
#[derive(Debug, thiserror::Error)]
pub enum AdmissionError {
    /// Its allowance is used up; [`RequestContext::rate_limit`] says when to come back.
    #[error("too many requests")]
    RateLimited,
    #[error(transparent)]
    Store(#[from] StoreError),
}
