//! Proof of possession (DPoP, RFC 9449): a token that is bound to a key works only with a proof by that key, made for one
//! request.

use sha2::{Digest as _, Sha256};

use super::resource_indicator::normal_form;
use super::time::Timestamp;

/// The greatest difference between `iat` of a proof and the time at which it arrives, in seconds.
pub const MAX_SKEW_SECONDS: i64 = 60;
/// The longest `jti` of a proof, in characters.
pub const MAX_JTI_CHARS: usize = 256;
/// Algorithms that a proof may be signed with.
pub const PROOF_ALGORITHMS: [&str; 4] = ["ES256", "EdDSA", "RS256", "PS256"];

/// Whether the tokens of an agent must be bound to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProofRequirement {
    /// A token is bound if it is requested with a proof.
    Optional,
    /// A token is requested with a proof, and one that is not bound is inactive.
    Required,
}

impl ProofRequirement {
    /// Every requirement with its name.
    pub const ALL: [(&'static str, Self); 2] = [("optional", Self::Optional), ("required", Self::Required)];
}

/// The SHA-256 thumbprint of a public key (RFC 7638), in base64url: `cnf.jkt` of a token that is bound to the key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Thumbprint(pub Box<str>);

/// A proof whose signature was verified by the key that it carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The key that made it.
    pub key: Thumbprint,
    /// `htm`: the method of the request.
    pub method: String,
    /// `htu`: the URL of the request.
    pub url: String,
    /// `iat`.
    pub issued_at: Timestamp,
    /// `jti`.
    pub id: String,
    /// `ath`: the SHA-256 of the access token; `None` if it has none.
    pub token_hash: Option<[u8; 32]>,
}

/// A request for which a proof must have been made.
#[derive(Clone, Copy, Debug)]
pub struct ProvenRequest<'a> {
    /// The method.
    pub method: &'a str,
    /// The URL, without query and fragment.
    pub url: &'a str,
    /// The access token that comes with the request; `None` at the token endpoint.
    pub token: Option<&'a str>,
}

impl Proof {
    /// Checks that the proof was made for this request, at about this time (RFC 9449 section 4.3).
    ///
    /// Returns what is wrong with any other.
    pub fn check(&self, request: ProvenRequest<'_>, now: Timestamp) -> Result<(), &'static str> {
        if self.method != request.method {
            return Err("htm must be the method of the request");
        }
        if !is_same_url(&self.url, request.url) {
            return Err("htu must be the URL of the request, without query and fragment, as clients know it");
        }
        if (now.as_seconds() - self.issued_at.as_seconds()).abs() > MAX_SKEW_SECONDS {
            return Err(
                "iat must be at most 60 seconds from now; check the clock, and make a proof for each request",
            );
        }
        match request.token.map(|token| <[u8; 32]>::from(Sha256::digest(token))) {
            Some(hash) if self.token_hash != Some(hash) => {
                Err("ath must be the SHA-256 of the access token, in base64url")
            }
            _ => Ok(()),
        }
    }

    /// Returns the SHA-256 of the key and of `jti`: a key chooses its own.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::new().chain_update(&*self.key.0).chain_update(".").chain_update(&self.id).finalize().into()
    }

    /// Returns the instant from which the proof is refused as too old.
    pub fn until(&self) -> Timestamp {
        self.issued_at.plus_seconds(MAX_SKEW_SECONDS + 1)
    }
}

/// Returns whether two URLs are the same in the normal form of RFC 3986, without query and fragment.
fn is_same_url(one: &str, other: &str) -> bool {
    let [one, other] = [one, other].map(|url| url.split(['?', '#']).next().unwrap_or_default());
    one == other || normal_form(one) == normal_form(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://id.example.com/api/v1/token";

    fn proof() -> Proof {
        Proof {
            key: Thumbprint("k".into()),
            method: "POST".to_owned(),
            url: URL.to_owned(),
            issued_at: Timestamp::from_millis(1_000_000),
            id: "1".to_owned(),
            token_hash: None,
        }
    }

    fn passes(proof: &Proof, token: Option<&str>, second: i64) -> bool {
        let request = ProvenRequest { method: "POST", url: URL, token };
        proof.check(request, Timestamp::from_millis(second * 1_000)).is_ok()
    }

    #[test]
    fn a_proof_is_for_one_method_one_url_and_two_minutes() {
        for (second, is_right) in [(939, false), (940, true), (1_000, true), (1_060, true), (1_061, false)] {
            assert_eq!(passes(&proof(), None, second), is_right, "{second}");
        }
        for (url, is_right) in [
            ("https://ID.example.com:443/api/v1/token", true),
            ("https://id.example.com/api/v1/token?x=y#z", true),
            ("https://id.example.com/api/v1/./token", true),
            ("https://id.example.com/api/v1/token/", false),
            ("https://id.example.com/api/v1/Token", false),
            ("http://id.example.com/api/v1/token", false),
            ("https://evil.example.com/api/v1/token", false),
            ("/api/v1/token", false),
            ("", false),
        ] {
            assert_eq!(passes(&Proof { url: url.to_owned(), ..proof() }, None, 1_000), is_right, "{url}");
        }
        for method in ["GET", "post", ""] {
            assert!(!passes(&Proof { method: method.to_owned(), ..proof() }, None, 1_000), "{method}");
        }
    }

    #[test]
    fn a_proof_with_a_token_is_for_that_token() {
        let of = |token: &str| Proof { token_hash: Some(Sha256::digest(token).into()), ..proof() };
        assert!(passes(&of("a"), Some("a"), 1_000));
        assert!(!passes(&of("a"), Some("b"), 1_000));
        assert!(!passes(&proof(), Some("a"), 1_000));
    }

    #[test]
    fn a_proof_is_known_by_its_key_and_jti_for_as_long_as_it_passes() {
        let other_id = Proof { id: "2".to_owned(), ..proof() };
        let other_key = Proof { key: Thumbprint("l".into()), ..proof() };
        assert_ne!(proof().digest(), other_id.digest());
        assert_ne!(proof().digest(), other_key.digest());
        assert_eq!(proof().digest(), Proof { url: String::new(), ..proof() }.digest());
        let end = proof().until().as_seconds();
        assert!(passes(&proof(), None, end - 1) && !passes(&proof(), None, end));
    }
}
