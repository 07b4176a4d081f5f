//! Verification of client assertions (RFC 7523) and of the keys that sign them.

use domain::federation::ForeignAssertion;
use domain::id::AgentId;
use domain::issuer_key::IssuerKey;
use domain::jwk::PublicKey;
use domain::time::Timestamp;

/// Verifies client assertions with the registered keys of clients.
///
/// A verifier fetches nothing and trusts no key that an assertion brings with it.
pub trait AssertionVerifier: Send + Sync {
    /// Checks that a key may be registered.
    ///
    /// Returns what is wrong with a key that must not be: RSA outside 2048 to 4096 bits, with a weak exponent
    /// or with a modulus that is easily factored, or a point off its curve.
    fn check_key(&self, key: &PublicKey) -> Result<(), &'static str>;

    /// Returns the unverified contents of an assertion; `None` if no key could make it valid.
    ///
    /// No key could make it valid if it is not a JWT, if its `typ` is for something else, if its header has
    /// one of `jwk`, `jku`, `x5u`, `x5c`, `crit`, `b64` and `zip`, if it has no `sub`, or if a claim has a
    /// wrong type or a control character.
    ///
    /// No signature is checked, so that refusing such an assertion costs this service no more than it costs
    /// an unauthenticated caller.
    fn read(&self, assertion: &str) -> Option<Unverified>;

    /// Returns whether `key_id` is the RFC 7638 thumbprint of the key.
    ///
    /// `key_id` is the `kid` of an assertion's header.
    fn is_named(&self, key: &PublicKey, key_id: &str) -> bool;

    /// Returns whether this key signed the assertion, by the key's own algorithm, which the header names.
    fn has_signed(&self, key: &PublicKey, assertion: &str) -> bool;

    /// Returns the kind of signer that an assertion names: the client if its `iss` has the form of an agent's ID, whether
    /// that agent exists or not, and else a trusted issuer.
    ///
    /// `None` if its claims cannot be read, or if it is longer than any assertion may be.
    fn signer(&self, assertion: &str) -> Option<AssertionSigner>;

    /// Returns the unverified contents of an assertion of a trusted issuer; `None` if no key could make it valid.
    ///
    /// No key could make it valid if it is not a compact JWS, if its header has `crit` or `b64` or a `typ` that is no text, or if its payload is not
    /// a JSON object or has a repeated member or a NUL. Keys in the header are ignored.
    fn read_foreign(&self, assertion: &str) -> Option<ForeignAssertion>;

    /// Returns whether this key of a trusted issuer signed the assertion, by the algorithm of its header.
    fn has_issuer_signed(&self, key: &IssuerKey, assertion: &ForeignAssertion, text: &str) -> bool;

    /// Does the work of checking a signature, for an assertion that is refused in any case.
    ///
    /// The time of a refusal then does not show whether there was a key to check it with.
    fn waste_signature_check(&self, assertion: &ForeignAssertion, text: &str);
}

/// The longest assertion that any signer may make, in bytes.
pub const MAX_ASSERTION_BYTES: usize = 16 * 1024;

/// The kind of signer of a client assertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssertionSigner {
    /// The client itself.
    Client,
    /// An issuer that the client's organization trusts.
    Issuer,
}

/// Unverified contents of an assertion, which determine the keys to try.
#[derive(Clone, Debug)]
pub struct Unverified {
    /// `sub`; `None` if it does not have the form of an agent ID.
    pub client: Option<AgentId>,
    /// `alg` of the header.
    pub algorithm: String,
    /// `kid` of the header, if present.
    pub key_id: Option<String>,
    /// The claims.
    pub claims: AssertionClaims,
}

/// Claims that a client makes about itself. Nothing but their type is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssertionClaims {
    /// `iss`, if present.
    pub issuer: Option<String>,
    /// `aud`, if it is one string. A list of audiences counts as absent, even a list of one (RFC 9700,
    /// RFC 7523bis).
    pub audience: Option<String>,
    /// The SHA-256 of `jti`; `None` if it is absent or empty.
    pub digest: Option<[u8; 32]>,
    /// `exp`, if present.
    pub expires_at: Option<Timestamp>,
    /// `nbf`, if present.
    pub not_before: Option<Timestamp>,
    /// `iat`, if present.
    pub issued_at: Option<Timestamp>,
}
