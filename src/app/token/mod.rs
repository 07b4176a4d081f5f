//! Issues access tokens.
//!
//! A [`Grant`] determines audience and scopes; all other steps are shared. Each `grant_type` is one file and one line
//! of `grants!`.

mod client_credentials;
mod grant;
mod target;
mod token_exchange;

use std::sync::Arc;

use metrics::Counter;
use secrecy::{ExposeSecret as _, SecretString};

use super::{Ports, Settings};
pub use grant::{Asked, Exchange, Grant, Granted};
pub use token_exchange::{ACCESS_TOKEN, ExchangeRefusal};

use super::auth_failures::AuthFailures;
use super::client_auth::{
    AuthenticatedClient, ClientAuth, ClientAuthError, FormParameter, PresentedCredentials,
};
use super::events::{EventDetails, Events};
use super::metrics::{IssuedTokens, quota_rejections};
use super::proofs::{InvalidProof, Proofs};
use super::request_context::{AdmissionError, RequestContext};
use super::usage_mirror::UsagePublisher;
use domain::audit::{AuditAction, AuditEvent};
use domain::federation::Check;
use domain::id::TokenId;
use domain::proof::{Proof, ProofRequirement, Thumbprint};
use domain::scope::{RequestedScope, ScopeError, Scopes};
use domain::token::{AccessToken, Claims, generation_of};
use domain::token_record::metadata_of;
use ports::clock::Clock;
use ports::ids::Ids;
use ports::store_error::StoreError;
use ports::token_signer::{SignError, TokenSigner};
use ports::token_store::{IssueError, IssuerDependency, Signer, SpentAssertion, TokenIssue, TokenStore};

/// Maximum attempts to issue a token when its agent is changed concurrently.
const ATTEMPTS: usize = 5;

/// Issues access tokens.
#[derive(Clone)]
pub struct Tokens {
    grants: Arc<[Arc<dyn Grant>]>,
    clients: ClientAuth,
    store: Arc<dyn TokenStore>,
    signer: Arc<dyn TokenSigner>,
    auth_failures: AuthFailures,
    proofs: Proofs,
    usage: UsagePublisher,
    issued: IssuedTokens,
    quota_rejections: Counter,
    events: Events,
    ids: Arc<dyn Ids>,
    clock: Arc<dyn Clock>,
    settings: Settings,
}

/// Lists the grants.
macro_rules! grants {
    ($($module:ident::$grant:ident),+ $(,)?) => {
        fn grants(ports: &Ports, settings: &Settings) -> Arc<[Arc<dyn Grant>]> {
            Arc::new([$(Arc::new($module::$grant::new(ports, settings))),+])
        }

        /// Returns every supported `grant_type`.
        pub fn grant_types() -> impl Iterator<Item = &'static str> {
            [$($module::GRANT_TYPE),+].into_iter()
        }

        /// Returns the form parameters that the grants read, in addition to `scope`, `resource` and `audience`.
        pub fn form_parameters() -> impl Iterator<Item = FormParameter> {
            [$($module::PARAMETERS),+].into_iter().flatten().copied()
        }
    };
}
grants![client_credentials::ClientCredentials, token_exchange::TokenExchange];

/// Parameters of a token request.
#[derive(Clone, Debug, Default)]
pub struct TokenRequest {
    /// `grant_type`; `None` if it was not sent.
    pub grant_type: Option<String>,
    /// `scope`, as it was sent.
    pub scope: Option<String>,
    /// `resource` (RFC 8707), each time it was sent.
    pub resources: Vec<String>,
    /// `audience`, each time it was sent: the same as `resource`, but it may be a plain name.
    pub audiences: Vec<String>,
    /// Parameters that grants read in addition, none of them empty.
    pub parameters: Vec<(&'static str, SecretString)>,
}

impl TokenRequest {
    /// Returns a parameter that a grant reads; `None` if it is absent.
    fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.expose_secret())
    }
}

/// An issued token.
#[derive(Debug)]
pub struct IssuedToken {
    /// The signed token.
    pub token: AccessToken,
    /// `expires_in`: lifetime of the token, in seconds.
    pub expires_in_seconds: i64,
    /// Whether the token is bound to a key.
    pub is_bound: bool,
    /// Whether the token was obtained by exchange.
    pub is_exchanged: bool,
    /// `scope`: the granted scopes.
    pub scopes: Scopes,
}

impl Tokens {
    /// Creates the use case with every grant.
    pub(super) fn new(
        ports: &Ports,
        clients: &ClientAuth,
        auth_failures: &AuthFailures,
        usage: &UsagePublisher,
        settings: &Settings,
    ) -> Self {
        Self {
            grants: grants(ports, settings),
            clients: clients.clone(),
            store: ports.stores.tokens.clone(),
            signer: ports.signer.clone(),
            auth_failures: auth_failures.clone(),
            proofs: Proofs::new(ports, settings),
            usage: usage.clone(),
            issued: IssuedTokens::new(grant_types(), &clients.audit_names()),
            quota_rejections: quota_rejections(),
            events: Events::new(ports.ids.clone()),
            ids: ports.ids.clone(),
            clock: ports.clock.clone(),
            settings: settings.clone(),
        }
    }

    /// Issues a token to the client that presents these credentials.
    ///
    /// 1. An unsupported grant type and a scope that no client could be granted are refused before any lookup.
    /// 2. The client is authenticated, counted against its rate limit, and refused if it is suspended.
    /// 3. A proof of possession is verified, and the grant determines audience and scope.
    ///
    /// Until here the client may be as it was shortly before, because the next step confirms that nothing has changed
    /// since. Where it has, or would be refused, all of this is judged again by what is so now.
    ///
    /// 4. The store permits the token: `token.issued` is stored (on disk, if the store is durable), and agent,
    ///    organization, credential, quota, assertion and proof were still valid at that moment.
    /// 5. Only then is the token signed and returned.
    pub async fn issue(
        &self,
        context: &RequestContext,
        presented: &PresentedCredentials,
        request: &TokenRequest,
    ) -> Result<IssuedToken, TokenError> {
        let (grant, scope) = match self.read(request) {
            Ok(read) => read,
            Err(refusal) => {
                self.auth_failures.count(context).await?;
                return Err(refusal);
            }
        };
        let mut client = self.clients.authenticate_and_admit(context, presented).await?;
        let proof = self.proofs.verify(context, None)?;
        let key = proof.as_ref().map(|proof| &proof.key);
        for _ in 0..ATTEMPTS {
            let authorize = async {
                client.ensure_active()?;
                if key.is_none() && client.agent.dpop == ProofRequirement::Required {
                    return Err(InvalidProof::MISSING.into());
                }
                let asked = Asked { client: &client, request, scope: scope.as_ref(), key };
                grant.authorize(asked).await
            };
            let granted = match authorize.await {
                Err(_) if !client.is_current => {
                    client = self.clients.authenticate_again(context, presented).await?;
                    continue;
                }
                Err(TokenError::Exchange(refusal)) => {
                    self.auth_failures.record_refusal(context, client.claimed(), refusal.name());
                    return Err(refusal.into());
                }
                granted => granted?,
            };
            let claims = self.claims(&client, &granted, key);
            let subject_assertion = granted.exchange.as_ref().and_then(|exchange| exchange.assertion.clone());
            let is_replay =
                |one: &SpentAssertion| client.assertion.as_ref().is_some_and(|own| own.is_same(one));
            if subject_assertion.as_ref().is_some_and(is_replay) {
                return Err(self.refuse_subject_replay(context, &client));
            }
            let mut issue = self.issue_of(context, &client, &claims, granted);
            issue.assertions.extend(proof.as_ref().map(spent_by));
            let month = issue.event.at.month();
            match self.store.issue(issue).await {
                Ok(()) => {
                    self.usage.note(claims.agent, month);
                    self.issued.count(grant.grant_type(), client.method);
                    return Ok(IssuedToken {
                        token: self.signer.sign(&claims)?,
                        expires_in_seconds: claims.expires_at - claims.issued_at,
                        is_bound: claims.key.is_some(),
                        is_exchanged: claims.delegation.is_some(),
                        scopes: claims.scopes,
                    });
                }
                Err(IssueError::NoLongerAllowed) => {
                    client = self.clients.authenticate_again(context, presented).await?;
                }
                Err(IssueError::QuotaReached(limit)) => {
                    self.quota_rejections.increment(1);
                    return Err(TokenError::QuotaReached(limit));
                }
                Err(IssueError::AssertionSpent) => {
                    if let Some(proof) = &proof
                        && self.store.is_spent(&spent_by(proof)).await?
                    {
                        return Err(InvalidProof::USED.into());
                    }
                    let is_replay = match &client.assertion {
                        Some(assertion) => self.store.is_spent(assertion).await?,
                        None => false,
                    };
                    if subject_assertion.is_some() && !is_replay {
                        return Err(self.refuse_subject_replay(context, &client));
                    }
                    return Err(self.clients.refuse_replay(context, &client).await.into());
                }
                Err(IssueError::Store(failure)) => return Err(failure.into()),
            }
        }
        Err(TokenError::Contended)
    }

    /// Returns the grant and the scope of a request, as far as the request alone determines them.
    fn read(&self, request: &TokenRequest) -> Result<(&dyn Grant, Option<RequestedScope>), TokenError> {
        let grant_type = request.grant_type.as_deref().ok_or(TokenError::GrantTypeMissing)?;
        let grant =
            self.grants.iter().find(|grant| grant.grant_type() == grant_type).ok_or_else(|| {
                TokenError::UnsupportedGrantType(grant_types().collect::<Vec<_>>().join(", "))
            })?;
        let scope = request.scope.as_deref().map(RequestedScope::parse).transpose()?;
        Ok((&**grant, scope))
    }

    fn claims(&self, client: &AuthenticatedClient, granted: &Granted, key: Option<&Thumbprint>) -> Claims {
        let issued_at = self.clock.now().as_seconds();
        let latest = issued_at + i64::from(self.settings.token_ttl_seconds);
        let exchange = granted.exchange.as_ref();
        let mut issuers = client.issuers();
        for one in exchange.iter().flat_map(|exchange| &exchange.issuers) {
            if issuers.iter().all(|known| known.issuer != one.issuer) {
                issuers.push(*one);
            }
        }
        Claims {
            agent: client.agent.id,
            organization: client.organization.id,
            audience: granted.audience.clone(),
            scopes: granted.scopes.clone(),
            id: TokenId(self.ids.next()),
            issued_at,
            expires_at: exchange.map_or(latest, |exchange| exchange.expires_at.min(latest)),
            generation: generation_of(&client.agent, &client.organization),
            issuers,
            key: key.cloned(),
            delegation: exchange.map(|exchange| Box::new(exchange.delegation.clone())),
        }
    }

    /// Returns the request to store a token with these claims.
    fn issue_of(
        &self,
        context: &RequestContext,
        client: &AuthenticatedClient,
        claims: &Claims,
        granted: Granted,
    ) -> TokenIssue {
        let mut issue = TokenIssue {
            agent: claims.agent,
            credential: client.credential,
            secret: client.secret,
            revision: client.agent.revision + client.organization.revision,
            changed_at: client.agent.updated_at.max(client.organization.updated_at),
            depends_on: Vec::new(),
            issuers: client.issuer.iter().map(|issuer| IssuerDependency::of(issuer)).collect(),
            ancestors: claims.parents().to_vec(),
            person: None,
            assertions: client.assertion.iter().cloned().collect(),
            event: self.event(context, client, claims),
        };
        if let Some(exchange) = granted.exchange {
            issue.depends_on = exchange.depends_on;
            issue.issuers.extend(exchange.decided_by);
            issue.person = exchange.person;
            issue.assertions.extend(exchange.assertion);
        }
        issue
    }

    fn event(&self, context: &RequestContext, client: &AuthenticatedClient, claims: &Claims) -> AuditEvent {
        let action = match claims.delegation {
            None => AuditAction::TokenIssued,
            Some(_) => AuditAction::TokenExchanged,
        };
        let details = EventDetails {
            actor: Some(claims.agent),
            action,
            resource: Some(claims.id.into()),
            origin: &context.origin,
            metadata: metadata_of(claims, client.credential, client.issuer.as_ref().map(|issuer| issuer.id)),
        };
        self.events.success(details, self.clock.now())
    }

    /// Records that a person's token was used before, and returns the refusal.
    fn refuse_subject_replay(&self, context: &RequestContext, client: &AuthenticatedClient) -> TokenError {
        let refusal = ExchangeRefusal::Check(Check::Jti);
        self.auth_failures.record_refusal(context, client.claimed(), refusal.name());
        refusal.into()
    }
}

/// Returns what is used up with a proof.
fn spent_by(proof: &Proof) -> SpentAssertion {
    SpentAssertion { signer: Signer::Key, digest: proof.digest(), until: proof.until() }
}

/// Error returned if no token was issued.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The request has no `grant_type`.
    #[error("grant_type is missing")]
    GrantTypeMissing,
    /// No grant has this `grant_type`; the text lists those that exist.
    #[error("unsupported grant_type; supported: {0}")]
    UnsupportedGrantType(String),
    /// The client could not be authenticated or admitted.
    #[error(transparent)]
    Client(#[from] ClientAuthError),
    /// The requested scope is malformed, or cannot be granted to the client.
    #[error(transparent)]
    InvalidScope(#[from] ScopeError),
    /// A token for a resource server would carry a management scope.
    #[error("a token for a resource cannot carry a management scope")]
    ManagementScopeForResource,
    /// A parameter of the grant is missing or cannot be used; the text says which.
    #[error("{0}")]
    Malformed(&'static str),
    /// The proof of possession is missing or not valid.
    #[error(transparent)]
    InvalidProof(#[from] InvalidProof),
    /// The subject token is not exchanged.
    #[error(transparent)]
    Exchange(#[from] ExchangeRefusal),
    /// A requested scope, or all of them, are more than the subject token and the client both have.
    #[error(
        "a scope must be one that the subject token and the client both have, and no management scope; at least one must be left"
    )]
    ScopeNotDelegated,
    /// The resource is not one of the client's organization, or more than one was named; the text says which.
    #[error("{0}")]
    InvalidTarget(&'static str),
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
