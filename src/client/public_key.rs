//! Public keys of agents: a JWK (RFC 7517), also made of a key in PEM (RFC 7468).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pkcs1::RsaPublicKeyRef;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use spki::SubjectPublicKeyInfoRef;

use crate::failure::Failure;

/// Returns the key in a text as a JWK. `source` is the file or the flag that the text comes from.
///
/// Returns [`Failure`] if the text is something else, or a private key, which no request may contain.
pub fn jwk(text: &str, source: &str) -> Result<Value, Failure> {
    let given: Option<Value> = serde_json::from_str(text).ok().filter(Value::is_object);
    if text.contains("PRIVATE KEY-----") || given.as_ref().is_some_and(|key| !key["d"].is_null()) {
        let file = if source.starts_with("--") { "FILE" } else { source };
        return Err(Failure::misused(format!(
            "{source} is a private key; give the public one: openssl pkey -in {file} -pubout"
        )));
    }
    given.or_else(|| of_pem(text)).ok_or_else(|| {
        Failure::misused(format!(
            "{source} must be a JWK, or PEM with BEGIN PUBLIC KEY: RSA, P-256, P-384 or Ed25519"
        ))
    })
}

/// Returns the JWK of a key in PEM (`SubjectPublicKeyInfo`, RFC 5280 section 4.1); `None` if the text has no such key.
fn of_pem(text: &str) -> Option<Value> {
    let der = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes()).ok()?;
    let key = SubjectPublicKeyInfoRef::try_from(&*der).ok()?;
    let bytes = key.subject_public_key.as_bytes()?;
    let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let point = |curve: &str, size: usize| {
        // The mark of a point with both coordinates (SEC 1 section 2.3.3).
        let both = bytes.strip_prefix(&[4]).filter(|both| both.len() == 2 * size)?;
        let (x, y) = both.split_at(size);
        Some(json!({ "kty": "EC", "crv": curve, "x": encoded(x), "y": encoded(y) }))
    };
    match &*key.algorithm.oid.to_string() {
        "1.2.840.113549.1.1.1" => {
            let key = RsaPublicKeyRef::try_from(bytes).ok()?;
            let (n, e) = (key.modulus.as_bytes(), key.public_exponent.as_bytes());
            Some(json!({ "kty": "RSA", "n": encoded(n), "e": encoded(e) }))
        }
        "1.2.840.10045.2.1" => match &*key.algorithm.parameters_oid().ok()?.to_string() {
            "1.2.840.10045.3.1.7" => point("P-256", 32),
            "1.3.132.0.34" => point("P-384", 48),
            _ => None,
        },
        "1.3.101.112" => Some(json!({ "kty": "OKP", "crv": "Ed25519", "x": encoded(bytes) })),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_no_public_key_is_refused_by_the_name_of_its_source() {
        for text in ["", "null", "\"x\"", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
            let failure = jwk(text, "key.pem").expect_err("it is refused");
            assert!(failure.message.starts_with("key.pem must be a JWK"), "{}", failure.message);
        }
    }

    #[test]
    fn a_private_key_is_refused_in_either_form() {
        for text in [r#"{"kty":"OKP","crv":"Ed25519","x":"AA","d":"AA"}"#, "-----BEGIN EC PRIVATE KEY-----\n"]
        {
            let failure = jwk(text, "key.pem").expect_err("it is refused");
            let expected = "key.pem is a private key; give the public one: openssl pkey -in key.pem -pubout";
            assert_eq!(failure.message, expected);
        }
    }

    #[test]
    fn a_point_of_p_384_has_coordinates_of_48_bytes() {
        const PEM: &str = "-----BEGIN PUBLIC KEY-----\n\
            MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAE3Wns8LZ6sCHr/IOJc84uFLJEf92gQgGA\n\
            d1BBHxI9ZSlIX3/Q3MNpJZwQTw8vwQsdUfgLjcBbOvoKoP7JkypjWiDnjkEXRxr8\n\
            XCnwNmsjDMEtTwpggwV3AIXLwovqYcHE\n\
            -----END PUBLIC KEY-----";
        let key = jwk(PEM, "key.pem").expect("a key");
        assert_eq!((&key["kty"], &key["crv"]), (&json!("EC"), &json!("P-384")));
        assert_eq!(
            (&key["x"], &key["y"]),
            (
                &json!("3Wns8LZ6sCHr_IOJc84uFLJEf92gQgGAd1BBHxI9ZSlIX3_Q3MNpJZwQTw8vwQsd"),
                &json!("UfgLjcBbOvoKoP7JkypjWiDnjkEXRxr8XCnwNmsjDMEtTwpggwV3AIXLwovqYcHE")
            )
        );
    }
}
