//! Checks client assertions (RFC 7523) and the keys they are signed with.

use crate::domain::id::AgentId;
use crate::domain::jwk::PublicKey;
use crate::domain::time::Timestamp;

/// Checks signatures by clients' registered keys. It fetches nothing and believes no key that comes along.
pub trait AssertionVerifier: Send + Sync {
    /// Refuses a key that must not be registered: RSA outside 2048 to 4096 bits or with a weak exponent,
    /// points off their curve. Says what is wrong.
    fn check_key(&self, key: &PublicKey) -> Result<(), &'static str>;

    /// The client that the assertion claims to be, unproved, to know whose keys to try.
    fn claimed_client(&self, assertion: &str) -> Option<AgentId>;

    /// The claims of an assertion that this key signed, by the key's own algorithm; `None` for all else: a
    /// `typ` that is not for this, `jwk jku x5u x5c crit` in the header, a claim missing or of a wrong type.
    fn verify(&self, assertion: &str, key: &PublicKey) -> Option<AssertionClaims>;
}

/// What a client says of itself, its signature proved and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssertionClaims {
    pub issuer: String,
    pub subject: String,
    /// One string: a list of audiences is refused, even of one (RFC 9700, RFC 7523bis).
    pub audience: String,
    /// `jti`, as its SHA-256.
    pub digest: [u8; 32],
    pub expires_at: Timestamp,
    pub not_before: Option<Timestamp>,
    pub issued_at: Option<Timestamp>,
}
