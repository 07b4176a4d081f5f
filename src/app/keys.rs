//! The keys that resource servers check tokens with.

use std::sync::Arc;

use crate::domain::jwk::PublishedKey;
use crate::ports::token_signer::TokenSigner;

/// Publishes this service's public keys.
#[derive(Clone)]
pub struct Keys {
    pub(super) signer: Arc<dyn TokenSigner>,
}

impl Keys {
    /// Every key that signs, will sign or still verifies, the present one first.
    pub fn published(&self) -> Vec<PublishedKey> {
        self.signer.published_keys()
    }
}
