//! The audience of a token: the target that a client requests (RFC 8707).

use std::sync::Arc;

use super::{TokenError, TokenRequest};
use crate::Settings;
use crate::client_auth::AuthenticatedClient;
use domain::resource_indicator::normal_form;
use domain::token::Audience;

/// Finds the audience of tokens.
pub(super) struct Targets {
    issuer: Arc<str>,
    issuer_normal_form: String,
}

impl Targets {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { issuer: settings.issuer.clone(), issuer_normal_form: normal_form(&settings.issuer) }
    }

    /// Returns the audience: the one requested target; without one the default resource of the agent, or the issuer if
    /// the agent has none or a management scope is requested by name.
    ///
    /// Returns [`TokenError::InvalidTarget`] for a target that the organization does not list, or for more than one.
    pub(super) fn audience(
        &self,
        client: &AuthenticatedClient,
        request: &TokenRequest,
        is_management: bool,
    ) -> Result<Audience, TokenError> {
        let organization = &client.organization;
        let uris = request.resources.iter().map(|resource| (resource, false));
        let mut targets = uris.chain(request.audiences.iter().map(|audience| (audience, true)));
        let Some((target, may_be_name)) = targets.next() else {
            return match &client.agent.default_resource {
                Some(default) if !is_management => match organization.has_resource(default.as_str()) {
                    true => Ok(Audience::Resource(default.as_str().into())),
                    false => Err(TokenError::InvalidTarget(
                        "the organization no longer lists the agent's defaultResource; request another resource",
                    )),
                },
                _ => Ok(Audience::Issuer),
            };
        };
        if targets.next().is_some() {
            return Err(TokenError::InvalidTarget("request one resource or one audience, not several"));
        }
        if **target == *self.issuer || normal_form(target) == self.issuer_normal_form {
            return Ok(Audience::Issuer);
        }
        match organization.resource(target) {
            Some(listed) if may_be_name || !listed.is_name() => {
                Ok(Audience::Resource(listed.as_str().into()))
            }
            Some(_) => {
                Err(TokenError::InvalidTarget("a plain name is requested as audience, not as resource"))
            }
            None => Err(TokenError::InvalidTarget("the organization does not list this resource")),
        }
    }
}
