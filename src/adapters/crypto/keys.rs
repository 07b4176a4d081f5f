//! Keys: parsed from PEM, validated, generated, and used to sign and verify.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use aws_lc_rs::{hmac, rsa::KeySize};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_simple::prelude::{ECDSAP256PublicKeyLike as _, ES256PublicKey, Ed25519PublicKey};
use rsa::pkcs1::{DecodeRsaPrivateKey as _, DecodeRsaPublicKey as _};
use rsa::pkcs8::{DecodePublicKey as _, EncodePrivateKey as _, LineEnding, SecretDocument};
use rsa::traits::PublicKeyParts as _;

use super::verifying_key::VerifyingKey;
use domain::jwk::{KeyType, PublicKey, PublishedKey};

/// Generates a private key, as PKCS#8 in PEM.
pub fn generate_pem(kind: KeyType) -> Result<String, KeyError> {
    let random = SystemRandom::new();
    let unable = |_| KeyError::Generation;
    let der = match kind {
        KeyType::Rsa => {
            RsaKeyPair::generate(KeySize::Rsa2048).and_then(|key| Ok(key.as_der()?.as_ref().to_vec()))
        }
        KeyType::P256 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
            .map(|document| document.as_ref().to_vec()),
        KeyType::Ed25519 => {
            Ed25519KeyPair::generate_pkcs8v1(&random).map(|document| document.as_ref().to_vec())
        }
    }
    .map_err(unable)?;
    let document = SecretDocument::try_from(der.as_slice()).map_err(|_| KeyError::Generation)?;
    let pem = document.to_pem("PRIVATE KEY", LineEnding::LF).map_err(|_| KeyError::Generation)?;
    Ok(pem.to_string())
}

/// Keys of one issuer: one that signs, and all that verify.
pub struct KeySet {
    pub(super) signing: SigningKey,
    /// Verification keys; the public part of the signing key comes first.
    pub(super) verifying: Vec<VerifyingKey>,
    secret: hmac::Key,
}

impl KeySet {
    /// Parses a private key, and public keys that are also accepted and published.
    ///
    /// Both texts are PEM; `public` may be empty.
    pub fn from_pem(private: &str, public: &str) -> Result<Self, KeySetError> {
        let (signing, der) = SigningKey::from_pem(private).map_err(KeySetError::Private)?;
        let own = signing.public_key().and_then(VerifyingKey::new).map_err(KeySetError::Private)?;
        let mut verifying = vec![own];
        let blocks = pem_blocks(public);
        // A truncated text would lose keys: inside a block, or at the beginning of the next block.
        let last_line = public.trim_end().lines().last().unwrap_or_default();
        let is_whole = blocks.len() == public.matches("-----END ").count()
            && (last_line.is_empty() || !"-----BEGIN ".starts_with(last_line));
        if !is_whole || (blocks.is_empty() && !public.trim().is_empty()) {
            return Err(KeySetError::Public(KeyError::NotPublicPem));
        }
        for block in blocks {
            let key = public_key_from_pem(&block).and_then(VerifyingKey::new).map_err(KeySetError::Public)?;
            if verifying.iter().all(|known| known.id != key.id) {
                verifying.push(key);
            }
        }
        Ok(Self { signing, verifying, secret: hmac::Key::new(hmac::HMAC_SHA256, der.as_bytes()) })
    }

    /// Derives a key for another purpose.
    ///
    /// The derived key is the same on every instance with the same signing key.
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        let mut derived = [0; 32];
        derived.copy_from_slice(hmac::sign(&self.secret, purpose.as_bytes()).as_ref());
        derived
    }

    pub(super) fn find(&self, id: &str) -> Option<&VerifyingKey> {
        self.verifying.iter().find(|key| key.id == id)
    }

    pub(super) fn published(&self) -> Vec<PublishedKey> {
        self.verifying
            .iter()
            .map(|key| PublishedKey { id: key.id.clone(), key: key.public.clone() })
            .collect()
    }
}

/// A private key.
pub(super) enum SigningKey {
    Rsa(Box<RsaKeyPair>),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// Parses a private key in PEM: PKCS#8, PKCS#1 or SEC 1.
    ///
    /// Returns the key together with its DER form.
    fn from_pem(pem: &str) -> Result<(Self, SecretDocument), KeyError> {
        let block = private_block(pem)?;
        let (label, der) = SecretDocument::from_pem(block).map_err(|_| KeyError::NotPem)?;
        let bytes = der.as_bytes();
        let key = match label {
            "RSA PRIVATE KEY" => {
                let key = rsa::PrivateKey::from_pkcs1_der(bytes).map_err(|_| KeyError::NotAKey)?;
                let pkcs8 = key.to_pkcs8_der().map_err(|_| KeyError::NotAKey)?;
                RsaKeyPair::from_pkcs8(pkcs8.as_bytes()).ok().map(|key| Self::Rsa(Box::new(key)))
            }
            "EC PRIVATE KEY" => EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, bytes)
                .ok()
                .map(Self::P256),
            "PRIVATE KEY" => RsaKeyPair::from_pkcs8(bytes)
                .ok()
                .map(|key| Self::Rsa(Box::new(key)))
                .or_else(|| {
                    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, bytes).ok().map(Self::P256)
                })
                .or_else(|| Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes).ok().map(Self::Ed25519)),
            _ => return Err(KeyError::NotPrivate),
        };
        Ok((key.ok_or(KeyError::NotAKey)?, der))
    }

    fn public_key(&self) -> Result<PublicKey, KeyError> {
        match self {
            Self::Rsa(key) => {
                let public = rsa::PublicKey::from_pkcs1_der(key.public_key().as_ref());
                Ok(rsa_public_key(&public.map_err(|_| KeyError::NotAKey)?))
            }
            Self::P256(key) => p256_public_key(key.public_key().as_ref()),
            Self::Ed25519(key) => {
                Ok(PublicKey::Ed25519 { x: URL_SAFE_NO_PAD.encode(key.public_key().as_ref()) })
            }
        }
    }

    /// Signs the message, in the format of JWS (RFC 7518 section 3).
    ///
    /// `None` if the key cannot sign.
    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).ok()?;
                Some(signature)
            }
            Self::P256(key) => key.sign(&random, message).ok().map(|signature| signature.as_ref().to_vec()),
            Self::Ed25519(key) => Some(key.sign(message).as_ref().to_vec()),
        }
    }
}

fn rsa_public_key(key: &rsa::PublicKey) -> PublicKey {
    let number = |bytes: &[u8]| {
        let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
        URL_SAFE_NO_PAD.encode(&bytes[first..])
    };
    PublicKey::Rsa { n: number(&key.n().to_be_bytes()), e: number(&key.e().to_be_bytes()) }
}

fn p256_public_key(point: &[u8]) -> Result<PublicKey, KeyError> {
    match point.split_first() {
        Some((4, coordinates)) if coordinates.len() == 64 => {
            let (x, y) = coordinates.split_at(32);
            Ok(PublicKey::P256 { x: URL_SAFE_NO_PAD.encode(x), y: URL_SAFE_NO_PAD.encode(y) })
        }
        _ => Err(KeyError::NotAKey),
    }
}

fn public_key_from_pem(pem: &str) -> Result<PublicKey, KeyError> {
    if pem.contains("PRIVATE KEY") {
        return Err(KeyError::NotPublic);
    }
    if let Ok(key) = rsa::PublicKey::from_public_key_pem(pem) {
        return Ok(rsa_public_key(&key));
    }
    if let Ok(key) = ES256PublicKey::from_pem(pem) {
        return p256_public_key(&key.public_key().to_bytes_uncompressed());
    }
    match Ed25519PublicKey::from_pem(pem) {
        Ok(key) => Ok(PublicKey::Ed25519 { x: URL_SAFE_NO_PAD.encode(key.to_bytes()) }),
        Err(_) => Err(KeyError::NotAKey),
    }
}

/// Splits a text into its PEM blocks.
fn pem_blocks(text: &str) -> Vec<String> {
    const BEGIN: &str = "-----BEGIN ";
    text.split(BEGIN).skip(1).map(|block| format!("{BEGIN}{}\n", block.trim_end())).collect()
}

/// Returns the block of the one private key in a text.
///
/// Tools put other blocks around it, such as the parameters of the curve or a certificate, and lines that describe it.
fn private_block(text: &str) -> Result<&str, KeyError> {
    const BEGIN: &str = "-----BEGIN ";
    let mut found = None;
    let mut rest = text;
    while let Some(begin) = rest.find(BEGIN) {
        let block = &rest[begin..];
        let end = block.find("-----END ").ok_or(KeyError::NotPem)?;
        let end = block[end..].find('\n').map_or(block.len(), |line| end + line);
        let (block, label) =
            (block[..end].trim_end(), block[BEGIN.len()..].lines().next().unwrap_or_default());
        rest = &rest[begin + end..];
        if !label.trim_end().ends_with("PRIVATE KEY-----") {
            continue;
        }
        if label.starts_with("ENCRYPTED ") || block.contains("Proc-Type: 4,ENCRYPTED") {
            return Err(KeyError::Encrypted);
        }
        if found.replace(block).is_some() {
            return Err(KeyError::SeveralPrivate);
        }
    }
    found.ok_or(if text.contains(BEGIN) { KeyError::NotPrivate } else { KeyError::NotPem })
}

/// Error that names the key of a set that cannot be used, and the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// The private key cannot be used.
    #[error("the private key {0}")]
    Private(KeyError),
    /// A public key cannot be used.
    #[error("a public key {0}")]
    Public(KeyError),
}

/// Reason why a key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is not PEM.
    #[error("is not PEM")]
    NotPem,
    /// The text is not PEM of public keys, or is truncated.
    #[error("is not PEM of public keys")]
    NotPublicPem,
    /// The PEM block is not a private key.
    #[error("contains no private key")]
    NotPrivate,
    /// The private key is encrypted with a password.
    #[error("is encrypted; decrypt it first: openssl pkey -in KEY.pem -out DECRYPTED.pem")]
    Encrypted,
    /// The text has several private keys, of which one must sign.
    #[error("is more than one; name the key that signs, and the others' public keys in JWT_VERIFY_KEYS")]
    SeveralPrivate,
    /// The PEM block is a private key instead of a public one.
    #[error("contains a private key; only public keys are allowed")]
    NotPublic,
    /// The key is malformed or of an unsupported type.
    #[error("is not RSA of 2048 to 4096 bits, P-256 or Ed25519")]
    NotAKey,
    /// The RSA key has fewer than 2048 or more than 4096 bits.
    #[error("has fewer than 2048 or more than 4096 bits")]
    RsaSize,
    /// The RSA key has a weak exponent or modulus.
    #[error("has a weak exponent or modulus")]
    WeakRsa,
    /// The key could not be generated.
    #[error("cannot be generated")]
    Generation,
}

impl KeyError {
    /// Returns what is wrong with a JWK, as text that follows the name of its field.
    pub(super) const fn what(self) -> &'static str {
        match self {
            Self::RsaSize => "has fewer than 2048 or more than 4096 bits",
            Self::WeakRsa => "has a weak exponent or modulus",
            _ => "is not a valid key of its type",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_keys_that_is_cut_off_anywhere_is_refused_or_ends_after_a_whole_key() {
        let public = |pem: &str| {
            let key = Ed25519KeyPair::from_pkcs8(SecretDocument::from_pem(pem).expect("PEM").1.as_bytes());
            let der = key.expect("a key").public_key().as_der().expect("DER").as_ref().to_vec();
            SecretDocument::try_from(der.as_slice())
                .expect("DER")
                .to_pem("PUBLIC KEY", LineEnding::LF)
                .expect("PEM")
                .to_string()
        };
        let keys = [(); 3].map(|()| generate_pem(KeyType::Ed25519).expect("a key"));
        let list = format!("{}{}", public(&keys[1]), public(&keys[2]));
        let one = public(&keys[1]).trim_end().len();
        assert_eq!(KeySet::from_pem(&keys[0], &list).expect("two more").verifying.len(), 3);
        for end in 1..list.len() {
            let outcome = KeySet::from_pem(&keys[0], &list[..end]).map(|keys| keys.verifying.len());
            let is_whole = end == one || end == one + 1 || end >= list.trim_end().len();
            assert_eq!(outcome.is_ok(), is_whole, "{end} of {}: {outcome:?}", list.len());
        }
    }

    #[test]
    fn every_kind_of_key_that_is_made_can_be_read_signs_and_derives_alike_everywhere() {
        for kind in [KeyType::Rsa, KeyType::P256, KeyType::Ed25519] {
            let pem = generate_pem(kind).expect("a key");
            let (one, two) = (KeySet::from_pem(&pem, ""), KeySet::from_pem(&pem, ""));
            let (one, two) = (one.expect("readable"), two.expect("readable"));
            assert!(one.signing.sign(b"message").is_some());
            assert_eq!(one.published()[0].id, two.published()[0].id);
            assert_eq!(one.derive("purpose"), two.derive("purpose"));
            assert_ne!(one.derive("purpose"), one.derive("other purpose"));
        }
    }
}
