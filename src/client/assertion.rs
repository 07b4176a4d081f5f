//! Client assertions: authentication by a private key (RFC 7523, `private_key_jwt`).

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;

use crate::failure::Failure;
use crate::system::{now_seconds, read_file, unique};

/// Lifetime of an assertion, in seconds.
const LIFETIME: u64 = 60;

/// Algorithms of JWS, each with the scheme of the signature.
const ALGORITHMS: [(SignatureScheme, &str); 3] = [
    (SignatureScheme::RSA_PKCS1_SHA256, "RS256"),
    (SignatureScheme::ECDSA_NISTP256_SHA256, "ES256"),
    (SignatureScheme::ED25519, "EdDSA"),
];

/// Returns an assertion of this client for an authorization server, signed with the key in a file.
///
/// Returns [`Failure`] if the file is unreadable or has no private key in PEM.
pub fn sign(file: &Path, client_id: &str, audience: &str) -> Result<String, Failure> {
    let shown = file.display();
    let wrong = |what: &str| Failure::misused(format!("{shown}: {what}"));
    let key = PrivateKeyDer::from_pem_slice(read_file(file)?.as_bytes())
        .map_err(|_| wrong("the private key cannot be read; it must be a PEM file"))?;
    let key = any_supported_type(&key)
        .map_err(|_| wrong("the private key must be RSA of at least 2048 bits, P-256 or Ed25519"))?;
    let signer = key.choose_scheme(&ALGORITHMS.map(|(scheme, _)| scheme));
    let signer = signer.ok_or_else(|| wrong("the private key must be RSA, P-256 or Ed25519"))?;
    let algorithm = ALGORITHMS.into_iter().find(|(scheme, _)| *scheme == signer.scheme());
    let (scheme, name) = algorithm.expect("the scheme was chosen among these");
    let now = now_seconds();
    let header = json!({ "alg": name, "typ": "JWT" });
    let claims = json!({
        "iss": client_id, "sub": client_id, "aud": audience, "iat": now, "exp": now + LIFETIME, "jti": unique()?,
    });
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(&claims));
    let signature = signer.sign(signed.as_bytes()).map_err(|_| wrong("the private key cannot sign"))?;
    let signature = match scheme {
        SignatureScheme::ECDSA_NISTP256_SHA256 => {
            fixed(&signature).ok_or_else(|| wrong("the private key makes no valid signature"))?
        }
        _ => signature,
    };
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// Converts a signature of P-256 from DER to the form of JWS (RFC 7518 section 3.4): two numbers of 32 bytes.
fn fixed(der: &[u8]) -> Option<Vec<u8>> {
    let mut rest = der.get(2..)?;
    let mut both = Vec::with_capacity(64);
    for _ in 0..2 {
        let length = usize::from(*rest.get(1)?);
        let number = rest.get(2..2 + length)?;
        rest = &rest[2 + length..];
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        let number = &number[zeros..];
        both.extend(std::iter::repeat_n(0, 32_usize.checked_sub(number.len())?));
        both.extend(number);
    }
    Some(both)
}
