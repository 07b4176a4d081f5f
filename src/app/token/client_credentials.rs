//! The client credentials grant (RFC 6749 section 4.4).

use std::sync::Arc;

use async_trait::async_trait;

use super::{Grant, Granted, TokenError, TokenRequest};
use crate::Settings;
use crate::client_auth::AuthenticatedClient;
use domain::organization::Organization;
use domain::scope::{RequestedScope, Scopes};
use domain::token::Audience;

/// `client_credentials`: a token for the agent itself.
pub(super) struct ClientCredentials {
    issuer: Arc<str>,
}

impl ClientCredentials {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { issuer: settings.issuer.clone() }
    }

    /// Returns the audience: the issuer, or the one requested resource of the organization.
    ///
    /// Returns [`TokenError::InvalidTarget`] for any other resource, or for more than one.
    fn audience(&self, organization: &Organization, resources: &[String]) -> Result<Audience, TokenError> {
        match resources {
            [] => Ok(Audience::Issuer),
            [one] if **one == *self.issuer => Ok(Audience::Issuer),
            [one] if organization.has_resource(one) => Ok(Audience::Resource(one.as_str().into())),
            _ => Err(TokenError::InvalidTarget),
        }
    }
}

#[async_trait]
impl Grant for ClientCredentials {
    fn grant_type(&self) -> &'static str {
        "client_credentials"
    }

    async fn authorize(
        &self,
        client: &AuthenticatedClient,
        request: &TokenRequest,
        scope: Option<&RequestedScope>,
    ) -> Result<Granted, TokenError> {
        let audience = self.audience(&client.organization, &request.resources)?;
        let scopes = scopes(client, &audience, scope)?;
        Ok(Granted { audience, scopes, depends_on: Vec::new() })
    }
}

/// Returns the scopes of the token.
///
/// A token for a resource server never carries a management scope.
fn scopes(
    client: &AuthenticatedClient,
    audience: &Audience,
    asked: Option<&RequestedScope>,
) -> Result<Scopes, TokenError> {
    let capabilities = &client.agent.capabilities;
    let scopes = match asked {
        Some(asked) => capabilities.grant(asked)?,
        None => capabilities.default_grant(),
    };
    if *audience != Audience::Issuer && !scopes.management().is_empty() {
        return Err(TokenError::ManagementScopeForResource);
    }
    Ok(scopes)
}
