//! Public keys of trusted issuers, as JWK sets have them (RFC 7517).

use serde_json::{Map, Value};

use super::jwk::PublicKey;
use super::signature_algorithm::SignatureAlgorithm;

/// The most keys of a fetched set. A larger set fails as a whole.
pub const MAX_FETCHED_KEYS: usize = 100;
/// The most keys that an issuer can be pinned to.
pub const MAX_PINNED_KEYS: usize = 20;
/// The longest `kid`, in bytes.
const MAX_KEY_ID_BYTES: usize = 512;
/// Members that only private and symmetric keys have.
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// A public key of a trusted issuer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IssuerKey {
    /// `kid`; `None` if the key has none.
    pub id: Option<String>,
    /// `alg`: the only algorithm of the key; `None` if the key has no `alg`, so that any algorithm of its type may be used.
    pub algorithm: Option<SignatureAlgorithm>,
    /// The key.
    pub key: PublicKey,
}

/// Value of `use` that a key needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyUse {
    /// `sig`, or no `use` at all.
    Signature,
    /// `jwt-svid`, as in a SPIFFE bundle.
    JwtSvid,
}

impl IssuerKey {
    /// Reads a key from a JWK. Members that it does not know are ignored.
    ///
    /// Returns what is wrong with a key that cannot verify signatures. Whether a point is on its curve is not checked.
    pub fn parse(jwk: &Value, usage: KeyUse) -> Result<Self, &'static str> {
        let Value::Object(members) = jwk else { return Err("must be an object") };
        if PRIVATE_MEMBERS.iter().any(|name| members.contains_key(*name)) {
            return Err("must be a public key");
        }
        match (member(members, "use")?, usage) {
            (None | Some("sig"), KeyUse::Signature) | (Some("jwt-svid"), KeyUse::JwtSvid) => {}
            (_, KeyUse::Signature) => return Err("must have use \"sig\", or none"),
            (_, KeyUse::JwtSvid) => return Err("must have use \"jwt-svid\""),
        }
        let key = key_of(members)?;
        let algorithm = match member(members, "alg")? {
            None => None,
            Some(name) => {
                let algorithm = SignatureAlgorithm::parse(name).filter(|algorithm| algorithm.fits(&key));
                Some(algorithm.ok_or("must have an alg of its type, or none")?)
            }
        };
        let id = member(members, "kid")?;
        if id.is_some_and(|id| id.len() > MAX_KEY_ID_BYTES) {
            return Err("must have a kid of at most 512 bytes");
        }
        Ok(Self { id: id.map(str::to_owned), algorithm, key })
    }

    /// Returns the usable keys of a JWK set. The others are skipped.
    ///
    /// `None` if it is not a set, or has more than [`MAX_FETCHED_KEYS`] keys.
    pub fn of_set(set: &Value, usage: KeyUse) -> Option<Vec<Self>> {
        let keys = set.as_object()?.get("keys")?.as_array()?;
        let usable = || keys.iter().filter_map(|key| Self::parse(key, usage).ok()).collect();
        (keys.len() <= MAX_FETCHED_KEYS).then(usable)
    }

    /// Returns whether the key may have made a signature by this algorithm.
    pub fn allows(&self, algorithm: SignatureAlgorithm) -> bool {
        self.algorithm.is_none_or(|only| only == algorithm) && algorithm.fits(&self.key)
    }
}

/// Returns a member that is a text; `None` if it is absent.
fn member<'a>(members: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, &'static str> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err("must have texts as kid, use, alg, kty and crv"),
    }
}

fn key_of(members: &Map<String, Value>) -> Result<PublicKey, &'static str> {
    let number = |name: &str, lengths: std::ops::RangeInclusive<usize>| {
        let text = members.get(name).and_then(Value::as_str).filter(|text| {
            lengths.contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        });
        text.map(str::to_owned).ok_or("must have the members of its type, in base64url of the right length")
    };
    match (member(members, "kty")?, member(members, "crv")?) {
        // 2048 to 4096 bits.
        (Some("RSA"), _) => Ok(PublicKey::Rsa { n: number("n", 342..=683)?, e: number("e", 1..=6)? }),
        (Some("EC"), Some("P-256")) => {
            Ok(PublicKey::P256 { x: number("x", 43..=43)?, y: number("y", 43..=43)? })
        }
        (Some("EC"), Some("P-384")) => {
            Ok(PublicKey::P384 { x: number("x", 64..=64)?, y: number("y", 64..=64)? })
        }
        (Some("OKP"), Some("Ed25519")) => Ok(PublicKey::Ed25519 { x: number("x", 43..=43)? }),
        _ => Err("must be RSA of 2048 to 4096 bits, P-256, P-384 or Ed25519"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rsa() -> Value {
        json!({ "kty": "RSA", "n": "a".repeat(342), "e": "AQAB", "kid": "1", "x5t": "ignored", "issuer": "ignored" })
    }

    fn with(name: &str, value: Value) -> Value {
        let mut key = rsa();
        key[name] = value;
        key
    }

    #[test]
    fn unknown_members_are_ignored_and_alg_is_optional() {
        let key = IssuerKey::parse(&rsa(), KeyUse::Signature).expect("usable");
        assert_eq!((key.id.as_deref(), key.algorithm), (Some("1"), None));
        assert!(key.allows(SignatureAlgorithm::Rs256) && key.allows(SignatureAlgorithm::Ps256));
        assert!(!key.allows(SignatureAlgorithm::Es256));
        let only = IssuerKey::parse(&with("alg", json!("RS384")), KeyUse::Signature).expect("usable");
        assert!(only.allows(SignatureAlgorithm::Rs384) && !only.allows(SignatureAlgorithm::Rs256));
    }

    #[test]
    fn a_key_that_cannot_be_used_is_refused() {
        let wrong = [
            with("alg", json!("ES256")),
            with("alg", json!("HS256")),
            with("alg", json!(1)),
            with("use", json!("enc")),
            with("use", json!(null)),
            with("kid", json!(7)),
            with("kid", json!("x".repeat(513))),
            with("n", json!("a".repeat(341))),
            with("n", json!("a".repeat(684))),
            with("n", json!("a+/=")),
            with("e", json!("")),
            with("d", json!("AQAB")),
            with("kty", json!("oct")),
            json!({ "kty": "oct", "k": "AAAA" }),
            json!({ "kty": "EC", "crv": "secp256k1", "x": "a".repeat(43), "y": "a".repeat(43) }),
            json!({ "kty": "EC", "crv": "P-384", "x": "a".repeat(43), "y": "a".repeat(43) }),
            json!([]),
        ];
        for key in wrong {
            assert!(IssuerKey::parse(&key, KeyUse::Signature).is_err(), "{key}");
        }
    }

    #[test]
    fn of_a_set_the_usable_keys_are_kept_and_of_a_bundle_those_for_svids() {
        let set = json!({ "keys": [rsa(), with("use", json!("jwt-svid")), with("kty", json!("oct")), 1], "spiffe_sequence": 1 });
        assert_eq!(IssuerKey::of_set(&set, KeyUse::Signature).map(|keys| keys.len()), Some(1));
        assert_eq!(IssuerKey::of_set(&set, KeyUse::JwtSvid).map(|keys| keys.len()), Some(1));
        for other in [json!([]), json!({}), json!({ "keys": 1 }), json!({ "keys": vec![rsa(); 101] })] {
            assert_eq!(IssuerKey::of_set(&other, KeyUse::Signature), None);
        }
        assert_eq!(IssuerKey::of_set(&json!({ "keys": [] }), KeyUse::Signature), Some(Vec::new()));
    }
}
