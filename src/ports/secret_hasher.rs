//! Slow hashing and fast comparison of client secrets.

use async_trait::async_trait;

use domain::credential::StoredSecret;
use domain::id::OrganizationId;
use domain::secret::{ClientSecret, SecretDigest};

/// Hashes secrets so that a stolen hash does not reveal the secret.
///
/// Hashing is slow, so each call names the organization that the secret belongs to (`whose`). One
/// organization takes no more than its share, so that the others do not wait longer because of it.
#[async_trait]
pub trait SecretHasher: Send + Sync {
    /// Returns what to store of a new secret: its fingerprint, its hash and its digest.
    ///
    /// Returns [`Overloaded`](HasherError::Overloaded) if too many calls are waiting already, and
    /// [`Broken`](HasherError::Broken) if hashing failed.
    async fn hash(&self, secret: &ClientSecret, whose: OrganizationId) -> Result<StoredSecret, HasherError>;

    /// Returns whether the secret is the stored one.
    ///
    /// A digest that was made with the same key answers at once; otherwise the hash answers.
    ///
    /// Returns [`Overloaded`](HasherError::Overloaded) if too many calls are waiting already, and
    /// [`Broken`](HasherError::Broken) if the stored hash is malformed or hashing failed.
    async fn verify(
        &self,
        secret: &ClientSecret,
        stored: &StoredSecret,
        whose: OrganizationId,
    ) -> Result<Verification, HasherError>;
}

/// Result of comparing a secret with a stored one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// It is another secret.
    Wrong,
    /// It is the stored secret.
    Right {
        /// The digest to store in place of the stored one; `None` if that is right, or was offered before.
        new_digest: Option<SecretDigest>,
    },
}

/// Error of a [`SecretHasher`].
#[derive(Debug, thiserror::Error)]
pub enum HasherError {
    /// Too many calls are waiting already. Nothing was changed; the call can be retried soon.
    #[error("too many secrets are being hashed")]
    Overloaded,
    /// The stored hash is malformed, or hashing failed. A bug, not the caller's fault.
    #[error("the hash cannot be used")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}
