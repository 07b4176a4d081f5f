//! The contract of a grant.

use async_trait::async_trait;

use super::{TokenError, TokenRequest};
use crate::client_auth::AuthenticatedClient;
use domain::scope::{RequestedScope, Scopes};
use domain::token::Audience;
use ports::token_store::Dependency;

/// One value of `grant_type` (RFC 6749 section 4).
#[async_trait]
pub trait Grant: Send + Sync {
    /// Returns the value of `grant_type`.
    fn grant_type(&self) -> &'static str;

    /// Determines what the client is granted. The client is authenticated and active.
    ///
    /// Called again if the client changed before its token was stored. Returns the [`TokenError`] that refuses the
    /// request.
    async fn authorize(
        &self,
        client: &AuthenticatedClient,
        request: &TokenRequest,
        scope: Option<&RequestedScope>,
    ) -> Result<Granted, TokenError>;
}

/// Audience and scopes of a token.
#[derive(Clone, Debug)]
pub struct Granted {
    /// Audience of the token.
    pub audience: Audience,
    /// Scopes of the token.
    pub scopes: Scopes,
    /// Agents other than the client by which this was determined.
    ///
    /// If one of them has changed when the token is stored, the grant is called again.
    pub depends_on: Vec<Dependency>,
}
