//! Authentication by a signed assertion (RFC 7523 section 2.2).

use std::sync::Arc;

use async_trait::async_trait;

use super::federated_jwt::JWT_SPIFFE;
use super::{
    AuthenticatedClient, ClientAuthenticator, FormParameter, MethodError, PresentedCredentials, Refusal,
    claimed,
};
use crate::auth_failures::{AuthFailureReason, AuthFailures};
use crate::request_context::RequestContext;
use crate::{Ports, Settings};
use domain::client::RegisteredClient;
use domain::credential::{Credential, CredentialKind};
use domain::id::AgentId;
use domain::jwk::PublicKey;
use domain::time::Timestamp;
use ports::assertion_verifier::{AssertionClaims, AssertionSigner, AssertionVerifier, Unverified};
use ports::clock::Clock;
use ports::credential_store::{CredentialStore, Freshness, PresentedKind};
use ports::token_store::{Signer, SpentAssertion};

/// Name of the method in audit events.
const AUDIT_NAME: &str = "private_key_jwt";
pub(super) const ASSERTION: &str = "client_assertion";
pub(super) const ASSERTION_TYPE: &str = "client_assertion_type";
/// The form parameters of the method.
pub(super) const PARAMETERS: &[FormParameter] = &[
    FormParameter { name: ASSERTION, description: "" },
    FormParameter {
        name: ASSERTION_TYPE,
        description: "`urn:ietf:params:oauth:client-assertion-type:jwt-bearer`, or `…:jwt-spiffe` for a JWT-SVID",
    },
];
/// `client_assertion_type` of a JWT (RFC 7523 section 2.2).
pub(super) const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Maximum length of a client assertion, in bytes.
const MAX_ASSERTION_BYTES: usize = 8 * 1024;
/// Maximum time until an assertion's expiry, in seconds.
const MAX_ASSERTION_AHEAD_SECONDS: i64 = 3_600;
/// Maximum signature checks for claims that are refused in any case, and for an address that has failed too often.
const FREE_SIGNATURES: usize = 2;
/// Maximum time that a client's clock may be ahead of this service's, in seconds.
const CLOCK_SKEW_SECONDS: i64 = 10;

/// `private_key_jwt`.
pub(super) struct PrivateKeyJwt {
    store: Arc<dyn CredentialStore>,
    verifier: Arc<dyn AssertionVerifier>,
    auth_failures: AuthFailures,
    clock: Arc<dyn Clock>,
    settings: Settings,
}

#[async_trait]
impl ClientAuthenticator for PrivateKeyJwt {
    fn methods(&self) -> &'static [&'static str] {
        &["private_key_jwt"]
    }

    fn parameters(&self) -> &'static [FormParameter] {
        PARAMETERS
    }

    fn audit_name(&self) -> &'static str {
        AUDIT_NAME
    }

    fn recognizes(&self, presented: &PresentedCredentials) -> bool {
        match presented.parameter(ASSERTION).map(|assertion| self.verifier.signer(assertion)) {
            Some(Some(signer)) => signer == AssertionSigner::Client,
            Some(None) => presented.parameter(ASSERTION_TYPE) != Some(JWT_SPIFFE),
            None => presented.parameter(ASSERTION_TYPE).is_some(),
        }
    }

    async fn authenticate(
        &self,
        context: &RequestContext,
        presented: &PresentedCredentials,
        freshness: Freshness,
    ) -> Result<AuthenticatedClient, MethodError> {
        let Some(assertion) = presented.parameter(ASSERTION) else {
            return Err(MethodError::Malformed("client_assertion is missing or empty"));
        };
        if presented.parameter(ASSERTION_TYPE) != Some(JWT_BEARER) {
            return Err(MethodError::Malformed(
                "client_assertion_type must be urn:ietf:params:oauth:client-assertion-type:jwt-bearer for a JWT of the agent",
            ));
        }
        let client = presented.client_id();
        let read = (assertion.len() <= MAX_ASSERTION_BYTES).then(|| self.verifier.read(assertion)).flatten();
        let claimant = read.as_ref().and_then(|read| read.client);
        let (Some(read), Some(id)) = (read, claimant.filter(|id| client.is_none_or(|named| named == *id)))
        else {
            let claimed = claimed(&*self.store, client).await?;
            return Err(Refusal::without_client(claimed, AuthFailureReason::Format).into());
        };
        let Some(known) = self.store.find_client(id, PresentedKind::Key, freshness).await? else {
            return Err(Refusal::without_client(None, AuthFailureReason::UnknownClient).into());
        };
        let now = self.clock.now();
        let claims = self.spent(&read.claims, known.agent.id, now);
        // A few signatures are checked for claims that are refused in any case, so that the response can name the rule.
        let at_most = match (&claims, self.auth_failures.is_exhausted(context)) {
            (Ok(_), false) => usize::MAX,
            (Ok(_), true) | (Err(_), false) => FREE_SIGNATURES,
            (Err(_), true) => 0,
        };
        let keys = self.keys_to_try(&known, &read, now);
        let keys = keys.map_err(|reason| Refusal::of(&known, reason))?;
        let mut tried = keys.iter().take(at_most);
        match (tried.find(|(_, key)| self.verifier.has_signed(key, assertion)), claims) {
            (Some((credential, _)), Ok(assertion)) => Ok(AuthenticatedClient {
                credential: credential.id,
                secret: None,
                last_used_at: credential.last_used_at,
                agent: known.agent.clone(),
                organization: known.organization.clone(),
                assertion: Some(assertion),
                issuer: None,
                method: AUDIT_NAME,
                is_current: known.is_current,
            }),
            (Some(_), Err((reason, rule))) => Err(Refusal::of(&known, reason).by_rule(rule).into()),
            (None, Err((reason, _))) if keys.len() > at_most => Err(Refusal::of(&known, reason).into()),
            (None, _) => Err(Refusal::of(&known, AuthFailureReason::Signature).into()),
        }
    }
}

impl PrivateKeyJwt {
    pub(super) fn new(ports: &Ports, auth_failures: &AuthFailures, settings: &Settings) -> Self {
        Self {
            store: ports.stores.credentials.clone(),
            verifier: ports.assertions.clone(),
            auth_failures: auth_failures.clone(),
            clock: ports.clock.clone(),
            settings: settings.clone(),
        }
    }

    /// Returns the client's valid keys for the assertion's algorithm, in the order to try them; at least one.
    ///
    /// If the `kid` names one of them, only that key is returned; otherwise all, most recently used first.
    fn keys_to_try<'a>(
        &self,
        client: &'a RegisteredClient,
        read: &Unverified,
        now: Timestamp,
    ) -> Result<Vec<(&'a Credential, &'a PublicKey)>, AuthFailureReason> {
        let keys = client.candidates.iter().filter_map(|credential| match &credential.kind {
            CredentialKind::Key(key) => Some((&**credential, key)),
            _ => None,
        });
        let mut keys: Vec<_> = keys.collect();
        if let Some(key_id) = &read.key_id
            && let Some(named) = keys.iter().position(|(_, key)| self.verifier.is_named(key, key_id))
        {
            keys = vec![keys.swap_remove(named)];
        }
        if keys.is_empty() {
            return Err(AuthFailureReason::UnknownKey);
        }
        keys.retain(|(credential, _)| credential.is_live(now));
        if keys.is_empty() {
            return Err(AuthFailureReason::Expired);
        }
        keys.retain(|(_, key)| key.algorithm_names().contains(&&*read.algorithm));
        if keys.is_empty() {
            return Err(AuthFailureReason::Algorithm);
        }
        keys.sort_by_key(|(credential, _)| std::cmp::Reverse(credential.last_used_at));
        Ok(keys)
    }

    /// Checks an assertion's claims by the rules of RFC 7523 section 3 and RFC 9700, and returns what is spent with it.
    ///
    /// Returns the first rule that does not hold.
    fn spent(
        &self,
        claims: &AssertionClaims,
        client: AgentId,
        now: Timestamp,
    ) -> Result<SpentAssertion, (AuthFailureReason, String)> {
        use AuthFailureReason as R;
        let refuse = |reason, rule: &str| Err((reason, format!("the assertion's {rule}")));
        if claims.issuer.as_deref() != Some(&*client.to_string()) {
            return refuse(R::Issuer, "iss must be the client_id, as its sub is");
        }
        let audience = claims.audience.as_deref();
        if audience != Some(&*self.settings.issuer)
            && (audience.is_none() || audience != self.settings.token_endpoint_audience.as_deref())
        {
            return refuse(R::Audience, &format!("aud must be {}, as one string", self.settings.issuer));
        }
        let Some(until) = claims.expires_at else {
            return refuse(R::Lifetime, "exp is missing");
        };
        if until <= now {
            return refuse(R::Expired, "exp has passed; check the clock");
        }
        if until > now.plus_seconds(MAX_ASSERTION_AHEAD_SECONDS) {
            return refuse(
                R::Lifetime,
                &format!("exp must be at most {MAX_ASSERTION_AHEAD_SECONDS} s ahead"),
            );
        }
        let latest = now.plus_seconds(CLOCK_SKEW_SECONDS);
        if claims.not_before.is_some_and(|at| at > latest) || claims.issued_at.is_some_and(|at| at > latest) {
            return refuse(
                R::NotBefore,
                &format!("nbf and iat must be at most {CLOCK_SKEW_SECONDS} s ahead; check the clock"),
            );
        }
        match claims.digest {
            Some(digest) => Ok(SpentAssertion { signer: Signer::Client(client), digest, until }),
            None => refuse(R::Jti, "jti is missing"),
        }
    }
}
