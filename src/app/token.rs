//! Issues access tokens by the client credentials grant (RFC 6749 section 4.4).

use std::sync::Arc;

use super::Settings;
use super::auth_failures::AuthFailures;
use super::client_auth::{AuthenticatedClient, ClientAuth, ClientAuthError, PresentedCredentials};
use super::events::{EventDetails, Events};
use super::request_context::{AdmissionError, RequestContext};
use super::usage_mirror::UsagePublisher;
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

/// Maximum attempts to issue a token when its agent is changed concurrently.
const ATTEMPTS: usize = 4;

/// Issues access tokens.
#[derive(Clone)]
pub struct Tokens {
    pub(super) clients: ClientAuth,
    pub(super) store: Arc<dyn TokenStore>,
    pub(super) signer: Arc<dyn TokenSigner>,
    pub(super) auth_failures: AuthFailures,
    pub(super) usage: UsagePublisher,
    pub(super) events: Events,
    pub(super) ids: Arc<dyn Ids>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) settings: Settings,
}

/// Parameters of a token request.
#[derive(Clone, Debug, Default)]
pub struct TokenRequest {
    /// `scope`, as it was sent.
    pub scope: Option<String>,
    /// `resource` (RFC 8707), each time it was sent.
    pub resources: Vec<String>,
}

/// An issued token.
#[derive(Debug)]
pub struct IssuedToken {
    /// The signed token.
    pub token: AccessToken,
    /// `expires_in`: lifetime of the token, in seconds.
    pub expires_in_seconds: u32,
    /// `scope`: the granted scopes.
    pub scopes: Scopes,
}

impl Tokens {
    /// Issues a token to the client that presents these credentials.
    ///
    /// 1. A scope that no client could be granted is refused before any lookup.
    /// 2. The client is authenticated, counted against its rate limit, and refused if it is suspended.
    /// 3. Audience and scope are determined by what the organization and the agent have.
    /// 4. The store permits the token: `token.issued` is stored (on disk, if the store is durable), and agent,
    ///    organization, credential, quota and assertion were still valid at that moment.
    /// 5. Only then is the token signed and returned.
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
            let month = issue.event.at.month();
            match self.store.issue(issue).await {
                Ok(()) => {
                    self.usage.note(claims.agent, month);
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

    /// Returns the audience: the issuer, or the one requested resource of the organization.
    ///
    /// Returns [`TokenError::InvalidTarget`] for any other resource, or for more than one.
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
            action: AuditAction::TokenIssued,
            resource: Some(claims.id.into()),
            origin: &context.origin,
            metadata,
        };
        self.events.success(details, self.clock.now())
    }
}

/// Returns the scopes of the token.
///
/// A token for a resource server never carries a management scope.
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

/// Error returned if no token was issued.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The client could not be authenticated or admitted.
    #[error(transparent)]
    Client(#[from] ClientAuthError),
    /// The requested scope is malformed, or cannot be granted to the client.
    #[error(transparent)]
    InvalidScope(#[from] ScopeError),
    /// A token for a resource server would carry a management scope.
    #[error("a token for a resource cannot carry a management scope")]
    ManagementScopeForResource,
    /// The resource is not one of the client's organization, or more than one was named.
    #[error("the resource is not one of the organization's resources, or more than one was requested")]
    InvalidTarget,
    /// The client has reached its monthly quota of tokens.
    #[error("the client has reached its quota of {0} tokens this month")]
    QuotaReached(u32),
    /// The agent was changed concurrently.
    #[error("the agent is being changed; try again")]
    Contended,
    /// The token could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The store returned an error.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<AdmissionError> for TokenError {
    fn from(failure: AdmissionError) -> Self {
        Self::Client(failure.into())
    }
}
