//! The contract of a method of client authentication.

use async_trait::async_trait;

use super::{AuthenticatedClient, ClientAuthError, FormParameter, PresentedCredentials, claimed_by};
use crate::auth_failures::{AuthFailureReason, ClaimedClient};
use crate::request_context::RequestContext;
use domain::client::RegisteredClient;
use ports::credential_store::Freshness;
use ports::secret_hasher::HasherError;
use ports::store_error::StoreError;

/// One or more methods of client authentication that read the same credentials.
#[async_trait]
pub trait ClientAuthenticator: Send + Sync {
    /// Returns the names of the methods in the IANA registry of token endpoint authentication methods.
    fn methods(&self) -> &'static [&'static str];

    /// Returns the form parameters that the methods read, in addition to `client_id`.
    fn parameters(&self) -> &'static [FormParameter];

    /// Returns the name of the methods in audit events.
    fn audit_name(&self) -> &'static str;

    /// Returns whether credentials of these methods were presented.
    fn recognizes(&self, presented: &PresentedCredentials) -> bool {
        self.parameters().iter().any(|read| presented.parameter(read.name).is_some())
    }

    /// Authenticates the client that presents these credentials. Nothing is spent yet.
    ///
    /// With [`Freshness::Recent`] the answer may be that of shortly before, and says so.
    async fn authenticate(
        &self,
        context: &RequestContext,
        presented: &PresentedCredentials,
        freshness: Freshness,
    ) -> Result<AuthenticatedClient, MethodError>;
}

/// Reason why an authenticator does not authenticate a client.
pub enum MethodError {
    /// The credentials do not authenticate the client.
    Refused(Refusal),
    /// The request is malformed; the text says how.
    Malformed(&'static str),
    /// The credentials could not be checked.
    Failed(ClientAuthError),
}

/// A failed client authentication.
pub struct Refusal {
    /// The claimed client, under which the failure is recorded; `None` if it is unknown.
    pub(super) claimed: Option<ClaimedClient>,
    pub(super) reason: AuthFailureReason,
    /// The rule that forbids the use of credentials that are those of the client; `None` if they are not.
    pub(super) rule: Option<String>,
    /// Whether the client was judged as it was at the request.
    pub(super) is_current: bool,
}

impl Refusal {
    /// Creates the refusal of credentials that could not be compared with those of a client.
    pub(super) fn without_client(claimed: Option<ClaimedClient>, reason: AuthFailureReason) -> Self {
        Self { claimed, reason, rule: None, is_current: true }
    }

    /// Creates the refusal of credentials that are not those of this client.
    pub(super) fn of(client: &RegisteredClient, reason: AuthFailureReason) -> Self {
        let RegisteredClient { is_current, .. } = *client;
        Self { claimed: Some(claimed_by(client)), reason, rule: None, is_current }
    }

    /// Adds the rule that forbids the use of the client's credentials.
    pub(super) fn by_rule(self, rule: String) -> Self {
        Self { rule: Some(rule), ..self }
    }
}

impl From<Refusal> for MethodError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<StoreError> for MethodError {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<HasherError> for MethodError {
    fn from(error: HasherError) -> Self {
        Self::Failed(error.into())
    }
}
