//! A core of the service in this process, and a hasher that costs nothing: for tests that attack anything but secrets.

use std::sync::Arc;

use agentidp::adapters::crypto::{HmacCursorSeal, JwtAssertionVerifier, JwtSigner, KeySet};
use agentidp::adapters::system::{SystemIds, SystemSecrets};
use agentidp::app::{App, Ports, Settings};
use agentidp::domain::secret::{ClientSecret, SecretHash};
use agentidp::ports::clock::Clock;
use agentidp::ports::secret_hasher::{HasherError, SecretHasher};
use agentidp::ports::stores::Stores;
use async_trait::async_trait;

/// Its name.
pub const ISSUER: &str = "http://agentidp.test";

/// Keeps secrets as they are.
pub struct PlainHasher;

#[async_trait]
impl SecretHasher for PlainHasher {
    async fn hash(&self, secret: &ClientSecret) -> Result<SecretHash, HasherError> {
        Ok(SecretHash(secret.expose().to_owned()))
    }

    async fn verify(&self, secret: &ClientSecret, hash: &SecretHash) -> Result<bool, HasherError> {
        Ok(hash.0 == secret.expose())
    }
}

/// A core on these stores. Its tokens live a day.
pub fn plain_core(hasher: Arc<dyn SecretHasher>, stores: &Stores, clock: Arc<dyn Clock>, pem: &str) -> App {
    let issuer: Arc<str> = ISSUER.into();
    let keys = KeySet::from_pem(pem, "").expect("a key");
    let ports = Ports {
        stores: stores.clone(),
        hasher,
        cursors: Arc::new(HmacCursorSeal::new(&keys.derive("audit cursor"))),
        signer: Arc::new(JwtSigner::new(issuer.clone(), keys)),
        assertions: Arc::new(JwtAssertionVerifier),
        clock,
        ids: Arc::new(SystemIds),
        secrets: Arc::new(SystemSecrets),
    };
    let settings = Settings {
        issuer,
        token_endpoint_audience: None,
        token_ttl_seconds: 86_400,
        address_requests_per_minute: u32::MAX,
    };
    App::new(&ports, &settings)
}
