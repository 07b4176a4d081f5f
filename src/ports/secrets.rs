//! New secrets.

use crate::domain::secret::ClientSecret;

/// Makes secrets that nobody can guess.
pub trait Secrets: Send + Sync {
    /// A client secret of 192 bits from the operating system's generator.
    fn client_secret(&self) -> ClientSecret;
}
