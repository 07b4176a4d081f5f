//! The contract of a grant.

use async_trait::async_trait;

use super::{TokenError, TokenRequest};
use crate::client_auth::AuthenticatedClient;
use domain::delegation::Delegation;
use domain::issuer::IssuerGeneration;
use domain::proof::Thumbprint;
use domain::scope::{RequestedScope, Scopes};
use domain::token::Audience;
use ports::token_store::{Dependency, IssuerDependency, PersonDependency, SpentAssertion};

/// One value of `grant_type` (RFC 6749 section 4).
#[async_trait]
pub trait Grant: Send + Sync {
    /// Returns the value of `grant_type`.
    fn grant_type(&self) -> &'static str;

    /// Determines what the client is granted. The client is authenticated and active.
    ///
    /// Called again if the client, or anything that the grant depends on, changed before its token was stored. Returns the
    /// [`TokenError`] that refuses the request.
    async fn authorize(&self, asked: Asked<'_>) -> Result<Granted, TokenError>;
}

/// A request that a grant decides.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The client, authenticated and active.
    pub client: &'a AuthenticatedClient,
    /// The parameters.
    pub request: &'a TokenRequest,
    /// The requested scope; `None` if it was not sent.
    pub scope: Option<&'a RequestedScope>,
    /// The key that the token is to be bound to: the client has proved that it possesses it.
    pub key: Option<&'a Thumbprint>,
}

/// Audience and scopes of a token.
#[derive(Clone, Debug)]
pub struct Granted {
    /// Audience of the token.
    pub audience: Audience,
    /// Scopes of the token.
    pub scopes: Scopes,
    /// The exchange by which the token is obtained; `None` for a token of the client's own.
    pub exchange: Option<Exchange>,
}

/// An exchange, with all that the token depends on in addition to its client.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Parties and ancestors of the token.
    pub delegation: Delegation,
    /// Latest `exp` of the token, in seconds since the epoch.
    pub expires_at: i64,
    /// The trusted issuers that the token rests on, except that of its client.
    pub issuers: Vec<IssuerGeneration>,
    /// Other agents by which this was determined.
    pub depends_on: Vec<Dependency>,
    /// Trusted issuers by which this was determined.
    pub decided_by: Vec<IssuerDependency>,
    /// The person that the token acts for.
    pub person: Option<PersonDependency>,
    /// The assertion that is used up.
    pub assertion: Option<SpentAssertion>,
}
