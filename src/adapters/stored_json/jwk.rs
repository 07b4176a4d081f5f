//! Public keys as JWKs (RFC 7517) with only the members that define the key.

use serde_json::{Value, json};

use domain::jwk::PublicKey;

/// Converts a key to a JWK.
pub fn jwk(key: &PublicKey) -> Value {
    match key {
        PublicKey::Rsa { n, e } => json!({ "kty": "RSA", "n": n, "e": e }),
        PublicKey::P256 { x, y } => json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y }),
        PublicKey::P384 { x, y } => json!({ "kty": "EC", "crv": "P-384", "x": x, "y": y }),
        PublicKey::Ed25519 { x } => json!({ "kty": "OKP", "crv": "Ed25519", "x": x }),
    }
}

/// Returns the key of a JWK; `None` if it is not of a known type.
pub fn public_key(jwk: &Value) -> Option<PublicKey> {
    let text = |name: &str| jwk[name].as_str().map(str::to_owned);
    match (jwk["kty"].as_str()?, jwk["crv"].as_str()) {
        ("RSA", _) => Some(PublicKey::Rsa { n: text("n")?, e: text("e")? }),
        ("EC", Some("P-256")) => Some(PublicKey::P256 { x: text("x")?, y: text("y")? }),
        ("EC", Some("P-384")) => Some(PublicKey::P384 { x: text("x")?, y: text("y")? }),
        ("OKP", _) => Some(PublicKey::Ed25519 { x: text("x")? }),
        _ => None,
    }
}
