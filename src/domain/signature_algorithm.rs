//! Signature algorithms of JWTs that others sign (RFC 7518 section 3.1, RFC 8037, RFC 9864).

use super::jwk::PublicKey;

/// An algorithm by which a trusted issuer may sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SignatureAlgorithm {
    /// RSA PKCS #1 v1.5 with SHA-256.
    Rs256,
    /// RSA PKCS #1 v1.5 with SHA-384.
    Rs384,
    /// RSA PKCS #1 v1.5 with SHA-512.
    Rs512,
    /// RSA PSS with SHA-256.
    Ps256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

impl SignatureAlgorithm {
    /// Every algorithm with the name that this service writes.
    pub const ALL: [(&'static str, Self); 7] = [
        ("RS256", Self::Rs256),
        ("RS384", Self::Rs384),
        ("RS512", Self::Rs512),
        ("PS256", Self::Ps256),
        ("ES256", Self::Es256),
        ("ES384", Self::Es384),
        ("EdDSA", Self::EdDsa),
    ];

    /// Returns the algorithm with this name; `None` for any other. RFC 9864 names `Ed25519` what RFC 8037 named `EdDSA`.
    pub fn parse(name: &str) -> Option<Self> {
        let name = if name == "Ed25519" { "EdDSA" } else { name };
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, algorithm)| algorithm)
    }

    /// Returns whether a key of this type can be used with the algorithm.
    pub const fn fits(self, key: &PublicKey) -> bool {
        match key {
            PublicKey::Rsa { .. } => matches!(self, Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::Ps256),
            PublicKey::P256 { .. } => matches!(self, Self::Es256),
            PublicKey::P384 { .. } => matches!(self, Self::Es384),
            PublicKey::Ed25519 { .. } => matches!(self, Self::EdDsa),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_algorithm_fits_one_type_of_key() {
        let text = String::new;
        let keys = [
            PublicKey::Rsa { n: text(), e: text() },
            PublicKey::P256 { x: text(), y: text() },
            PublicKey::P384 { x: text(), y: text() },
            PublicKey::Ed25519 { x: text() },
        ];
        for (name, algorithm) in SignatureAlgorithm::ALL {
            assert_eq!(keys.iter().filter(|key| algorithm.fits(key)).count(), 1, "{name}");
            assert_eq!(SignatureAlgorithm::parse(name), Some(algorithm));
        }
        assert!(SignatureAlgorithm::Rs512.fits(&keys[0]) && SignatureAlgorithm::Es384.fits(&keys[2]));
    }

    #[test]
    fn no_other_name_is_an_algorithm() {
        assert_eq!(SignatureAlgorithm::parse("Ed25519"), Some(SignatureAlgorithm::EdDsa));
        for name in ["none", "HS256", "rs256", "PS384", "ES512", "ES256K", "Ed448", ""] {
            assert_eq!(SignatureAlgorithm::parse(name), None, "{name}");
        }
    }
}
