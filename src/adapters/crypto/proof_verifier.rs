//! Verification of proofs of possession as JWTs (RFC 9449 section 4.3).

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use moka::sync::Cache;
use serde_json::{Map, Value};

use super::strict_json::parse_object;
use super::verifying_key::VerifyingKey;
use domain::jwk::PublicKey;
use domain::proof::{MAX_JTI_CHARS, PROOF_ALGORITHMS, Proof, Thumbprint};
use domain::signature_algorithm::SignatureAlgorithm;
use domain::time::Timestamp;
use ports::proof_verifier::ProofVerifier;

/// Maximum length of a proof, in bytes.
const MAX_PROOF_BYTES: usize = 8 * 1024;
/// Maximum number of keys cached. One takes at most about 13 KB, with its header.
const MAX_KEYS: u64 = 2_048;
/// Description of a text that is no proof.
const FORM: &str = "it must be a JWT signed by the key in its header, at most 8 KB";
/// Members of a JWK that are secret (RFC 7518 section 6).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Verifies proofs by the keys in their headers.
pub struct JwtProofVerifier {
    /// The keys of headers, each for its algorithm, since a client sends the same header with all of its proofs.
    keys: Cache<Box<str>, Arc<VerifyingKey>>,
}

impl Default for JwtProofVerifier {
    fn default() -> Self {
        Self { keys: Cache::new(MAX_KEYS) }
    }
}

impl JwtProofVerifier {
    /// Returns the key of an encoded header.
    fn key(&self, header: &str) -> Result<Arc<VerifyingKey>, &'static str> {
        if let Some(key) = self.keys.get(header) {
            return Ok(key);
        }
        let key = Arc::new(key_of(&object(header)?)?);
        self.keys.insert(header.into(), key.clone());
        Ok(key)
    }
}

impl ProofVerifier for JwtProofVerifier {
    fn verify(&self, proof: &str) -> Result<Proof, &'static str> {
        if proof.len() > MAX_PROOF_BYTES {
            return Err(FORM);
        }
        let (message, signature) = proof.rsplit_once('.').ok_or(FORM)?;
        let (header, payload) = message.split_once('.').ok_or(FORM)?;
        let key = self.key(header)?;
        if !key.has_signed(message.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).map_err(|_| FORM)?) {
            return Err("the key in jwk must have signed it");
        }
        claims(&object(payload)?, Thumbprint(key.id.as_str().into()))
    }
}

/// Returns one encoded part of a proof as an object.
fn object(part: &str) -> Result<Map<String, Value>, &'static str> {
    URL_SAFE_NO_PAD.decode(part).ok().and_then(|json| parse_object(&json)).ok_or(FORM)
}

/// Returns the key of a header, for the algorithm that it names.
fn key_of(header: &Map<String, Value>) -> Result<VerifyingKey, &'static str> {
    if header.get("typ").and_then(Value::as_str) != Some("dpop+jwt") {
        return Err("typ must be dpop+jwt");
    }
    if ["crit", "b64"].iter().any(|name| header.contains_key(*name)) {
        return Err("its header must have neither crit nor b64");
    }
    let name = header.get("alg").and_then(Value::as_str);
    let algorithm = name
        .filter(|name| PROOF_ALGORITHMS.contains(name) || *name == "Ed25519")
        .and_then(SignatureAlgorithm::parse)
        .ok_or("alg must be ES256, EdDSA, RS256 or PS256")?;
    let key = header.get("jwk").and_then(Value::as_object).ok_or("jwk must be the public key")?;
    if PRIVATE_MEMBERS.iter().any(|name| key.contains_key(*name)) {
        return Err("jwk must not have a private part: the key is no longer secret, so make another");
    }
    let key = public_key(key).and_then(|key| VerifyingKey::for_algorithm(key, algorithm).ok());
    key.ok_or("jwk must be a P-256, Ed25519 or RSA key of 2048 to 4096 bits that fits alg")
}

/// Returns the claims of a proof by this key.
fn claims(payload: &Map<String, Value>, key: Thumbprint) -> Result<Proof, &'static str> {
    let text = |name: &str| payload.get(name).and_then(Value::as_str).map(str::to_owned);
    let id = text("jti").filter(|jti| (1..=MAX_JTI_CHARS).contains(&jti.chars().count()));
    // Whole seconds within the years that a timestamp can have.
    let issued_at = payload.get("iat").and_then(Value::as_f64).filter(|seconds| seconds.abs() < 1e12);
    let issued_at = issued_at.and_then(|seconds| format!("{:.0}", seconds.floor()).parse::<i64>().ok());
    let token_hash = match payload.get("ath") {
        None => None,
        Some(ath) => {
            let ath = ath.as_str().and_then(|ath| URL_SAFE_NO_PAD.decode(ath).ok());
            Some(ath.and_then(|ath| ath.try_into().ok()).ok_or("ath must be a SHA-256 in base64url")?)
        }
    };
    Ok(Proof {
        key,
        method: text("htm").ok_or("htm is missing")?,
        url: text("htu").ok_or("htu is missing")?,
        issued_at: Timestamp::from_millis(0).plus_seconds(issued_at.ok_or("iat is missing")?),
        id: id.ok_or("jti must have 1 to 256 characters")?,
        token_hash,
    })
}

/// Reads a public key; `None` if its type is not known or a member is missing.
fn public_key(jwk: &Map<String, Value>) -> Option<PublicKey> {
    let text = |name: &str| jwk.get(name)?.as_str().map(str::to_owned);
    match (jwk.get("kty")?.as_str()?, jwk.get("crv").and_then(Value::as_str)) {
        ("RSA", _) => Some(PublicKey::Rsa { n: text("n")?, e: text("e")? }),
        ("EC", Some("P-256")) => Some(PublicKey::P256 { x: text("x")?, y: text("y")? }),
        ("OKP", Some("Ed25519")) => Some(PublicKey::Ed25519 { x: text("x")? }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use domain::proof::ProvenRequest;
    use serde_json::json;

    use super::*;

    /// The first proof of RFC 9449, figure 2.
    const OF_THE_RFC: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";

    #[test]
    fn the_proof_of_rfc_9449_figure_2_is_valid() {
        let proof = JwtProofVerifier::default().verify(OF_THE_RFC).expect("valid");
        assert_eq!(&*proof.key.0, "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
        assert_eq!((proof.method.as_str(), proof.url.as_str()), ("POST", "https://server.example.com/token"));
        assert_eq!((proof.id.as_str(), proof.issued_at.as_seconds()), ("-BwC3ESc6acc2lTc", 1_562_262_616));
        assert_eq!(proof.token_hash, None);
    }

    /// The proof of RFC 9449, figure 13, which comes with the access token of figure 12.
    const WITH_A_TOKEN: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA";

    #[test]
    fn the_proof_of_rfc_9449_section_7_1_is_for_its_request_and_its_token() {
        let proof = JwtProofVerifier::default().verify(WITH_A_TOKEN).expect("valid");
        let request = ProvenRequest {
            method: "GET",
            url: "https://resource.example.org/protectedresource",
            token: Some("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"),
        };
        let at = Timestamp::from_millis(1_562_262_618_000);
        assert_eq!(proof.check(request, at), Ok(()));
        assert!(proof.check(ProvenRequest { token: Some("another"), ..request }, at).is_err());
    }

    #[test]
    fn no_change_of_a_proof_is_valid() {
        let verifier = JwtProofVerifier::default();
        for place in 0..OF_THE_RFC.len() {
            let mut changed = OF_THE_RFC.as_bytes().to_vec();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert!(verifier.verify(&changed).is_err(), "{place}");
        }
    }

    #[test]
    fn the_claims_of_a_proof_are_of_the_right_types() {
        let right = json!({ "jti": "1", "htm": "POST", "htu": "https://a", "iat": 1 });
        let read = |name: &str, value: Value| {
            let mut claims = right.clone();
            claims[name] = value;
            super::claims(claims.as_object().expect("an object"), Thumbprint("k".into()))
        };
        assert!(read("iat", json!(1.5)).is_ok_and(|proof| proof.issued_at.as_seconds() == 1));
        assert!(read("jti", json!("\u{e9}".repeat(256))).is_ok());
        assert!(
            read("ath", json!(URL_SAFE_NO_PAD.encode([7; 32])))
                .is_ok_and(|proof| proof.token_hash == Some([7; 32]))
        );
        for (name, value) in [
            ("jti", json!("")),
            ("jti", json!("a".repeat(257))),
            ("jti", json!(1)),
            ("htm", json!(null)),
            ("htu", json!(7)),
            ("iat", json!("1")),
            ("iat", json!(1e300)),
            ("ath", json!("x")),
            ("ath", json!(null)),
        ] {
            assert!(read(name, value.clone()).is_err(), "{name} {value}");
        }
    }
}
