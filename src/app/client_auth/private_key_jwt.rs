//! Authentication by a signed assertion (RFC 7523 section 2.2).

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    AuthenticatedClient, ClientAuthenticator, MethodError, PresentedCredentials, claimed, claimed_by,
};
use crate::auth_failures::AuthFailures;
use crate::request_context::RequestContext;
use crate::{Ports, Settings};
use domain::client::RegisteredClient;
use domain::credential::{Credential, CredentialKind};
use domain::id::AgentId;
use domain::jwk::PublicKey;
use domain::time::Timestamp;
use ports::assertion_verifier::{AssertionClaims, AssertionVerifier, Unproved};
use ports::clock::Clock;
use ports::credential_store::{CredentialStore, PresentedKind};
use ports::token_store::SpentAssertion;

/// Name of the method in audit events.
const AUDIT_NAME: &str = "private_key_jwt";
const ASSERTION: &str = "client_assertion";
const ASSERTION_TYPE: &str = "client_assertion_type";
/// The only supported `client_assertion_type`.
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Maximum length of a client assertion, in bytes.
const MAX_ASSERTION_BYTES: usize = 8 * 1024;
/// Maximum time until an assertion's expiry, in seconds.
const MAX_ASSERTION_AHEAD_SECONDS: i64 = 3_600;
/// Maximum signature checks for a client whose address has failed too often.
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

    fn parameters(&self) -> &'static [&'static str] {
        &[ASSERTION, ASSERTION_TYPE]
    }

    fn audit_name(&self) -> &'static str {
        AUDIT_NAME
    }

    async fn authenticate(
        &self,
        context: &RequestContext,
        presented: &PresentedCredentials,
    ) -> Result<AuthenticatedClient, MethodError> {
        let (Some(assertion), Some(JWT_BEARER)) =
            (presented.parameter(ASSERTION), presented.parameter(ASSERTION_TYPE))
        else {
            return Err(MethodError::Malformed(
                "client_assertion and client_assertion_type go together, and the type is that of RFC 7523",
            ));
        };
        let client = presented.client_id();
        let read = (assertion.len() <= MAX_ASSERTION_BYTES).then(|| self.verifier.read(assertion)).flatten();
        let claimant = read
            .as_ref()
            .and_then(|read| read.client)
            .filter(|claimed| client.is_none_or(|named| named == *claimed));
        let (Some(read), Some(id)) = (read, claimant) else {
            return Err(MethodError::Invalid(claimed(&*self.store, client).await?));
        };
        let now = self.clock.now();
        // Checked first, so that claims that no signature could make acceptable cost no signature check.
        if !self.accepts(&read.claims, id, now) {
            return Err(MethodError::Invalid(claimed(&*self.store, Some(id)).await?));
        }
        let Some(known) = self.store.find_client(id, PresentedKind::Key).await? else {
            return Err(MethodError::Invalid(None));
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
                method: AUDIT_NAME,
            });
        }
        Err(MethodError::Invalid(Some(claimed_by(&known))))
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

    /// Returns the client's valid keys for the assertion's algorithm, in the order to try them.
    ///
    /// If the `kid` names one of them, only that key is returned; otherwise all, most recently used first.
    fn keys_to_try<'a>(
        &self,
        client: &'a RegisteredClient,
        read: &Unproved,
        now: Timestamp,
    ) -> Vec<(&'a Credential, &'a PublicKey)> {
        let mut keys: Vec<_> = client
            .candidates
            .iter()
            .filter(|credential| credential.is_live(now))
            .filter_map(|credential| match &credential.kind {
                CredentialKind::Key(key) if key.algorithm_names().contains(&&*read.algorithm) => {
                    Some((&**credential, key))
                }
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
}
