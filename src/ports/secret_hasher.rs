//! Slow hashing and fast comparison of client secrets.

use async_trait::async_trait;

use domain::id::OrganizationId;
use domain::secret::{ClientSecret, SecretHash};

/// Hashes secrets so that a stolen hash does not reveal the secret.
///
/// Hashing is slow, so each call names the organization that the secret belongs to (`whose`). One
/// organization takes no more than its share, so that the others do not wait longer because of it.
#[async_trait]
pub trait SecretHasher: Send + Sync {
    /// Returns a new hash of the secret.
    ///
    /// Returns [`Overloaded`](HasherError::Overloaded) if too many calls are waiting already, and
    /// [`Broken`](HasherError::Broken) if hashing failed.
    async fn hash(&self, secret: &ClientSecret, whose: OrganizationId) -> Result<SecretHash, HasherError>;

    /// Returns whether the secret is the one that was hashed.
    ///
    /// Returns [`Overloaded`](HasherError::Overloaded) if too many calls are waiting already, and
    /// [`Broken`](HasherError::Broken) if the stored hash is malformed or hashing failed.
    async fn verify(
        &self,
        secret: &ClientSecret,
        hash: &SecretHash,
        whose: OrganizationId,
    ) -> Result<bool, HasherError>;
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
