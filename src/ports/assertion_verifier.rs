//! Checks client assertions (RFC 7523) and the keys they are signed with.

use crate::domain::id::AgentId;
use crate::domain::jwk::PublicKey;
use crate::domain::time::Timestamp;

/// Checks signatures by clients' registered keys. It fetches nothing and believes no key that comes along.
pub trait AssertionVerifier: Send + Sync {
    /// Refuses a key that must not be registered: RSA outside 2048 to 4096 bits or with a weak exponent,
    /// points off their curve. Says what is wrong.
    fn check_key(&self, key: &PublicKey) -> Result<(), &'static str>;

    /// What the assertion says before anything of it is proved; `None` if no key could make it an assertion: no JWT, a
    /// `typ` that is not for this, `jwk jku x5u x5c crit` in the header, a claim missing or of a wrong type.
    ///
    /// It costs no cryptography, so that what is refused by it costs an unauthenticated caller as much as us.
    fn read(&self, assertion: &str) -> Option<Unproved>;

    /// Whether `key_id`, of an assertion's header, is the thumbprint of this key (RFC 7638).
    fn is_named(&self, key: &PublicKey, key_id: &str) -> bool;

    /// The claims of an assertion that this key signed, by the key's own algorithm; `None` for all else.
    fn verify(&self, assertion: &str, key: &PublicKey) -> Option<AssertionClaims>;
}

/// What an assertion says, unproved: to know whose keys to try, and which.
#[derive(Clone, Debug)]
pub struct Unproved {
    /// `sub`, where it is an ID of ours.
    pub client: Option<AgentId>,
    /// `alg` of the header.
    pub algorithm: String,
    /// `kid` of the header.
    pub key_id: Option<String>,
    pub claims: AssertionClaims,
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
