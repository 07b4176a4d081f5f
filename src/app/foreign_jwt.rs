//! Signatures of JWTs that trusted issuers signed: client assertions and tokens of people.

use std::sync::Arc;

use super::ports::Ports;
use domain::federation::{Check, ForeignAssertion, keys_to_try};
use domain::issuer::TrustedIssuer;
use ports::assertion_verifier::{AssertionVerifier, MAX_ASSERTION_BYTES};
use ports::issuer_keys::{IssuerKeys, KeysUnavailable};

/// Reads JWTs of trusted issuers, and verifies their signatures.
#[derive(Clone)]
pub(crate) struct ForeignJwts {
    verifier: Arc<dyn AssertionVerifier>,
    keys: Arc<dyn IssuerKeys>,
}

impl ForeignJwts {
    pub(crate) fn new(ports: &Ports) -> Self {
        Self { verifier: ports.assertions.clone(), keys: ports.issuer_keys.clone() }
    }

    /// Returns the unverified contents of a JWT; `None` if no key could make it valid.
    pub(crate) fn read(&self, text: &str) -> Option<ForeignAssertion> {
        (text.len() <= MAX_ASSERTION_BYTES).then(|| self.verifier.read_foreign(text)).flatten()
    }

    /// Makes the checks up to and including the signature, with at most this many attempts to verify it.
    pub(crate) async fn check_signature(
        &self,
        issuer: &TrustedIssuer,
        jwt: &ForeignAssertion,
        text: &str,
        at_most: usize,
    ) -> Result<(), SignatureFault> {
        if !issuer.check_status().passed {
            return Err(SignatureFault::Check(Check::IssuerStatus));
        }
        if !issuer.check_algorithm(jwt).passed {
            return Err(SignatureFault::Check(Check::Algorithm));
        }
        let keys =
            self.keys.keys(issuer.organization, &issuer.issuer, &issuer.keys, jwt.key_id.as_deref()).await?;
        let keys = keys_to_try(&keys, jwt).map_err(SignatureFault::Check)?;
        let has_signed =
            keys.into_iter().take(at_most).any(|key| self.verifier.has_issuer_signed(key, jwt, text));
        if has_signed { Ok(()) } else { Err(SignatureFault::Check(Check::Signature)) }
    }

    /// Does the work of checking a signature, for a JWT that is refused in any case.
    pub(crate) fn waste_signature_check(&self, jwt: &ForeignAssertion, text: &str) {
        self.verifier.waste_signature_check(jwt, text);
    }
}

/// Reason for which a signature was not accepted.
pub(crate) enum SignatureFault {
    /// This check failed: the signature, or one before it.
    Check(Check),
    /// The keys of the issuer are not known now.
    KeysUnavailable(KeysUnavailable),
}

impl From<KeysUnavailable> for SignatureFault {
    fn from(failure: KeysUnavailable) -> Self {
        Self::KeysUnavailable(failure)
    }
}
