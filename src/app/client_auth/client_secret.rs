//! Authentication by client secret, in HTTP Basic or in the form (RFC 6749 section 2.3.1).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::ExposeSecret as _;
use tokio::time::timeout;

use super::{
    AuthenticatedClient, CLIENT_ID, ClientAuthenticator, FormParameter, MethodError, PresentedCredentials,
    PresentedHeader, Refusal, SEVERAL_METHODS, claimed,
};
use crate::auth_failures::{AuthFailureReason, AuthFailures};
use crate::request_context::RequestContext;
use crate::{Ports, Settings};
use domain::id::AgentId;
use domain::secret::ClientSecret;
use ports::clock::Clock;
use ports::credential_store::{CredentialStore, Freshness, PresentedKind};
use ports::secret_hasher::{SecretHasher, Verification};

/// Maximum time that a request waits for the digest of its secret to be stored.
const WAIT_FOR_DIGEST: Duration = Duration::from_millis(250);
const CLIENT_SECRET: &str = "client_secret";
/// The form parameters of the methods.
pub(super) const PARAMETERS: &[FormParameter] = &[FormParameter { name: CLIENT_SECRET, description: "" }];

/// `client_secret_basic` and `client_secret_post`.
pub(super) struct ClientSecretAuthenticator {
    store: Arc<dyn CredentialStore>,
    hasher: Arc<dyn SecretHasher>,
    clock: Arc<dyn Clock>,
}

impl ClientSecretAuthenticator {
    pub(super) fn new(ports: &Ports, _: &AuthFailures, _: &Settings) -> Self {
        Self {
            store: ports.stores.credentials.clone(),
            hasher: ports.hasher.clone(),
            clock: ports.clock.clone(),
        }
    }
}

#[async_trait]
impl ClientAuthenticator for ClientSecretAuthenticator {
    fn methods(&self) -> &'static [&'static str] {
        &["client_secret_basic", "client_secret_post"]
    }

    fn parameters(&self) -> &'static [FormParameter] {
        PARAMETERS
    }

    fn audit_name(&self) -> &'static str {
        CLIENT_SECRET
    }

    fn recognizes(&self, presented: &PresentedCredentials) -> bool {
        matches!(presented.header, PresentedHeader::Basic(_)) || presented.parameter(CLIENT_SECRET).is_some()
    }

    async fn authenticate(
        &self,
        _: &RequestContext,
        presented: &PresentedCredentials,
        freshness: Freshness,
    ) -> Result<AuthenticatedClient, MethodError> {
        let (client, secret) = read(presented).map_err(MethodError::Malformed)?;
        let (Some(id), Some(secret)) = (client, secret) else {
            let claimed = claimed(&*self.store, client).await?;
            let reason = match claimed {
                None => AuthFailureReason::UnknownClient,
                Some(_) => AuthFailureReason::Secret,
            };
            return Err(Refusal::without_client(claimed, reason).into());
        };
        let fingerprint = secret.fingerprint();
        let kind = PresentedKind::Secret(fingerprint);
        let Some(known) = self.store.find_client(id, kind, freshness).await? else {
            return Err(Refusal::without_client(None, AuthFailureReason::UnknownClient).into());
        };
        let now = self.clock.now();
        let candidate = known.candidates.iter().find_map(|credential| {
            credential.secret_for(fingerprint, now).map(|stored| (credential, stored))
        });
        if let Some((credential, stored)) = candidate
            && let Verification::Right { new_digest } =
                self.hasher.verify(&secret, stored, known.organization.id).await?
        {
            if let Some(digest) = new_digest {
                let store = self.store.set_digest(known.agent.id, credential.id, fingerprint, digest);
                // Without it, the next instance hashes the secret once more, which is no reason to wait for long.
                if !matches!(timeout(WAIT_FOR_DIGEST, store).await, Ok(Ok(()))) {
                    tracing::debug!("the digest of a secret was not stored");
                }
            }
            return Ok(AuthenticatedClient {
                credential: credential.id,
                secret: Some(fingerprint),
                last_used_at: credential.last_used_at,
                agent: known.agent.clone(),
                organization: known.organization.clone(),
                assertion: None,
                issuer: None,
                method: self.audit_name(),
                is_current: known.is_current,
            });
        }
        let reason = match known.candidates.first() {
            Some(credential) if credential.revoked_at.is_some() => AuthFailureReason::Revoked,
            // The fingerprint is that of a secret whose time is over.
            Some(_) if candidate.is_none() => AuthFailureReason::Expired,
            _ => AuthFailureReason::Secret,
        };
        Err(Refusal::of(&known, reason).into())
    }
}

/// Returns client ID and secret; `None` for either if it is absent or malformed.
fn read(presented: &PresentedCredentials) -> Result<(Option<AgentId>, Option<ClientSecret>), &'static str> {
    let named = presented.parameter(CLIENT_ID);
    let posted = presented.parameter(CLIENT_SECRET);
    let (client, secret) = match &presented.header {
        PresentedHeader::Basic(_) if posted.is_some() => return Err(SEVERAL_METHODS),
        PresentedHeader::Basic(None) => (None, None),
        PresentedHeader::Basic(Some((client, _))) if named.is_some_and(|named| named != client) => {
            return Err("client_id is not the client that authenticates");
        }
        PresentedHeader::Basic(Some((client, secret))) => {
            (Some(client.as_str()), Some(secret.expose_secret()))
        }
        _ => (named, posted),
    };
    Ok((client.and_then(AgentId::parse), secret.and_then(ClientSecret::parse)))
}
