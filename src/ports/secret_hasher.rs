//! Hashes client secrets slowly, and compares them quickly.

use async_trait::async_trait;

use crate::domain::id::OrganizationId;
use crate::domain::secret::{ClientSecret, SecretHash};

/// Hashes secrets so that a stolen hash does not give the secret away.
///
/// Hashing is slow, so each call says `whose` secret it is: one organization takes no more than its share, and the others
/// wait no longer for it.
#[async_trait]
pub trait SecretHasher: Send + Sync {
    /// A fresh hash of the secret.
    async fn hash(&self, secret: &ClientSecret, whose: OrganizationId) -> Result<SecretHash, HasherError>;

    /// Whether the secret is the one that was hashed.
    async fn verify(
        &self,
        secret: &ClientSecret,
        hash: &SecretHash,
        whose: OrganizationId,
    ) -> Result<bool, HasherError>;
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HasherError {
    /// Too many wait already. Nothing was changed; it may be tried again soon.
    #[error("too many secrets are being hashed")]
    Overloaded,
    /// The hash is none, or the hasher is broken. A bug; never a caller's fault.
    #[error("the hash cannot be used")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}
