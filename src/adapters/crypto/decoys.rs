//! Public keys for the checks of signatures that decide nothing.

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use domain::issuer_key::IssuerKey;
use domain::jwk::PublicKey;

/// Returns a key of each type to which no private key is known.
pub(super) fn decoys() -> Vec<IssuerKey> {
    /// A modulus of 2048 bits that has no known factors: SHA-512 of four numbers, made odd and long enough.
    fn modulus() -> Vec<u8> {
        let mut bytes: Vec<u8> = (0_u8..4)
            .flat_map(|number| digest::digest(&digest::SHA512, &[number]).as_ref().to_vec())
            .collect();
        bytes[0] |= 0x80;
        bytes[255] |= 1;
        bytes
    }
    let rsa = PublicKey::Rsa { n: URL_SAFE_NO_PAD.encode(modulus()), e: "AQAB".to_owned() };
    std::iter::once(rsa)
        .chain(throwaway_public_keys())
        .map(|key| IssuerKey { id: None, algorithm: None, key })
        .collect()
}

/// Returns new public keys on P-256, on P-384 and of Ed25519, whose private keys are forgotten at once.
fn throwaway_public_keys() -> Vec<PublicKey> {
    let random = SystemRandom::new();
    let half = |point: &[u8], place: usize| {
        let length = (point.len() - 1) / 2;
        URL_SAFE_NO_PAD.encode(&point[1 + place * length..][..length])
    };
    let on_curve = |algorithm| {
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).ok()?;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref()).ok()?;
        let point = pair.public_key().as_ref().to_vec();
        Some((half(&point, 0), half(&point, 1)))
    };
    let ed25519 = || {
        let document = Ed25519KeyPair::generate_pkcs8(&random).ok()?;
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).ok()?;
        Some(PublicKey::Ed25519 { x: URL_SAFE_NO_PAD.encode(pair.public_key().as_ref()) })
    };
    let p256 = on_curve(&ECDSA_P256_SHA256_FIXED_SIGNING).map(|(x, y)| PublicKey::P256 { x, y });
    let p384 = on_curve(&ECDSA_P384_SHA384_FIXED_SIGNING).map(|(x, y)| PublicKey::P384 { x, y });
    [p256, p384, ed25519()].into_iter().flatten().collect()
}
