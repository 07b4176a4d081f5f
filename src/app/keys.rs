//! Public keys with which resource servers verify tokens.

use std::sync::Arc;

use crate::domain::jwk::PublishedKey;
use crate::ports::token_signer::TokenSigner;

/// Publishes this service's public keys.
#[derive(Clone)]
pub struct Keys {
    pub(super) signer: Arc<dyn TokenSigner>,
}

impl Keys {
    /// Returns every key that signs, will sign or still verifies, the signing key first.
    pub fn published(&self) -> Vec<PublishedKey> {
        self.signer.published_keys()
    }
}
