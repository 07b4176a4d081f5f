//! The client credentials grant (RFC 6749 section 4.4).

use async_trait::async_trait;

use super::target::Targets;
use super::{Asked, Grant, Granted, TokenError};
use crate::client_auth::FormParameter;
use crate::{Ports, Settings};
use domain::token::Audience;

/// The value of `grant_type`.
pub(super) const GRANT_TYPE: &str = "client_credentials";
/// The form parameters of the grant.
pub(super) const PARAMETERS: &[FormParameter] = &[];

/// `client_credentials`: a token for the agent itself.
pub(super) struct ClientCredentials {
    targets: Targets,
}

impl ClientCredentials {
    pub(super) fn new(_: &Ports, settings: &Settings) -> Self {
        Self { targets: Targets::new(settings) }
    }
}

#[async_trait]
impl Grant for ClientCredentials {
    fn grant_type(&self) -> &'static str {
        GRANT_TYPE
    }

    async fn authorize(
        &self,
        Asked { client, request, scope, .. }: Asked<'_>,
    ) -> Result<Granted, TokenError> {
        let capabilities = &client.agent.capabilities;
        let scopes = match scope {
            Some(asked) => capabilities.grant(asked)?,
            None => capabilities.default_grant(),
        };
        let carries_management = !scopes.management().is_empty();
        let audience = self.targets.audience(client, request, scope.is_some() && carries_management)?;
        if audience != Audience::Issuer && carries_management {
            return Err(TokenError::ManagementScopeForResource);
        }
        Ok(Granted { audience, scopes, exchange: None })
    }
}
