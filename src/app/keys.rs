//! Public keys with which resource servers verify tokens.

use std::sync::Arc;

use super::ports::Ports;
use domain::jwk::PublishedKey;
use ports::token_signer::TokenSigner;

/// Publishes this service's public keys.
#[derive(Clone)]
pub struct Keys {
    signer: Arc<dyn TokenSigner>,
}

impl Keys {
    pub(super) fn new(ports: &Ports) -> Self {
        Self { signer: ports.signer.clone() }
    }

    /// Returns every key that signs, will sign or still verifies, the signing key first.
    pub fn published(&self) -> Vec<PublishedKey> {
        self.signer.published_keys()
    }
}
