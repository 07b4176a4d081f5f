//! A core of the service in this process, with a hasher that costs nothing.
//! It serves tests of anything but secrets.

use std::sync::Arc;

use agentidp::adapters::crypto::{HmacCursorSeal, JwtAssertionVerifier, JwtProofVerifier, JwtSigner, KeySet};
use agentidp::adapters::system::{SystemIds, SystemSecrets};
use agentidp::app::Stores;
use agentidp::app::client_auth::{PresentedCredentials, PresentedHeader};
use agentidp::app::{App, Ports, Settings};
use agentidp::domain::credential::StoredSecret;
use agentidp::domain::id::{AgentId, OrganizationId};
use agentidp::domain::secret::{ClientSecret, SecretHash};
use agentidp::ports::clock::Clock;
use agentidp::ports::secret_hasher::{HasherError, SecretHasher, Verification};
use async_trait::async_trait;

use crate::PinnedKeys;

/// Issuer URL of the core.
pub const ISSUER: &str = "http://agentidp.test";

/// Stores secrets without hashing them.
pub struct PlainHasher;

#[async_trait]
impl SecretHasher for PlainHasher {
    async fn hash(&self, secret: &ClientSecret, _: OrganizationId) -> Result<StoredSecret, HasherError> {
        let hash = SecretHash(secret.expose().to_owned());
        Ok(StoredSecret { fingerprint: secret.fingerprint(), hash, digest: None })
    }

    async fn verify(
        &self,
        secret: &ClientSecret,
        stored: &StoredSecret,
        _: OrganizationId,
    ) -> Result<Verification, HasherError> {
        let is_right = stored.hash.0 == secret.expose();
        Ok(if is_right { Verification::Right { new_digest: None } } else { Verification::Wrong })
    }
}

/// Returns the ports of a core on these stores.
pub fn plain_ports(
    hasher: Arc<dyn SecretHasher>,
    stores: &Stores,
    clock: Arc<dyn Clock>,
    pem: &str,
) -> Ports {
    let keys = KeySet::from_pem(pem, "").expect("a key");
    Ports {
        stores: stores.clone(),
        hasher,
        cursors: Arc::new(HmacCursorSeal::new(&keys.derive("audit cursor"))),
        signer: Arc::new(JwtSigner::new(ISSUER.into(), keys)),
        assertions: Arc::new(JwtAssertionVerifier::default()),
        proofs: Arc::new(JwtProofVerifier::default()),
        issuer_keys: Arc::new(PinnedKeys),
        clock,
        ids: Arc::new(SystemIds),
        secrets: Arc::new(SystemSecrets),
    }
}

/// Returns a core on these ports whose tokens are valid for a day.
pub fn plain_core(ports: &Ports) -> App {
    let settings = Settings {
        issuer: ISSUER.into(),
        token_endpoint_audience: None,
        token_ttl_seconds: 86_400,
        max_delegation_depth: 3,
        address_requests_per_minute: u32::MAX,
        has_metrics: false,
    };
    App::new(ports, &settings)
}

/// Returns a client ID and secret, as presented in HTTP Basic.
pub fn presented(client: AgentId, secret: &ClientSecret) -> PresentedCredentials {
    let pair = Some((client.to_string(), secret.expose().into()));
    PresentedCredentials { header: PresentedHeader::Basic(pair), parameters: Vec::new() }
}
