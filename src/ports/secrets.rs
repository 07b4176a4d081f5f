//! New secrets.

use domain::secret::ClientSecret;

/// Generator of unpredictable secrets.
pub trait Secrets: Send + Sync {
    /// Returns a client secret of 192 bits from the operating system's generator.
    fn client_secret(&self) -> ClientSecret;
}
