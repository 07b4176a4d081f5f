//! Forward authentication: judging the access tokens of requests to other services, for the proxy in front of them.

use std::sync::Arc;

use super::bearer::{Bearer, BearerError, PresentedToken};
use super::request_context::RequestContext;
use super::settings::Settings;
use domain::resource_indicator::{ResourceIndicator, normal_form};
use domain::scope::{RequestedScope, Scopes};
use domain::token::{Audience, Claims};

/// Judges requests by their access tokens.
#[derive(Clone)]
pub struct ForwardAuth {
    bearer: Bearer,
    issuer: Arc<str>,
}

/// Requirement of a proxy for a request.
#[derive(Clone, Debug, Default)]
pub struct Requirement {
    /// The audience that the token must have; the issuer if `None`.
    pub resource: Option<ResourceIndicator>,
    /// Scopes that the token must all have; any token will do if `None`.
    pub scope: Option<RequestedScope>,
}

/// A request that may pass.
#[derive(Debug)]
pub struct AllowedRequest {
    /// Claims of its token.
    pub claims: Arc<Claims>,
    /// Scopes of the token that each of its parties still has.
    pub scopes: Scopes,
}

impl ForwardAuth {
    pub(super) fn new(bearer: Bearer, settings: &Settings) -> Self {
        Self { bearer, issuer: settings.issuer.clone() }
    }

    /// Checks that a request has an active token for the resource with all scopes, and applies the rate limit of its client.
    ///
    /// A token that is bound to a key must come with a proof for the request, which was not used before. Nothing but the
    /// caller's own token is revealed, so that no other credential is needed.
    pub async fn judge(
        &self,
        context: &RequestContext,
        token: Option<PresentedToken<'_>>,
        requirement: &Requirement,
    ) -> Result<AllowedRequest, ForwardAuthError> {
        let is_wanted = |audience: &Audience| self.is_wanted(audience, requirement.resource.as_ref());
        let (claims, status, ()) =
            self.bearer.judge(context, token, is_wanted, std::future::ready(())).await?;
        let scopes = status.effective_scopes(&claims);
        if let Some(required) = &requirement.scope
            && scopes.grant(required).is_err()
        {
            let is_bound = claims.key.is_some();
            return Err(ForwardAuthError::InsufficientScope { required: required.clone(), is_bound });
        }
        Ok(AllowedRequest { claims, scopes })
    }

    fn is_wanted(&self, audience: &Audience, resource: Option<&ResourceIndicator>) -> bool {
        let audience = match audience {
            Audience::Issuer => &*self.issuer,
            Audience::Resource(uri) => uri,
        };
        let wanted = resource.map_or(&*self.issuer, ResourceIndicator::as_str);
        audience == wanted || normal_form(audience) == normal_form(wanted)
    }
}

/// Error of [`ForwardAuth::judge`].
#[derive(Debug, thiserror::Error)]
pub enum ForwardAuthError {
    /// The request has no such token, or its client exceeded its rate limit.
    #[error(transparent)]
    Bearer(#[from] BearerError),
    /// The token is active, but lacks a scope.
    #[error("insufficient scope: the token lacks a scope that the request requires")]
    InsufficientScope {
        /// All scopes that are required.
        required: RequestedScope,
        /// Whether the token is bound to a key.
        is_bound: bool,
    },
}
