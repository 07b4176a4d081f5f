//! An introspection asks the store about both tokens at once, and nothing without a token of this service.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agentidp::adapters::crypto::generate_pem;
use agentidp::app::App;
use agentidp::app::bearer::PresentedToken;
use agentidp::app::request_context::RequestContext;
use agentidp::app::token::TokenRequest;
use agentidp::domain::audit::{AuditEvent, Origin};
use agentidp::domain::id::OrganizationId;
use agentidp::domain::jwk::KeyType;
use agentidp::domain::token::{Claims, TokenStatus};
use agentidp::ports::store_error::StoreError;
use agentidp::ports::token_store::{IssueError, Revocation, SpentAssertion, TokenIssue, TokenStore};
use async_trait::async_trait;
use testing::{PlainHasher, plain_core, plain_ports, presented};
use tokio::sync::Barrier;

use crate::fixtures::*;

/// A store whose questions about two tokens are answered only once both are asked.
struct Together {
    store: Arc<dyn TokenStore>,
    asked: AtomicUsize,
    both: Barrier,
}

#[async_trait]
impl TokenStore for Together {
    async fn issue(&self, issue: TokenIssue) -> Result<(), IssueError> {
        self.store.issue(issue).await
    }

    async fn spend(&self, assertion: &SpentAssertion) -> Result<bool, StoreError> {
        self.store.spend(assertion).await
    }

    async fn is_spent(&self, assertion: &SpentAssertion) -> Result<bool, StoreError> {
        self.store.is_spent(assertion).await
    }

    async fn revoke(&self, revocation: &Revocation, event: &AuditEvent) -> Result<(), StoreError> {
        self.store.revoke(revocation, event).await
    }

    async fn statuses(
        &self,
        organization: OrganizationId,
        claims: &[Claims],
    ) -> Result<Vec<Option<TokenStatus>>, StoreError> {
        self.store.statuses(organization, claims).await
    }

    async fn status(&self, claims: &Claims) -> Result<Option<TokenStatus>, StoreError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.both.wait().await;
        self.store.status(claims).await
    }
}

async fn introspected(app: &App, bearer: Option<&str>, token: &str) -> Result<bool, String> {
    let context = RequestContext::new(String::new(), Origin::NONE);
    let look_up = app.introspection.look_up(token);
    let authenticated =
        app.bearer.authenticate_with(&context, bearer.map(PresentedToken::bearer), look_up).await;
    let (caller, looked_up) = authenticated.map_err(|error| error.to_string())?;
    let active = app.introspection.report(&caller, looked_up).map_err(|error| error.to_string())?;
    Ok(active.is_some())
}

#[tokio::test]
async fn both_tokens_are_asked_about_together_and_a_stranger_asks_nothing() {
    let stores = memory().await;
    let key = generate_pem(KeyType::Ed25519).expect("a key");
    let mut ports = plain_ports(Arc::new(PlainHasher), &stores, stores.clock.clone(), &key);
    let together = Arc::new(Together {
        store: stores.tokens.clone(),
        asked: AtomicUsize::new(0),
        both: Barrier::new(2),
    });
    ports.stores.tokens = together.clone();
    let app = plain_core(&ports);
    let administrator = app.bootstrap.first_administrator().await.expect("the first");
    let context = RequestContext::new(String::new(), Origin::NONE);
    let presented = presented(administrator.client_id, &administrator.client_secret);
    let request = TokenRequest {
        grant_type: Some("client_credentials".to_owned()),
        scope: Some("tokens:read".to_owned()),
        ..TokenRequest::default()
    };
    let issued = app.tokens.issue(&context, &presented, &request).await.expect("a token");
    let token = issued.token.expose();

    let (message, signature) = token.rsplit_once('.').expect("a signature");
    let forged = format!("{message}.{}", signature.chars().rev().collect::<String>());
    for bearer in [None, Some("x"), Some(&*forged)] {
        introspected(&app, bearer, token).await.expect_err("a stranger");
    }
    assert_eq!(together.asked.load(Ordering::SeqCst), 0);
    assert_eq!(introspected(&app, Some(token), token).await, Ok(true));
    assert_eq!(together.asked.load(Ordering::SeqCst), 2);
}
