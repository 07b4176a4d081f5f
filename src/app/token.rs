//! The token endpoint: client credentials in, a signed token out (RFC 6749 section 4.4).

use std::sync::Arc;

use super::Settings;
use super::auth_failures::AuthFailures;
use super::client_auth::{AuthenticatedClient, ClientAuth, ClientAuthError, PresentedCredentials};
use super::events::{EventDetails, Events};
use super::request_context::{AdmissionError, RequestContext};
use crate::domain::audit::{AuditAction, Metadata};
use crate::domain::id::TokenId;
use crate::domain::organization::Organization;
use crate::domain::scope::{RequestedScope, ScopeError, Scopes};
use crate::domain::token::{AccessToken, Audience, Claims, generation_of};
use crate::ports::clock::Clock;
use crate::ports::ids::Ids;
use crate::ports::store_error::StoreError;
use crate::ports::token_signer::{SignError, TokenSigner};
use crate::ports::token_store::{IssueError, TokenIssue, TokenStore};

/// How often a token is tried again when its agent is being changed at the same time.
const ATTEMPTS: usize = 4;

/// Issues tokens.
#[derive(Clone)]
pub struct Tokens {
    pub(super) clients: ClientAuth,
    pub(super) store: Arc<dyn TokenStore>,
    pub(super) signer: Arc<dyn TokenSigner>,
    pub(super) auth_failures: AuthFailures,
    pub(super) events: Events,
    pub(super) ids: Arc<dyn Ids>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) settings: Settings,
}

/// What a client asks for.
#[derive(Clone, Debug, Default)]
pub struct TokenRequest {
    /// `scope`, as it was sent.
    pub scope: Option<String>,
    /// `resource` (RFC 8707), each time it was sent.
    pub resources: Vec<String>,
}

/// A token that was issued.
#[derive(Debug)]
pub struct IssuedToken {
    pub token: AccessToken,
    pub expires_in_seconds: u32,
    pub scopes: Scopes,
}

impl Tokens {
    /// Issues a token to the client that presents these credentials.
    ///
    /// 1. A scope that no client could have is refused before anything is looked up.
    /// 2. The client proves itself, is held to its rate, and is told if it is suspended.
    /// 3. Audience and scope are decided by what its organization and the agent have.
    /// 4. The store lets the token be issued: its `token.issued` is on disk, and agent,
    ///    organization, credential, quota and assertion still held at that moment.
    /// 5. Only then is it signed and handed out.
    pub async fn issue(
        &self,
        context: &RequestContext,
        presented: &PresentedCredentials,
        request: &TokenRequest,
    ) -> Result<IssuedToken, TokenError> {
        let scope = match request.scope.as_deref().map(RequestedScope::parse).transpose() {
            Ok(scope) => scope,
            Err(refusal) => {
                self.auth_failures.count(context).await?;
                return Err(refusal.into());
            }
        };
        let mut client = self.clients.authenticate(context, presented).await?;
        self.clients.admit(context, &client).await?;
        for _ in 0..ATTEMPTS {
            client.ensure_active()?;
            let audience = self.audience(&client.organization, &request.resources)?;
            let scopes = granted(&client, &audience, scope.as_ref())?;
            let claims = self.claims(&client, audience, scopes);
            let issue = TokenIssue {
                agent: claims.agent,
                credential: client.credential,
                secret: client.secret,
                revision: client.agent.revision + client.organization.revision,
                assertion: client.assertion.clone(),
                event: self.event(context, &client, &claims),
            };
            match self.store.issue(issue).await {
                Ok(_) => {
                    return Ok(IssuedToken {
                        token: self.signer.sign(&claims)?,
                        expires_in_seconds: self.settings.token_ttl_seconds,
                        scopes: claims.scopes,
                    });
                }
                Err(IssueError::NoLongerAllowed) => {
                    client = self.clients.authenticate(context, presented).await?;
                }
                Err(IssueError::QuotaReached(limit)) => return Err(TokenError::QuotaReached(limit)),
                Err(IssueError::AssertionSpent) => {
                    let refusal =
                        self.clients.refused(context, Some(client.claimed()), "private_key_jwt").await;
                    return Err(refusal.into());
                }
                Err(IssueError::Store(failure)) => return Err(failure.into()),
            }
        }
        Err(TokenError::Contended)
    }

    /// Whom the token is for: the issuer, or the one resource that was asked for and may be.
    fn audience(&self, organization: &Organization, resources: &[String]) -> Result<Audience, TokenError> {
        match resources {
            [] => Ok(Audience::Issuer),
            [one] if **one == *self.settings.issuer => Ok(Audience::Issuer),
            [one] if organization.has_resource(one) => Ok(Audience::Resource(one.as_str().into())),
            _ => Err(TokenError::InvalidTarget),
        }
    }

    fn claims(&self, client: &AuthenticatedClient, audience: Audience, scopes: Scopes) -> Claims {
        let issued_at = self.clock.now().as_seconds();
        Claims {
            agent: client.agent.id,
            organization: client.organization.id,
            audience,
            scopes,
            id: TokenId(self.ids.next()),
            issued_at,
            expires_at: issued_at + i64::from(self.settings.token_ttl_seconds),
            generation: generation_of(&client.agent, &client.organization),
        }
    }

    fn event(
        &self,
        context: &RequestContext,
        client: &AuthenticatedClient,
        claims: &Claims,
    ) -> crate::domain::audit::NewAuditEvent {
        let metadata = Metadata::default()
            .with("credentialId", client.credential.to_string())
            .with("scope", claims.scopes.as_str());
        let metadata = match &claims.audience {
            Audience::Issuer => metadata,
            Audience::Resource(uri) => metadata.with("resource", &**uri),
        };
        let details = EventDetails {
            actor: Some(claims.agent),
            authority: None,
            action: AuditAction::TokenIssued,
            resource: Some(claims.id.into()),
            origin: &context.origin,
            metadata,
        };
        self.events.success(details, self.clock.now())
    }
}

/// What the token may do. One for a resource server never carries a management scope.
fn granted(
    client: &AuthenticatedClient,
    audience: &Audience,
    asked: Option<&RequestedScope>,
) -> Result<Scopes, TokenError> {
    let capabilities = &client.agent.capabilities;
    let scopes = match asked {
        Some(asked) => capabilities.grant(asked)?,
        None => capabilities.default_grant(),
    };
    if *audience != Audience::Issuer && !scopes.management().is_empty() {
        return Err(TokenError::ManagementScopeForResource);
    }
    Ok(scopes)
}

/// Why no token was issued.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error(transparent)]
    Client(#[from] ClientAuthError),
    #[error(transparent)]
    InvalidScope(#[from] ScopeError),
    #[error("a token for a resource cannot carry a management scope")]
    ManagementScopeForResource,
    #[error("the resource is not one of the organization's resources, or more than one was requested")]
    InvalidTarget,
    #[error("the client has reached its quota of {0} tokens this month")]
    QuotaReached(u32),
    #[error("the agent is being changed; try again")]
    Contended,
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<AdmissionError> for TokenError {
    fn from(failure: AdmissionError) -> Self {
        Self::Client(failure.into())
    }
}
