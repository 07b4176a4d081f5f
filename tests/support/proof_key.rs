//! Keys that make proofs of possession (RFC 9449).

use agentidp::adapters::crypto::generate_pem;
use agentidp::domain::jwk::KeyType;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::{NOON, public_jwk, unique};

/// A key that makes proofs.
pub struct ProofKey {
    algorithm: &'static str,
    /// The public key.
    pub jwk: Value,
    pair: Pair,
}

enum Pair {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl ProofKey {
    /// Generates a key for ES256.
    pub fn es256() -> Self {
        Self::of("ES256")
    }

    /// Generates a key for this algorithm: ES256, `EdDSA`, RS256 or PS256.
    pub fn of(algorithm: &'static str) -> Self {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (pair, jwk) = match algorithm {
            "ES256" => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
                let point = pair.public_key().as_ref().to_vec();
                let jwk =
                    json!({ "kty": "EC", "crv": "P-256", "x": text(&point[1..33]), "y": text(&point[33..]) });
                (Pair::Ec(pair), jwk)
            }
            "EdDSA" => {
                let pair = Ed25519KeyPair::generate().expect("a key");
                let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref()) });
                (Pair::Ed(pair), jwk)
            }
            _ => {
                let pem = generate_pem(KeyType::Rsa).expect("a key");
                let lines: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
                let pair = RsaKeyPair::from_pkcs8(&STANDARD.decode(lines).expect("base64")).expect("a key");
                let jwk = public_jwk(&pem);
                (Pair::Rsa(pair), jwk)
            }
        };
        Self { algorithm, jwk, pair }
    }

    /// Returns the thumbprint of a P-256 key (RFC 7638).
    pub fn thumbprint(&self) -> String {
        let (x, y) = (&self.jwk["x"], &self.jwk["y"]);
        sha256(&format!(r#"{{"crv":"P-256","kty":"EC","x":{x},"y":{y}}}"#))
    }

    /// Returns the header of a proof.
    pub fn header(&self) -> Value {
        json!({ "typ": "dpop+jwt", "alg": self.algorithm, "jwk": self.jwk })
    }

    /// Returns a JWT with this header and these claims, signed by the key.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Ec(pair) => pair.sign(&random, message.as_bytes()).expect("signed").as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let padding: &'static dyn aws_lc_rs::signature::RsaEncoding =
                    if self.algorithm == "PS256" { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                pair.sign(padding, &random, message.as_bytes(), &mut signature).expect("signed");
                signature
            }
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Returns a proof for a request, and for this access token if it has one.
    pub fn proof(&self, issuer: &str, method: &str, path: &str, token: Option<&str>) -> String {
        self.sign(&self.header(), &proof_claims(issuer, method, path, token))
    }
}

/// Returns the SHA-256 of a text in base64url.
fn sha256(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()))
}

/// Returns the claims of a proof.
pub fn proof_claims(issuer: &str, method: &str, path: &str, token: Option<&str>) -> Value {
    let mut claims = json!({
        "htm": method, "htu": format!("{}{path}", issuer.trim_end_matches('/')), "iat": NOON.as_seconds(),
        "jti": unique().to_string(),
    });
    if let Some(token) = token {
        claims["ath"] = json!(sha256(token));
    }
    claims
}
