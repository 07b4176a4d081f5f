//! Public keys that verify signatures.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RsaParameters,
    RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_simple::prelude::{ES256PublicKey, ES384PublicKey, Ed25519PublicKey, RS256PublicKey};
use num_bigint::BigUint;

use super::keys::KeyError;
use domain::jwk::PublicKey;
use domain::signature_algorithm::SignatureAlgorithm;

/// A public key that verifies signatures.
pub(super) struct VerifyingKey {
    /// RFC 7638 thumbprint of the key.
    pub id: String,
    /// The key itself.
    pub public: PublicKey,
    checker: ParsedPublicKey,
}

impl VerifyingKey {
    /// Creates the key, for the algorithm that an agent uses it with.
    ///
    /// Returns [`KeyError`] if it is weak, off its curve, or malformed.
    pub(super) fn new(public: PublicKey) -> Result<Self, KeyError> {
        Self::for_rsa(public, &RSA_PKCS1_2048_8192_SHA256)
    }

    /// Creates the key, for an algorithm that a trusted issuer uses it with.
    ///
    /// Returns [`KeyError`] for the same keys as [`new`](Self::new), and for one that does not fit the algorithm.
    pub(super) fn for_algorithm(public: PublicKey, algorithm: SignatureAlgorithm) -> Result<Self, KeyError> {
        if !algorithm.fits(&public) {
            return Err(KeyError::NotAKey);
        }
        let rsa = match algorithm {
            SignatureAlgorithm::Rs384 => &RSA_PKCS1_2048_8192_SHA384,
            SignatureAlgorithm::Rs512 => &RSA_PKCS1_2048_8192_SHA512,
            SignatureAlgorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
            // The other types of keys have one algorithm each.
            _ => &RSA_PKCS1_2048_8192_SHA256,
        };
        Self::for_rsa(public, rsa)
    }

    /// Creates the key; if it is RSA, for this algorithm.
    fn for_rsa(public: PublicKey, rsa: &'static RsaParameters) -> Result<Self, KeyError> {
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyError::NotAKey);
        // Two libraries must accept a key: jwt-simple refuses some that aws-lc-rs takes.
        let (read, checker) = match &public {
            PublicKey::Rsa { n, e } => {
                let (n, e) = (decode(n)?, decode(e)?);
                check_rsa(&n, &e)?;
                let read = RS256PublicKey::from_components(&n, &e).map(drop);
                let parts = RsaPublicKeyComponents { n, e };
                (read, parts.to_parsed_public_key(rsa))
            }
            PublicKey::P256 { x, y } => {
                let (x, y) = (decode(x)?, decode(y)?);
                if x.len() != 32 || y.len() != 32 {
                    return Err(KeyError::NotAKey);
                }
                let point = [&[4][..], &x, &y].concat();
                let read = ES256PublicKey::from_bytes(&point).map(drop);
                (read, ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point))
            }
            PublicKey::P384 { x, y } => {
                let (x, y) = (decode(x)?, decode(y)?);
                if x.len() != 48 || y.len() != 48 {
                    return Err(KeyError::NotAKey);
                }
                let point = [&[4][..], &x, &y].concat();
                let read = ES384PublicKey::from_bytes(&point).map(drop);
                (read, ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point))
            }
            PublicKey::Ed25519 { x } => {
                let x = decode(x)?;
                (Ed25519PublicKey::from_bytes(&x).map(drop), ParsedPublicKey::new(&ED25519, x))
            }
        };
        read.map_err(|_| KeyError::NotAKey)?;
        let checker = checker.map_err(|_| KeyError::NotAKey)?;
        Ok(Self { id: thumbprint(&public), public, checker })
    }

    /// Returns whether `signature` is this key's signature of the message.
    ///
    /// The format is that of JWS (RFC 7518 section 3).
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        self.checker.verify_sig(message, signature).is_ok()
    }
}

/// Checks the size, the modulus and the exponent of an RSA key.
///
/// The key must have 2048 to 4096 bits, an odd modulus, and an odd exponent of at least 65537 and at most 33 bits.
fn check_rsa(n: &[u8], e: &[u8]) -> Result<(), KeyError> {
    let bits = |number: &[u8]| match number.iter().position(|byte| *byte != 0) {
        Some(first) => (number.len() - first) * 8 - number[first].leading_zeros() as usize,
        None => 0,
    };
    let is_odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
    if !(2048..=4096).contains(&bits(n)) {
        return Err(KeyError::RsaSize);
    }
    if !is_odd(n) || !is_odd(e) || !(17..=33).contains(&bits(e)) {
        return Err(KeyError::WeakRsa);
    }
    Ok(())
}

/// Returns an error for a key that must not be registered.
///
/// These are the keys that [`VerifyingKey::new`] refuses, and RSA keys whose modulus is easy to factor.
pub(super) fn check_new_key(key: &PublicKey) -> Result<(), KeyError> {
    VerifyingKey::new(key.clone())?;
    let PublicKey::Rsa { n, .. } = key else { return Ok(()) };
    let n = URL_SAFE_NO_PAD.decode(n).map_err(|_| KeyError::NotAKey)?;
    if has_known_factors(&BigUint::from_bytes_be(&n)) { Err(KeyError::WeakRsa) } else { Ok(()) }
}

/// Returns whether a modulus is easy to factor.
///
/// This holds for a power, a number with a factor below 2^13, and the product of two close numbers. A prime passes,
/// because detecting one takes 70 ms. The check takes about 10 ms for 4096 bits.
fn has_known_factors(n: &BigUint) -> bool {
    /// Trial division finds all factors below 2 to this power.
    const SMALL_BITS: u32 = 13;
    /// Number of squares that Fermat's method tries.
    const STEPS: u32 = 8;
    if (3_u32..1 << SMALL_BITS).step_by(2).any(|factor| n % factor == BigUint::ZERO) {
        return true;
    }
    // The base of a power has no factor below 2^13 either, which bounds the exponent.
    let exponents = 2..=u32::try_from(n.bits()).unwrap_or(u32::MAX) / SMALL_BITS;
    let is_prime =
        |exponent: u32| (2..exponent).take_while(|d| d * d <= exponent).all(|d| !exponent.is_multiple_of(d));
    if exponents.filter(|e| is_prime(*e)).any(|e| n.nth_root(e).pow(e) == *n) {
        return true;
    }
    let one = BigUint::from(1_u32);
    let mut middle = n.sqrt() + &one;
    (0..STEPS).any(|_| {
        let rest = &middle * &middle - n;
        middle += &one;
        let root = rest.sqrt();
        &root * &root == rest
    })
}

/// Returns the JWK thumbprint (RFC 7638): SHA-256 over the required members, ordered by name.
pub(super) fn thumbprint(key: &PublicKey) -> String {
    let canonical = match key {
        PublicKey::Rsa { n, e } => format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#),
        PublicKey::P256 { x, y } => format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#),
        PublicKey::P384 { x, y } => format!(r#"{{"crv":"P-384","kty":"EC","x":"{x}","y":"{y}"}}"#),
        PublicKey::Ed25519 { x } => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#),
    };
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()))
}

#[cfg(test)]
mod tests {
    use rsa::pkcs8::SecretDocument;

    use domain::jwk::KeyType;

    use super::super::keys::generate_pem;
    use super::*;

    #[test]
    fn the_thumbprint_is_that_of_rfc_7638_section_3_1() {
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let key = PublicKey::Rsa { n: n.into(), e: "AQAB".into() };
        assert_eq!(thumbprint(&key), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    #[test]
    fn weak_rsa_keys_are_refused_by_size_exponent_and_parity() {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let odd = |bytes: usize| {
            let mut n = vec![0xff; bytes];
            n[bytes - 1] = 0x0b;
            n
        };
        let refusal =
            |n: &[u8], e: &[u8]| VerifyingKey::new(PublicKey::Rsa { n: encode(n), e: encode(e) }).err();
        assert_eq!(refusal(&odd(128), &[1, 0, 1]), Some(KeyError::RsaSize));
        assert_eq!(refusal(&odd(2048), &[1, 0, 1]), Some(KeyError::RsaSize));
        for e in [&[1][..], &[3], &[1, 0, 0], &[0xff; 16], &[]] {
            assert_eq!(refusal(&odd(256), e), Some(KeyError::WeakRsa), "{e:?}");
        }
        let mut even = odd(256);
        even[255] = 2;
        assert_eq!(refusal(&even, &[1, 0, 1]), Some(KeyError::WeakRsa));
    }

    #[test]
    fn moduli_that_anybody_can_factor_are_not_registered() {
        let key =
            |n: &BigUint| PublicKey::Rsa { n: URL_SAFE_NO_PAD.encode(n.to_bytes_be()), e: "AQAB".into() };
        let number = |value: u32| BigUint::from(value);
        let power = |base: u32, exponent: u32| number(base).pow(exponent);
        let mut private = Vec::new();
        for _ in 0..2 {
            let pem = generate_pem(KeyType::Rsa).expect("a key");
            let (_, der) = SecretDocument::from_pem(&pem).expect("PEM");
            let key = <rsa::PrivateKey as rsa::pkcs8::DecodePrivateKey>::from_pkcs8_der(der.as_bytes())
                .expect("a key");
            private.extend(
                rsa::traits::PrivateKeyParts::primes(&key)
                    .iter()
                    .map(|prime| BigUint::from_bytes_be(&prime.to_be_bytes())),
            );
        }
        let [p, q, r, s] = &private[..] else { panic!("two primes a key") };
        let prime_after = |odd: &BigUint| {
            (1..)
                .map(|step: u32| odd + number(2 * step))
                .find(|next| number(2).modpow(&(next - number(1)), next) == number(1))
                .expect("primes do not end")
        };
        for (name, n) in [
            ("a power of 3", power(3, 1_300)),
            ("one less than a power of 2", power(2, 2_048) - number(1)),
            ("even", power(2, 2_047) + number(2)),
            ("a small factor", number(8_191) * p * q),
            ("a square", p * p),
            ("a cube of large primes", p.pow(3)),
            ("a power whose exponent is large", prime_after(&(power(2, 31) + number(1))).pow(67)),
            ("a power whose exponent is the largest", prime_after(&(power(2, 14) + number(1))).pow(283)),
            ("two primes too near each other", p * prime_after(p)),
        ] {
            assert_eq!(check_new_key(&key(&n)), Err(KeyError::WeakRsa), "{name}");
        }
        for n in [p * q, r * s, p * r] {
            assert_eq!(check_new_key(&key(&n)), Ok(()));
        }
    }

    #[test]
    fn points_off_their_curve_are_refused() {
        let zero = URL_SAFE_NO_PAD.encode([0; 32]);
        assert!(VerifyingKey::new(PublicKey::P256 { x: zero.clone(), y: zero.clone() }).is_err());
        assert!(VerifyingKey::new(PublicKey::P256 { x: zero, y: String::new() }).is_err());
    }
}
