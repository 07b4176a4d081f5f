//! Client authentication (RFC 6749 section 2.3, RFC 7523).
//!
//! An unknown client, a wrong secret, a revoked or expired credential and a decommissioned agent all get the same
//! response from the same code path, so that neither its content nor its timing distinguishes them. A secret is
//! compared by bcrypt only if its fingerprint matches a valid credential, so a wrong secret costs no bcrypt.
//!
//! Each method of client authentication is one [`ClientAuthenticator`] in a file of its own, and one entry of
//! `authenticators!`.

mod authenticator;
mod client_secret;
pub(crate) mod federated_jwt;
mod private_key_jwt;

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};

pub use authenticator::{ClientAuthenticator, MethodError, Refusal};

use super::auth_failures::{AuthFailure, AuthFailureReason, AuthFailures, ClaimedClient};
use super::caller::Caller;
use super::request_context::{AdmissionError, RequestContext};
use super::{Ports, Settings};
use domain::agent::Agent;
use domain::client::RegisteredClient;
use domain::federation::Check;
use domain::id::{AgentId, CredentialId};
use domain::issuer::{IssuerGeneration, TrustedIssuer};
use domain::organization::Organization;
use domain::secret::Fingerprint;
use domain::time::Timestamp;
use domain::token::generation_of;
use ports::clock::Clock;
use ports::credential_store::{CredentialStore, Freshness, PresentedKind};
use ports::rate_limiter::{RateKey, RateLimiter};
use ports::secret_hasher::HasherError;
use ports::store_error::StoreError;
use ports::token_store::{SpentAssertion, TokenStore};

/// A parameter of a form.
#[derive(Clone, Copy, Debug)]
pub struct FormParameter {
    /// Name on the wire.
    pub name: &'static str,
    /// Description, in Markdown; may be empty.
    pub description: &'static str,
}

/// Lists the authenticators. The first one is used if a request has no credentials.
macro_rules! authenticators {
    ($($module:ident::$authenticator:ident),+ $(,)?) => {
        fn authenticators(
            ports: &Ports,
            auth_failures: &AuthFailures,
            settings: &Settings,
        ) -> Arc<[Arc<dyn ClientAuthenticator>]> {
            Arc::new([$(Arc::new($module::$authenticator::new(ports, auth_failures, settings))),+])
        }

        /// Returns the form parameters of client authentication, which every form may have.
        pub fn form_parameters() -> impl Iterator<Item = FormParameter> + Clone {
            let own = FormParameter { name: CLIENT_ID, description: "" };
            std::iter::once(own).chain([$($module::PARAMETERS),+].into_iter().flatten().copied())
        }
    };
}
authenticators![
    client_secret::ClientSecretAuthenticator,
    private_key_jwt::PrivateKeyJwt,
    federated_jwt::FederatedJwt,
];

/// Credentials that a client presents, as the transport collected them.
#[derive(Clone, Debug, Default)]
pub struct PresentedCredentials {
    /// Content of the `Authorization` header.
    pub header: PresentedHeader,
    /// Form parameters with their values, none of them empty.
    pub parameters: Vec<(&'static str, SecretString)>,
}

/// Content of the `Authorization` header, as far as client authentication reads it.
#[derive(Clone, Debug, Default)]
pub enum PresentedHeader {
    /// The header is absent.
    #[default]
    Absent,
    /// HTTP Basic: client ID and secret; `None` if they cannot be decoded.
    Basic(Option<(String, SecretString)>),
    /// Another scheme.
    Other,
    /// More than one header.
    Several,
}

impl PresentedCredentials {
    /// Returns a form parameter; `None` if it is absent.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.expose_secret())
    }

    /// Returns whether the form has credentials, apart from a `client_id`.
    pub fn has_parameters(&self) -> bool {
        self.parameters.iter().any(|(name, _)| *name != CLIENT_ID)
    }

    /// Returns the `client_id` of the form; nil if it is malformed, `None` if it is absent.
    fn client_id(&self) -> Option<AgentId> {
        self.parameter(CLIENT_ID).map(|id| AgentId::parse(id).unwrap_or(AgentId::NIL))
    }
}

/// Form parameter that every method may have.
const CLIENT_ID: &str = "client_id";
/// Description of the error if a request has credentials of more than one method (RFC 6749 section 2.3).
const SEVERAL_METHODS: &str = "use exactly one method of client authentication";

/// Authenticates clients, by whichever method they use.
#[derive(Clone)]
pub struct ClientAuth {
    authenticators: Arc<[Arc<dyn ClientAuthenticator>]>,
    store: Arc<dyn CredentialStore>,
    tokens: Arc<dyn TokenStore>,
    limiter: Arc<dyn RateLimiter>,
    auth_failures: AuthFailures,
    clock: Arc<dyn Clock>,
}

/// An authenticated client.
///
/// The client may still be suspended. Suspension is reported only after authentication.
#[derive(Clone, Debug)]
pub struct AuthenticatedClient {
    pub(super) agent: Arc<Agent>,
    pub(super) organization: Arc<Organization>,
    pub(super) credential: CredentialId,
    /// Fingerprint of the secret that authenticated the client; `None` for an assertion.
    pub(super) secret: Option<Fingerprint>,
    /// Last use of the credential that is already recorded, to the minute.
    pub(super) last_used_at: Option<Timestamp>,
    pub(super) assertion: Option<SpentAssertion>,
    /// The trusted issuer whose assertion authenticated the client.
    pub(super) issuer: Option<Arc<TrustedIssuer>>,
    /// Name of the method in audit events.
    pub(super) method: &'static str,
    /// Whether all of this was so at the request; otherwise it was so shortly before.
    pub(super) is_current: bool,
}

impl ClientAuth {
    /// Creates the use case with every method of client authentication.
    pub(super) fn new(ports: &Ports, auth_failures: &AuthFailures, settings: &Settings) -> Self {
        let stores = &ports.stores;
        Self {
            authenticators: authenticators(ports, auth_failures, settings),
            store: stores.credentials.clone(),
            tokens: stores.tokens.clone(),
            limiter: stores.limiter.clone(),
            auth_failures: auth_failures.clone(),
            clock: ports.clock.clone(),
        }
    }

    /// Returns the names of all methods in the IANA registry.
    pub fn methods(&self) -> impl Iterator<Item = &'static str> {
        self.authenticators.iter().flat_map(|authenticator| authenticator.methods()).copied()
    }

    /// Returns the names of all methods in audit events.
    pub(super) fn audit_names(&self) -> Vec<&'static str> {
        self.authenticators.iter().map(|authenticator| authenticator.audit_name()).collect()
    }

    /// Authenticates the client that presents these credentials. An assertion is not spent yet.
    ///
    /// With [`Freshness::Recent`] the client may be as it was shortly before. It is never refused by that.
    pub async fn authenticate(
        &self,
        context: &RequestContext,
        presented: &PresentedCredentials,
        freshness: Freshness,
    ) -> Result<AuthenticatedClient, ClientAuthError> {
        let authenticator = match self.select(presented) {
            Ok(authenticator) => authenticator,
            Err(description) => return Err(self.malformed(context, description).await),
        };
        let authenticated = match authenticator.authenticate(context, presented, freshness).await {
            Err(MethodError::Refused(Refusal { is_current: false, .. })) => {
                authenticator.authenticate(context, presented, Freshness::Current).await
            }
            authenticated => authenticated,
        };
        match authenticated {
            Ok(client) => Ok(client),
            Err(MethodError::Refused(Refusal { claimed, reason, rule, .. })) => {
                let failure = AuthFailure { method: authenticator.audit_name(), claimed, reason };
                let error = rule.map_or(ClientAuthError::InvalidClient, ClientAuthError::Forbidden);
                Err(self.refused(context, failure, error).await)
            }
            Err(MethodError::Malformed(description)) => Err(self.malformed(context, description).await),
            Err(MethodError::Failed(error @ ClientAuthError::KeysUnavailable { .. })) => {
                self.auth_failures.count(context).await?;
                Err(error)
            }
            Err(MethodError::Failed(error)) => Err(error),
        }
    }

    /// Counts a request without credentials of exactly one method against its address.
    async fn malformed(&self, context: &RequestContext, description: &'static str) -> ClientAuthError {
        match self.auth_failures.count(context).await {
            Ok(()) => ClientAuthError::Malformed(description),
            Err(failure) => failure.into(),
        }
    }

    /// Returns the authenticator of the one method that was used.
    fn select(&self, presented: &PresentedCredentials) -> Result<&dyn ClientAuthenticator, &'static str> {
        let mut recognized =
            self.authenticators.iter().filter(|authenticator| authenticator.recognizes(presented));
        match (recognized.next(), recognized.next(), &presented.header) {
            (_, _, PresentedHeader::Several) | (_, Some(_), _) | (Some(_), _, PresentedHeader::Other) => {
                Err(SEVERAL_METHODS)
            }
            (Some(authenticator), None, _) => Ok(&**authenticator),
            // Refused as unauthenticated.
            (None, _, _) => Ok(&*self.authenticators[0]),
        }
    }

    /// Authenticates a client as the caller of an endpoint that also takes bearer tokens.
    ///
    /// The caller has all management scopes among its capabilities.
    pub async fn authenticate_caller(
        &self,
        context: &RequestContext,
        presented: &PresentedCredentials,
    ) -> Result<Caller, ClientAuthError> {
        let client = self.authenticate(context, presented, Freshness::Current).await?;
        self.admit(context, &client).await?;
        client.ensure_active()?;
        if let Some(assertion) = &client.assertion
            && !self.tokens.spend(assertion).await?
        {
            return Err(self.refuse_replay(context, &client).await);
        }
        let minute = self.clock.now().to_the_minute();
        if client.last_used_at != Some(minute) {
            self.store.touch(client.agent.id, client.credential, minute).await?;
        }
        Ok(Caller {
            generation: generation_of(&client.agent, &client.organization),
            scopes: client.agent.capabilities.management(),
            issuers: client.issuers(),
            agent: client.agent,
            origin: context.origin.clone(),
            token: None,
        })
    }

    /// Records that an assertion was used before.
    pub(super) async fn refuse_replay(
        &self,
        context: &RequestContext,
        client: &AuthenticatedClient,
    ) -> ClientAuthError {
        let claimed = Some(client.claimed());
        let (reason, rule) = match client.issuer {
            Some(_) => (AuthFailureReason::Check(Check::Jti), Check::Jti.rule()),
            None => (
                AuthFailureReason::Replayed,
                "the assertion's jti was used before; make a new assertion for each request",
            ),
        };
        let failure = AuthFailure { method: client.method, claimed, reason };
        self.refused(context, failure, ClientAuthError::Forbidden(rule.to_owned())).await
    }

    /// Authenticates a client, counts the request against its rate limit, and returns it as it may have been shortly
    /// before.
    ///
    /// It is never refused by what was so shortly before.
    pub(super) async fn authenticate_and_admit(
        &self,
        context: &RequestContext,
        presented: &PresentedCredentials,
    ) -> Result<AuthenticatedClient, ClientAuthError> {
        let client = self.authenticate(context, presented, Freshness::Recent).await?;
        match self.admit(context, &client).await {
            Err(AdmissionError::RateLimited) if !client.is_current => {}
            admitted => return admitted.map(|()| client).map_err(Into::into),
        }
        let client = self.authenticate(context, presented, Freshness::Current).await?;
        self.admit(context, &client).await?;
        Ok(client)
    }

    /// Returns an admitted client as it is now.
    ///
    /// If it was admitted by a limit under which it would not be admitted now, it is judged by its limit again, and
    /// stays counted even if it is refused by that.
    pub(super) async fn authenticate_again(
        &self,
        context: &RequestContext,
        presented: &PresentedCredentials,
    ) -> Result<AuthenticatedClient, ClientAuthError> {
        let client = self.authenticate(context, presented, Freshness::Current).await?;
        if !context.is_within(client.organization.limits().requests_per_minute) {
            self.admit(context, &client).await?;
        }
        Ok(client)
    }

    /// Counts the request against the rate limit of the authenticated client.
    pub(super) async fn admit(
        &self,
        context: &RequestContext,
        client: &AuthenticatedClient,
    ) -> Result<(), AdmissionError> {
        context.set_client(client.agent.id, client.organization.id);
        let limit = client.organization.limits().requests_per_minute;
        context.admit(&*self.limiter, RateKey::Client(client.agent.id), limit).await
    }

    async fn refused(
        &self,
        context: &RequestContext,
        failure: AuthFailure,
        error: ClientAuthError,
    ) -> ClientAuthError {
        match self.auth_failures.record(context, failure).await {
            Ok(()) => error,
            Err(failure) => failure.into(),
        }
    }
}

impl AuthenticatedClient {
    /// Returns [`ClientAuthError::Suspended`] if the agent or its organization is not active.
    pub(super) fn ensure_active(&self) -> Result<(), ClientAuthError> {
        if self.agent.is_active() && self.organization.is_active() {
            Ok(())
        } else {
            Err(ClientAuthError::Suspended)
        }
    }

    /// Returns the trusted issuers that a token of the client rests on.
    pub(super) fn issuers(&self) -> Vec<IssuerGeneration> {
        self.issuer.iter().map(|issuer| issuer.generation()).collect()
    }

    pub(super) fn claimed(&self) -> ClaimedClient {
        ClaimedClient { agent: self.agent.id, organization: self.organization.id }
    }
}

/// Looks up the client with this ID, to record a failure under it.
///
/// The lookup also keeps timing from distinguishing failures.
async fn claimed(
    store: &dyn CredentialStore,
    client: Option<AgentId>,
) -> Result<Option<ClaimedClient>, StoreError> {
    let Some(id) = client.filter(|id| *id != AgentId::NIL) else { return Ok(None) };
    let known = store.find_client(id, PresentedKind::None, Freshness::Current).await?;
    Ok(known.as_ref().map(claimed_by))
}

fn claimed_by(client: &RegisteredClient) -> ClaimedClient {
    ClaimedClient { agent: client.agent.id, organization: client.organization.id }
}

/// Error returned by client authentication.
#[derive(Debug, thiserror::Error)]
pub enum ClientAuthError {
    /// The client could not be authenticated.
    #[error("client authentication failed")]
    InvalidClient,
    /// The credentials are those of the client, but a rule forbids their use; the text says which rule.
    #[error("{0}")]
    Forbidden(String),
    /// The request has no credentials of exactly one method; the text says what is wrong.
    #[error("{0}")]
    Malformed(&'static str),
    /// The authenticated agent or its organization is suspended.
    #[error("the agent or its organization is suspended")]
    Suspended,
    /// The client, or the address of a failed authentication, has exceeded its rate limit.
    #[error("too many requests")]
    RateLimited,
    /// The keys of the trusted issuer are not known and cannot be fetched now.
    #[error("the keys of the assertion's issuer cannot be fetched now")]
    KeysUnavailable {
        /// Seconds until the next attempt to fetch them.
        retry_after: u32,
    },
    /// The secret could not be verified.
    #[error(transparent)]
    Hasher(#[from] HasherError),
    /// The store returned an error.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<AdmissionError> for ClientAuthError {
    fn from(failure: AdmissionError) -> Self {
        match failure {
            // A client authenticates without a proof.
            AdmissionError::RateLimited | AdmissionError::ProofUsed => Self::RateLimited,
            AdmissionError::Store(failure) => Self::Store(failure),
        }
    }
}
