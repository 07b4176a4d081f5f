//! Public keys: those that agents register, and those of this service.

/// A public key (RFC 7517). All numbers are base64url without padding.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PublicKey {
    /// RSA of 2048 to 4096 bits, for RS256: modulus and exponent (RFC 7518 section 6.3.1).
    Rsa {
        /// Modulus, in base64url.
        n: String,
        /// Exponent, in base64url.
        e: String,
    },
    /// P-256, for ES256: the coordinates of the point (RFC 7518 section 6.2.1).
    P256 {
        /// x coordinate, in base64url.
        x: String,
        /// y coordinate, in base64url.
        y: String,
    },
    /// P-384, for ES384: the coordinates of the point (RFC 7518 section 6.2.1). Only trusted issuers have such keys.
    P384 {
        /// x coordinate, in base64url.
        x: String,
        /// y coordinate, in base64url.
        y: String,
    },
    /// Ed25519, for EdDSA (RFC 8037 section 2).
    Ed25519 {
        /// Public key, in base64url.
        x: String,
    },
}

/// The type of a key to be generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// RSA of 2048 bits, for RS256.
    Rsa,
    /// P-256, for ES256.
    P256,
    /// Ed25519, for `EdDSA`.
    Ed25519,
}

impl PublicKey {
    /// Returns the one signature algorithm that an agent's key is used with.
    ///
    /// It is determined by the key, never by a header.
    pub const fn algorithm(&self) -> &'static str {
        self.algorithm_names()[0]
    }

    /// Returns each name of that algorithm, the one that this service writes first.
    ///
    /// RFC 9864 names `Ed25519` what RFC 8037 named `EdDSA`.
    pub const fn algorithm_names(&self) -> &'static [&'static str] {
        match self {
            Self::Rsa { .. } => &["RS256"],
            Self::P256 { .. } => &["ES256"],
            Self::P384 { .. } => &["ES384"],
            Self::Ed25519 { .. } => &["EdDSA", "Ed25519"],
        }
    }
}

/// Every name of every algorithm that a client, or an issuer that its organization trusts, may sign with.
pub const SIGNATURE_ALGORITHMS: [&str; 8] =
    ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA", "Ed25519"];

/// A public key that this service publishes, with its ID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedKey {
    /// The RFC 7638 thumbprint of the key.
    pub id: String,
    /// The key.
    pub key: PublicKey,
}

#[cfg(test)]
mod tests {
    use super::super::signature_algorithm::SignatureAlgorithm;
    use super::*;

    #[test]
    fn each_kind_of_key_has_one_algorithm() {
        let text = String::new;
        assert_eq!(PublicKey::Rsa { n: text(), e: text() }.algorithm(), "RS256");
        assert_eq!(PublicKey::P256 { x: text(), y: text() }.algorithm(), "ES256");
        assert_eq!(PublicKey::Ed25519 { x: text() }.algorithm(), "EdDSA");
    }

    #[test]
    fn every_name_of_every_algorithm_is_listed() {
        let text = String::new;
        let keys = [
            PublicKey::Rsa { n: text(), e: text() },
            PublicKey::P256 { x: text(), y: text() },
            PublicKey::P384 { x: text(), y: text() },
            PublicKey::Ed25519 { x: text() },
        ];
        let own = keys.iter().flat_map(PublicKey::algorithm_names).copied();
        let listed: std::collections::BTreeSet<_> =
            own.chain(SignatureAlgorithm::ALL.into_iter().map(|(name, _)| name)).collect();
        assert_eq!(listed, SIGNATURE_ALGORITHMS.into_iter().collect());
    }
}
