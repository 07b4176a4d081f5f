//! Client secrets: their form, their checksum, and what is stored of them.

use std::fmt;
use std::fmt::Write as _;

use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

const PREFIX: &str = "aidp_sk_";
const RANDOM_DIGITS: usize = 48;
const CHECKSUM_DIGITS: usize = 8;

/// How many random bytes a secret is made of.
pub const RANDOM_BYTES: usize = RANDOM_DIGITS / 2;

/// A client secret, which contains its own checksum.
///
/// Its form is `aidp_sk_`, 48 lower-case hex digits, and 8 more of a CRC-32 over the preceding text. Because
/// of the checksum, a leak scanner recognizes a secret offline, and a typing error costs no hash. The type
/// has no `Display`, its `Debug` hides the secret, and the secret is wiped when dropped.
#[derive(Clone)]
pub struct ClientSecret(SecretString);

impl ClientSecret {
    /// Creates the secret from these random bytes.
    pub fn from_random(bytes: [u8; RANDOM_BYTES]) -> Self {
        let mut text = String::with_capacity(PREFIX.len() + RANDOM_DIGITS + CHECKSUM_DIGITS);
        text.push_str(PREFIX);
        for byte in bytes {
            write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        }
        let checksum = crc32fast::hash(text.as_bytes());
        write!(text, "{checksum:08x}").expect("writing to a String cannot fail");
        Self(text.into())
    }

    /// Returns the secret in this text; `None` if the form or the checksum is wrong.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX)?;
        let fits = digits.len() == RANDOM_DIGITS + CHECKSUM_DIGITS
            && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let (body, checksum) = text.split_at_checked(PREFIX.len() + RANDOM_DIGITS)?;
        let right = fits && format!("{:08x}", crc32fast::hash(body.as_bytes())) == checksum;
        right.then(|| Self(text.into()))
    }

    /// Returns the text itself. For the hasher, and for the one response that shows it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Returns the fingerprint, by which the matching credential is found without a slow hash.
    pub fn fingerprint(&self) -> Fingerprint {
        let digest = Sha256::digest(self.expose().as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        Fingerprint(first)
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret([redacted])")
    }
}

/// The first 8 bytes of a secret's SHA-256.
///
/// The fingerprint selects the one credential to compare, so that ten credentials cost no more than one and a
/// wrong secret costs no bcrypt hash. It reveals nothing of the 192 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 8]);

/// An opaque hash of a secret, in the text form of the hasher that made it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretHash(pub String);

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash([redacted])")
    }
}

/// A keyed digest of a secret and its hash, by which a known secret is recognized without the slow hash.
///
/// The key is not in the store, so that a copy of the store checks no guess by it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SecretDigest(pub [u8; 32]);

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretDigest([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_secret_never_shows_itself_by_accident() {
        let secret = ClientSecret::from_random([7; RANDOM_BYTES]);
        assert_eq!(format!("{secret:?}"), "ClientSecret([redacted])");
        assert_eq!(format!("{:?}", SecretHash("$2b$10$abc".into())), "SecretHash([redacted])");
        assert_eq!(format!("{:?}", SecretDigest([7; 32])), "SecretDigest([redacted])");
    }

    #[test]
    fn a_right_checksum_makes_no_secret_of_what_is_not_hex() {
        for digits in
            ["0123456789abcdef".repeat(3), "0123456789abcdeg".repeat(3), "0123456789ABCDEF".repeat(3)]
        {
            let body = format!("{PREFIX}{digits}");
            let text = format!("{body}{:08x}", crc32fast::hash(body.as_bytes()));
            let is_hex = digits.starts_with("0123456789abcdef");
            assert_eq!(ClientSecret::parse(&text).is_some(), is_hex, "{text}");
        }
    }

    proptest! {
        #[test]
        fn one_changed_character_is_no_secret(bytes: [u8; RANDOM_BYTES], place in 0usize..64, with in "[0-9a-fA-FxX]") {
            let secret = ClientSecret::from_random(bytes);
            prop_assert!(ClientSecret::parse(secret.expose()).is_some());
            let mut text = secret.expose().to_owned();
            prop_assume!(text[place..=place] != with);
            text.replace_range(place..=place, &with);
            prop_assert!(ClientSecret::parse(&text).is_none());
        }

        #[test]
        fn nothing_may_stand_around_a_secret(bytes: [u8; RANDOM_BYTES], extra in ".") {
            let secret = ClientSecret::from_random(bytes);
            for text in [secret.expose().to_owned() + &extra, extra + secret.expose()] {
                prop_assert!(ClientSecret::parse(&text).is_none());
            }
        }
    }
}
