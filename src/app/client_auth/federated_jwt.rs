//! Authentication by a JWT that a trusted issuer signed (RFC 7521 section 4.2, RFC 7523, and
//! draft-ietf-oauth-spiffe-client-auth).

use std::sync::Arc;

use async_trait::async_trait;

use super::private_key_jwt::{ASSERTION, ASSERTION_TYPE, JWT_BEARER};
use super::{
    AuthenticatedClient, ClientAuthError, ClientAuthenticator, FormParameter, MethodError,
    PresentedCredentials, Refusal, claimed,
};
use crate::auth_failures::{AuthFailureReason, AuthFailures};
use crate::foreign_jwt::{ForeignJwts, SignatureFault};
use crate::request_context::RequestContext;
use crate::{Ports, Settings};
use domain::client::RegisteredClient;
use domain::credential::{Credential, CredentialKind};
use domain::federation::{Check, FederatedIdentity, ForeignAssertion};
use domain::issuer::TrustedIssuer;
use domain::issuer_key::MAX_PINNED_KEYS;
use domain::time::Timestamp;
use ports::assertion_verifier::{AssertionSigner, AssertionVerifier};
use ports::clock::Clock;
use ports::credential_store::{CredentialStore, Freshness, PresentedKind};
use ports::issuer_keys::KeysUnavailable;
use ports::token_store::{Signer, SpentAssertion};

/// The form parameters of the method: those of `private_key_jwt`.
pub(super) const PARAMETERS: &[FormParameter] = &[];
/// `client_assertion_type` of a JWT-SVID.
pub(super) const JWT_SPIFFE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";

/// Maximum signature checks for an address that has failed too often: as many as an issuer can have pinned keys, so that a
/// right assertion without a `kid` still passes.
const FREE_SIGNATURES: usize = MAX_PINNED_KEYS;

/// `private_key_jwt` and `spiffe_jwt`, with a JWT of a trusted issuer.
pub(super) struct FederatedJwt {
    store: Arc<dyn CredentialStore>,
    verifier: Arc<dyn AssertionVerifier>,
    jwts: ForeignJwts,
    auth_failures: AuthFailures,
    clock: Arc<dyn Clock>,
}

impl FederatedJwt {
    pub(super) fn new(ports: &Ports, auth_failures: &AuthFailures, _: &Settings) -> Self {
        Self {
            store: ports.stores.credentials.clone(),
            verifier: ports.assertions.clone(),
            jwts: ForeignJwts::new(ports),
            auth_failures: auth_failures.clone(),
            clock: ports.clock.clone(),
        }
    }

    /// Makes the checks up to and including the signature.
    ///
    /// One that fails before the signature costs as much as the check of a signature, so that timing does not
    /// distinguish a client that has a credential.
    async fn check_signature(
        &self,
        context: &RequestContext,
        known: &Known<'_>,
        text: &str,
    ) -> Result<(), MethodError> {
        let Known { client, issuer, assertion } = known;
        let at_most = if self.auth_failures.is_exhausted(context) { FREE_SIGNATURES } else { usize::MAX };
        let check = match self.jwts.check_signature(issuer, assertion, text, at_most).await {
            Ok(()) => return Ok(()),
            Err(SignatureFault::KeysUnavailable(KeysUnavailable { retry_after })) if client.is_current => {
                return Err(MethodError::Failed(ClientAuthError::KeysUnavailable { retry_after }));
            }
            // The keys may be elsewhere by now.
            Err(SignatureFault::KeysUnavailable(_)) => Check::Key,
            Err(SignatureFault::Check(check)) => check,
        };
        if check != Check::Signature {
            self.jwts.waste_signature_check(assertion, text);
        }
        Err(Refusal::of(client, AuthFailureReason::Check(check)).into())
    }
}

/// A client, the trusted issuer by which it authenticates, and its assertion.
struct Known<'a> {
    client: &'a RegisteredClient,
    issuer: &'a TrustedIssuer,
    assertion: &'a ForeignAssertion,
}

impl<'a> Known<'a> {
    /// Makes the checks that come after the signature, and returns the credential that matches.
    fn check_claims(&self, now: Timestamp) -> Result<&'a Credential, MethodError> {
        let Known { client, issuer, assertion } = *self;
        let refused = |check: Check| {
            let refusal = Refusal::of(client, AuthFailureReason::Check(check));
            MethodError::from(refusal.by_rule(check.rule().to_owned()))
        };
        if let Some(failed) =
            issuer.check_claims(assertion, &issuer.audiences, now).iter().find(|finding| !finding.passed)
        {
            return Err(refused(failed.check));
        }
        let mut is_subject_known = false;
        for (credential, identity) in live_identities(client, now) {
            let [subject, claims] = identity.check(issuer, assertion);
            if subject.passed && claims.passed {
                return Ok(credential);
            }
            is_subject_known |= subject.passed;
        }
        Err(refused(if is_subject_known { Check::Claims } else { Check::Subject }))
    }
}

/// Returns the client's live credentials of the trusted issuer.
pub(crate) fn live_identities(
    client: &RegisteredClient,
    now: Timestamp,
) -> impl Iterator<Item = (&Credential, &FederatedIdentity)> {
    client.candidates.iter().filter(move |credential| credential.is_live(now)).filter_map(|credential| {
        match &credential.kind {
            CredentialKind::Federated(identity) => Some((&**credential, identity)),
            _ => None,
        }
    })
}

/// Returns what is spent with an assertion of this issuer; `None` if it may be used until it expires.
pub(crate) fn spent(issuer: &TrustedIssuer, assertion: &ForeignAssertion) -> Option<SpentAssertion> {
    let (digest, until) = assertion.jti_digest().zip(assertion.expires_at())?;
    issuer.require_jti.then_some(SpentAssertion { signer: Signer::Issuer(issuer.id), digest, until })
}

#[async_trait]
impl ClientAuthenticator for FederatedJwt {
    fn methods(&self) -> &'static [&'static str] {
        &["spiffe_jwt"]
    }

    fn parameters(&self) -> &'static [FormParameter] {
        PARAMETERS
    }

    fn audit_name(&self) -> &'static str {
        "federated_jwt"
    }

    fn recognizes(&self, presented: &PresentedCredentials) -> bool {
        presented.parameter(ASSERTION).is_some_and(|assertion| match self.verifier.signer(assertion) {
            Some(signer) => signer == AssertionSigner::Issuer,
            None => presented.parameter(ASSERTION_TYPE) == Some(JWT_SPIFFE),
        })
    }

    async fn authenticate(
        &self,
        context: &RequestContext,
        presented: &PresentedCredentials,
        freshness: Freshness,
    ) -> Result<AuthenticatedClient, MethodError> {
        let is_svid = match presented.parameter(ASSERTION_TYPE) {
            Some(JWT_BEARER) => false,
            Some(JWT_SPIFFE) => true,
            _ => {
                return Err(MethodError::Malformed(
                    "client_assertion_type must be urn:ietf:params:oauth:client-assertion-type:jwt-bearer or, for a JWT-SVID, end in jwt-spiffe",
                ));
            }
        };
        let (Some(text), Some(id)) = (presented.parameter(ASSERTION), presented.client_id()) else {
            return Err(MethodError::Malformed(
                "client_id is required with an assertion that the agent did not sign itself",
            ));
        };
        let Some(assertion) = self.jwts.read(text) else {
            let claimed = claimed(&*self.store, Some(id)).await?;
            return Err(Refusal::without_client(claimed, AuthFailureReason::Check(Check::Format)).into());
        };
        // No issuer has an empty `iss`.
        let kind = PresentedKind::Federated(assertion.issuer(is_svid).unwrap_or_default().into());
        let Some(client) = self.store.find_client(id, kind, freshness).await? else {
            self.jwts.waste_signature_check(&assertion, text);
            return Err(Refusal::without_client(None, AuthFailureReason::UnknownClient).into());
        };
        let now = self.clock.now();
        let issuer = client.issuer.as_ref().filter(|_| live_identities(&client, now).next().is_some());
        let Some(issuer) = issuer else {
            self.jwts.waste_signature_check(&assertion, text);
            return Err(Refusal::of(&client, AuthFailureReason::Check(Check::Issuer)).into());
        };
        let known = Known { client: &client, issuer, assertion: &assertion };
        self.check_signature(context, &known, text).await?;
        let credential = known.check_claims(now)?;
        Ok(AuthenticatedClient {
            credential: credential.id,
            secret: None,
            last_used_at: credential.last_used_at,
            agent: client.agent.clone(),
            organization: client.organization.clone(),
            assertion: spent(issuer, &assertion),
            issuer: Some(issuer.clone()),
            method: self.audit_name(),
            is_current: client.is_current,
        })
    }
}
