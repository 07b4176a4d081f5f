//! Signs tokens and checks their signatures.

use std::sync::Arc;

use crate::domain::jwk::PublishedKey;
use crate::domain::time::Timestamp;
use crate::domain::token::{AccessToken, Claims};

/// Signs access tokens (RFC 9068) for one issuer, and reads those it signed.
pub trait TokenSigner: Send + Sync {
    /// The claims as a signed token, by the present key.
    fn sign(&self, claims: &Claims) -> Result<AccessToken, SignError>;

    /// The claims of a token that this issuer signed, be its time past or to come.
    ///
    /// `None` for all else: another key, another algorithm than the key's, another type or issuer, a part
    /// missing, a form that is not canonical.
    fn read(&self, token: &str) -> Option<Arc<Claims>>;

    /// The claims of a token that this issuer signed and whose time is `now`. Whether the token is *alive* is for the
    /// stores to say.
    fn verify(&self, token: &str, now: Timestamp) -> Option<Arc<Claims>> {
        self.read(token).filter(|claims| claims.are_in_time(now))
    }

    /// Every key that signs, will sign or still verifies, the present one first.
    fn published_keys(&self) -> Vec<PublishedKey>;
}

/// The key could not sign. A bug, or a broken machine.
#[derive(Debug, thiserror::Error)]
#[error("the token could not be signed")]
pub struct SignError;
