//! Client authentication (RFC 6749 section 2.3, RFC 7523).
//!
//! An unknown client, a wrong secret, a revoked or expired credential and a decommissioned agent all get the same
//! response from the same code path, so that neither its content nor its timing distinguishes them. A secret is
//! compared by bcrypt only if its fingerprint matches a valid credential, so a wrong secret costs no bcrypt.

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};

use super::Settings;
use super::auth_failures::{AuthFailures, ClaimedClient};
use super::caller::Caller;
use super::request_context::{AdmissionError, RequestContext};
use crate::domain::agent::Agent;
use crate::domain::credential::{Credential, CredentialKind};
use crate::domain::id::{AgentId, CredentialId};
use crate::domain::jwk::PublicKey;
use crate::domain::organization::Organization;
use crate::domain::secret::{ClientSecret, Fingerprint};
use crate::domain::time::Timestamp;
use crate::domain::token::generation_of;
use crate::ports::assertion_verifier::{AssertionClaims, AssertionVerifier, Unproved};
use crate::ports::clock::Clock;
use crate::ports::credential_store::{Client, CredentialStore, PresentedKind};
use crate::ports::rate_limiter::{RateKey, RateLimiter};
use crate::ports::secret_hasher::{HasherError, SecretHasher};
use crate::ports::store_error::StoreError;
use crate::ports::token_store::{SpentAssertion, TokenStore};

/// Maximum length of a client assertion, in bytes.
const MAX_ASSERTION_BYTES: usize = 8 * 1024;
/// Maximum time until an assertion's expiry, in seconds.
const MAX_ASSERTION_AHEAD_SECONDS: i64 = 3_600;
/// Maximum signature checks for a client whose address has failed too often.
const FREE_SIGNATURES: usize = 2;
/// Maximum time that a client's clock may be ahead of this service's, in seconds.
const CLOCK_SKEW_SECONDS: i64 = 10;

/// Authenticates clients by secret or by signed assertion.
#[derive(Clone)]
pub struct ClientAuth {
    pub(super) store: Arc<dyn CredentialStore>,
    pub(super) tokens: Arc<dyn TokenStore>,
    pub(super) hasher: Arc<dyn SecretHasher>,
    pub(super) verifier: Arc<dyn AssertionVerifier>,
    pub(super) limiter: Arc<dyn RateLimiter>,
    pub(super) auth_failures: AuthFailures,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) settings: Settings,
}

/// Credentials that a client presents: exactly one kind.
#[derive(Clone, Debug)]
pub enum PresentedCredentials {
    /// A client secret, from HTTP Basic or the body.
    ///
    /// `client` is `None` if the client ID is missing or malformed, `secret` is `None` if the secret is.
    Secret { client: Option<AgentId>, secret: Option<ClientSecret> },
    /// A client assertion.
    ///
    /// `client` is the `client_id` of the body; `None` if absent, nil if malformed.
    Assertion { client: Option<AgentId>, assertion: SecretString },
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
}

impl ClientAuth {
    /// Authenticates the client that presents these credentials.
    ///
    /// An assertion is not spent yet.
    pub async fn authenticate(
        &self,
        context: &RequestContext,
        presented: &PresentedCredentials,
    ) -> Result<AuthenticatedClient, ClientAuthError> {
        match presented {
            PresentedCredentials::Secret { client, secret } => {
                self.authenticate_by_secret(context, *client, secret.as_ref()).await
            }
            PresentedCredentials::Assertion { client, assertion } => {
                self.authenticate_by_assertion(context, *client, assertion.expose_secret()).await
            }
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
        let client = self.authenticate(context, presented).await?;
        self.admit(context, &client).await?;
        client.ensure_active()?;
        if let Some(assertion) = &client.assertion
            && !self.tokens.spend(client.agent.id, assertion).await?
        {
            return Err(self.refused(context, Some(client.claimed()), "private_key_jwt").await);
        }
        let minute = self.clock.now().to_the_minute();
        if client.last_used_at != Some(minute) {
            self.store.touch(client.agent.id, client.credential, minute).await?;
        }
        Ok(Caller {
            generation: generation_of(&client.agent, &client.organization),
            scopes: client.agent.capabilities.management(),
            agent: client.agent,
            origin: context.origin.clone(),
            token: None,
        })
    }

    /// Counts the request against the rate limit of the authenticated client.
    pub(super) async fn admit(
        &self,
        context: &RequestContext,
        client: &AuthenticatedClient,
    ) -> Result<(), AdmissionError> {
        context.set_organization(client.organization.id);
        let limit = client.organization.limits().requests_per_minute;
        context.admit(&*self.limiter, RateKey::Client(client.agent.id), limit).await
    }

    async fn authenticate_by_secret(
        &self,
        context: &RequestContext,
        client: Option<AgentId>,
        secret: Option<&ClientSecret>,
    ) -> Result<AuthenticatedClient, ClientAuthError> {
        const HOW: &str = "client_secret";
        let (Some(id), Some(secret)) = (client, secret) else {
            let claimed = self.claimed(client).await?;
            return Err(self.refused(context, claimed, HOW).await);
        };
        let fingerprint = secret.fingerprint();
        let Some(known) = self.store.find_client(id, PresentedKind::Secret(fingerprint)).await? else {
            return Err(self.refused(context, None, HOW).await);
        };
        let now = self.clock.now();
        let candidate = known
            .candidates
            .iter()
            .find_map(|credential| credential.hash_for(fingerprint, now).map(|hash| (credential, hash)));
        if let Some((credential, hash)) = candidate
            && self.hasher.verify(secret, hash, known.organization.id).await?
        {
            return Ok(AuthenticatedClient {
                credential: credential.id,
                secret: Some(fingerprint),
                last_used_at: credential.last_used_at,
                agent: known.agent.clone(),
                organization: known.organization.clone(),
                assertion: None,
            });
        }
        Err(self.refused(context, Some(claimed_by(&known)), HOW).await)
    }

    async fn authenticate_by_assertion(
        &self,
        context: &RequestContext,
        client: Option<AgentId>,
        assertion: &str,
    ) -> Result<AuthenticatedClient, ClientAuthError> {
        const HOW: &str = "private_key_jwt";
        let read = (assertion.len() <= MAX_ASSERTION_BYTES).then(|| self.verifier.read(assertion)).flatten();
        let claimed = read
            .as_ref()
            .and_then(|read| read.client)
            .filter(|claimed| client.is_none_or(|named| named == *claimed));
        let (Some(read), Some(id)) = (read, claimed) else {
            let claimed = self.claimed(client).await?;
            return Err(self.refused(context, claimed, HOW).await);
        };
        let now = self.clock.now();
        // Checked first, so that claims that no signature could make acceptable cost no signature check.
        if !self.accepts(&read.claims, id, now) {
            let claimed = self.claimed(Some(id)).await?;
            return Err(self.refused(context, claimed, HOW).await);
        }
        let Some(known) = self.store.find_client(id, PresentedKind::Key).await? else {
            return Err(self.refused(context, None, HOW).await);
        };
        for (place, (credential, key)) in self.keys_to_try(&known, &read, now).into_iter().enumerate() {
            // If `kid` names none of the keys, all are tried, or only the first few if the address has failed too
            // often.
            if place == FREE_SIGNATURES && self.auth_failures.is_exhausted(context) {
                break;
            }
            let Some(claims) = self.verifier.verify(assertion, key) else { continue };
            if !self.accepts(&claims, id, now) {
                break;
            }
            return Ok(AuthenticatedClient {
                credential: credential.id,
                secret: None,
                last_used_at: credential.last_used_at,
                agent: known.agent.clone(),
                organization: known.organization.clone(),
                assertion: Some(SpentAssertion { digest: claims.digest, until: claims.expires_at }),
            });
        }
        Err(self.refused(context, Some(claimed_by(&known)), HOW).await)
    }

    /// Returns the client's valid keys for the assertion's algorithm, in the order to try them.
    ///
    /// If the `kid` names one of them, only that key is returned; otherwise all, most recently used first.
    fn keys_to_try<'a>(
        &self,
        client: &'a Client,
        read: &Unproved,
        now: Timestamp,
    ) -> Vec<(&'a Credential, &'a PublicKey)> {
        let mut keys: Vec<_> = client
            .candidates
            .iter()
            .filter(|credential| credential.is_live(now))
            .filter_map(|credential| match &credential.kind {
                CredentialKind::Key(key) if key.algorithm() == read.algorithm => Some((&**credential, key)),
                _ => None,
            })
            .collect();
        if let Some(key_id) = &read.key_id
            && let Some(named) = keys.iter().position(|(_, key)| self.verifier.is_named(key, key_id))
        {
            return vec![keys.swap_remove(named)];
        }
        keys.sort_by_key(|(credential, _)| std::cmp::Reverse(credential.last_used_at));
        keys
    }

    /// Checks an assertion's claims by the rules of RFC 7523 section 3 and RFC 9700.
    fn accepts(&self, claims: &AssertionClaims, client: AgentId, now: Timestamp) -> bool {
        let id = client.to_string();
        let latest = now.plus_seconds(CLOCK_SKEW_SECONDS);
        let audience_holds = claims.audience == *self.settings.issuer
            || self.settings.token_endpoint_audience.as_deref() == Some(claims.audience.as_str());
        claims.issuer == id
            && claims.subject == id
            && audience_holds
            && claims.expires_at > now
            && claims.expires_at <= now.plus_seconds(MAX_ASSERTION_AHEAD_SECONDS)
            && claims.not_before.is_none_or(|at| at <= latest)
            && claims.issued_at.is_none_or(|at| at <= latest)
    }

    /// Looks up the client with this ID, to record a failure under it.
    ///
    /// The lookup also keeps timing from distinguishing failures.
    async fn claimed(&self, client: Option<AgentId>) -> Result<Option<ClaimedClient>, StoreError> {
        let Some(id) = client.filter(|id| *id != AgentId::NIL) else { return Ok(None) };
        let known = self.store.find_client(id, PresentedKind::None).await?;
        Ok(known.as_ref().map(claimed_by))
    }

    pub(super) async fn refused(
        &self,
        context: &RequestContext,
        claimed: Option<ClaimedClient>,
        how: &'static str,
    ) -> ClientAuthError {
        match self.auth_failures.record(context, claimed, how).await {
            Ok(()) => ClientAuthError::InvalidClient,
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

    pub(super) fn claimed(&self) -> ClaimedClient {
        ClaimedClient { agent: self.agent.id, organization: self.organization.id }
    }
}

fn claimed_by(client: &Client) -> ClaimedClient {
    ClaimedClient { agent: client.agent.id, organization: client.organization.id }
}

/// Error returned by client authentication.
#[derive(Debug, thiserror::Error)]
pub enum ClientAuthError {
    /// The client could not be authenticated.
    #[error("client authentication failed")]
    InvalidClient,
    /// The authenticated agent or its organization is suspended.
    #[error("the agent or its organization is suspended")]
    Suspended,
    /// The client, or the address of a failed authentication, has exceeded its rate limit.
    #[error("too many requests")]
    RateLimited,
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
            AdmissionError::RateLimited => Self::RateLimited,
            AdmissionError::Store(failure) => Self::Store(failure),
        }
    }
}
