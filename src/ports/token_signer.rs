//! Signing of tokens, and verification of their signatures.

use std::sync::Arc;

use domain::jwk::PublishedKey;
use domain::time::Timestamp;
use domain::token::{AccessToken, Claims};

/// Signs access tokens (RFC 9068) for one issuer, and reads those that it signed.
pub trait TokenSigner: Send + Sync {
    /// Returns the claims as a token signed with the current key.
    ///
    /// Returns [`SignError`] if the key could not sign.
    fn sign(&self, claims: &Claims) -> Result<AccessToken, SignError>;

    /// Returns the claims of a token that this issuer signed, whatever its validity period.
    ///
    /// `None` for any other text: another key, an algorithm that is not the key's, another type or issuer, a
    /// missing part, or a form that is not canonical.
    fn read(&self, token: &str) -> Option<Arc<Claims>>;

    /// Returns the claims of a token that this issuer signed and that is valid at `now`.
    ///
    /// `None` for any other text. Whether the token is *active* is for the stores to decide.
    fn verify(&self, token: &str, now: Timestamp) -> Option<Arc<Claims>> {
        self.read(token).filter(|claims| claims.are_in_time(now))
    }

    /// Returns every key that signs, will sign or still verifies, the current one first.
    fn published_keys(&self) -> Vec<PublishedKey>;
}

/// The key could not sign. A bug, or a broken machine.
#[derive(Debug, thiserror::Error)]
#[error("the token could not be signed")]
pub struct SignError;
