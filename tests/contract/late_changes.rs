//! Changes between the decision of an exchange and the statement that stores its token.
//!
//! The statement refuses what was decided by an earlier state, and the exchange is decided again by the present one.

use std::sync::{Arc, Mutex};

use agentidp::adapters::crypto::generate_pem;
use agentidp::app::App;
use agentidp::app::client_auth::PresentedCredentials;
use agentidp::app::request_context::RequestContext;
use agentidp::app::token::{IssuedToken, TokenError, TokenRequest};
use agentidp::domain::agent::{Agent, AgentChange};
use agentidp::domain::audit::{AuditAction, AuditEvent, Origin};
use agentidp::domain::credential::{Credential, CredentialKind, StoredSecret};
use agentidp::domain::id::{OrganizationId, TokenId};
use agentidp::domain::issuer::{IssuerChange, IssuerStatus, KeySource, Subjects, TrustedIssuer};
use agentidp::domain::issuer_key::{IssuerKey, KeyUse};
use agentidp::domain::jwk::KeyType;
use agentidp::domain::may_act::MayAct;
use agentidp::domain::plan::LimitOverrides;
use agentidp::domain::scope::Scopes;
use agentidp::domain::secret::{ClientSecret, SecretHash};
use agentidp::domain::tenancy::Tenancy;
use agentidp::domain::token::{Claims, TokenStatus};
use agentidp::ports::store_error::StoreError;
use agentidp::ports::token_store::{IssueError, Revocation, SpentAssertion, TokenIssue, TokenStore};
use async_trait::async_trait;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use testing::{NOON, PlainHasher, plain_core, plain_ports, presented};

use crate::fixtures::*;

contract!([memory, postgres, sqlite] [
    an_exchange_is_decided_again_after_a_change_of_an_agent_of_the_chain,
    an_exchange_is_decided_again_after_a_change_of_the_issuer_or_the_person,
    the_token_of_a_person_is_judged_again_after_a_change_of_the_issuer,
]);

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// A store in which a change comes just before the next token is stored.
struct Late {
    store: Arc<dyn TokenStore>,
    change: Mutex<Option<BoxFuture<'static, ()>>>,
}

#[async_trait]
impl TokenStore for Late {
    async fn issue(&self, issue: TokenIssue) -> Result<(), IssueError> {
        let change = self.change.lock().expect("not poisoned").take();
        if let Some(change) = change {
            change.await;
        }
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
        self.store.status(claims).await
    }
}

/// The answer to an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answered {
    /// A token with these scopes.
    Scopes(&'static str),
    /// A refusal of the subject token, for this reason.
    Refused(&'static str),
    /// A refusal of the scopes.
    NoScope,
}

/// Three agents of which each may act for the one before it, and an issuer whose persons they may act for.
struct World {
    stores: Stores,
    app: App,
    late: Arc<Late>,
    agents: [(Agent, PresentedCredentials); 3],
    issuer: TrustedIssuer,
    key: Ed25519KeyPair,
}

impl World {
    async fn new(stores: &Stores) -> Self {
        let pem = generate_pem(KeyType::Ed25519).expect("a key");
        let mut ports = plain_ports(Arc::new(PlainHasher), stores, stores.clock.clone(), &pem);
        let late = Arc::new(Late { store: stores.tokens.clone(), change: Mutex::default() });
        ports.stores.tokens = late.clone();
        let organization = stores.organization(LimitOverrides::default()).await.id;
        let mut agents = Vec::new();
        for _ in 0..3 {
            let capabilities = Scopes::capabilities(&["files:read", "files:write"]).expect("valid");
            let agent =
                Agent { capabilities, may_act: MayAct::All, redelegation: true, ..agent(organization) };
            let agent = stores.add(agent).await;
            let mut random = [0; 24];
            random[..16].copy_from_slice(agent.id.0.as_bytes());
            let secret = ClientSecret::from_random(random);
            let hash = SecretHash(secret.expose().to_owned());
            let current = StoredSecret { fingerprint: secret.fingerprint(), hash, digest: None };
            let kind = CredentialKind::Secret { current, previous: None };
            let credential = Credential { kind, ..credential(agent.id) };
            stores.credentials.insert(&agent, &credential, 10, unchecked(&[])).await.expect("stored");
            let presented = presented(agent.id, &secret);
            agents.push((agent, presented));
        }
        let key = Ed25519KeyPair::generate().expect("a key");
        let subjects = Subjects {
            audiences: vec!["app".to_owned()],
            may_act: MayAct::All,
            scopes: Scopes::capabilities(&["files:read", "files:write"]).expect("valid"),
            max_age_seconds: 600,
            redelegation: true,
        };
        let keys = keys_of(&key);
        let issuer = TrustedIssuer { subjects: Some(subjects), keys, ..issuer(organization) };
        Self {
            stores: stores.clone(),
            app: plain_core(&ports),
            late,
            agents: agents.try_into().unwrap_or_else(|_| panic!("three agents")),
            issuer: stores.trust(issuer).await,
            key,
        }
    }

    async fn request(
        &self,
        agent: usize,
        parameters: &[(&'static str, &str)],
    ) -> Result<IssuedToken, TokenError> {
        let context = RequestContext::new(String::new(), Origin::NONE);
        let is_exchange = !parameters.is_empty();
        let grant_type = if is_exchange {
            "urn:ietf:params:oauth:grant-type:token-exchange"
        } else {
            "client_credentials"
        };
        let parameters = parameters.iter().map(|(name, value)| (*name, (*value).into())).collect();
        let request =
            TokenRequest { grant_type: Some(grant_type.to_owned()), parameters, ..TokenRequest::default() };
        self.app.tokens.issue(&context, &self.agents[agent].1, &request).await
    }

    async fn exchange(&self, agent: usize, kind: &str, token: &str) -> Result<IssuedToken, TokenError> {
        self.request(agent, &[("subject_token", token), ("subject_token_type", kind)]).await
    }

    fn jwt(&self) -> String {
        let now = NOON.as_seconds();
        let claims = json!({
            "iss": self.issuer.issuer.as_str(), "sub": "alice", "aud": "app", "iat": now, "exp": now + 600,
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&json!({ "alg": "EdDSA", "kid": "1" })), part(&claims));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(message.as_bytes()).as_ref());
        format!("{message}.{signature}")
    }

    /// Exchanges a token while this change is made, and checks the answer and what is stored.
    async fn check(
        &self,
        (actor, kind, token): (usize, &str, &str),
        change: impl Future<Output = ()> + Send + 'static,
        expected: Answered,
        name: &str,
    ) {
        let before = self.stores.count(AuditAction::TokenExchanged).await;
        *self.late.change.lock().expect("not poisoned") = Some(Box::pin(change));
        let outcome = self.exchange(actor, kind, token).await;
        let stored = self.stores.count(AuditAction::TokenExchanged).await - before;
        assert!(self.late.change.lock().expect("not poisoned").is_none(), "{name}: decided too early");
        match (outcome, expected) {
            (Ok(issued), Answered::Scopes(scopes)) => {
                assert_eq!((issued.scopes.as_str(), stored), (scopes, 1), "{name}");
                let token = issued.token.expose();
                let (claims, status) =
                    self.app.introspection.look_up(token).await.expect("an answer").expect("known");
                assert!(status.is_active(&claims), "{name}");
                assert_eq!(status.effective_scopes(&claims).as_str(), scopes, "{name}");
            }
            (Err(TokenError::Exchange(refusal)), Answered::Refused(reason)) => {
                assert_eq!((refusal.name(), stored), (reason, 0), "{name}");
            }
            (Err(TokenError::ScopeNotDelegated), Answered::NoScope) => assert_eq!(stored, 0, "{name}"),
            (outcome, expected) => panic!("{name}: {outcome:?}, not {expected:?}"),
        }
    }
}

fn keys_of(key: &Ed25519KeyPair) -> KeySource {
    let x = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": "1" });
    KeySource::Jwks([IssuerKey::parse(&jwk, KeyUse::Signature).expect("a key")].into())
}

/// Stores a change of an agent.
async fn change_agent(stores: Stores, before: Agent, after: Agent) {
    stores.agents.update(&before, &after, unchecked(&[])).await.expect("changed");
}

fn capabilities(values: &[&str]) -> AgentChange {
    let capabilities = Some(Scopes::capabilities(values).expect("valid"));
    AgentChange { capabilities, ..AgentChange::default() }
}

async fn an_exchange_is_decided_again_after_a_change_of_an_agent_of_the_chain(stores: Stores) {
    use Answered::{NoScope, Refused, Scopes};
    let may_act = AgentChange { may_act: Some(MayAct::NONE), ..AgentChange::default() };
    let redelegation = AgentChange { redelegation: Some(false), ..AgentChange::default() };
    let suspension = AgentChange { is_active: Some(false), ..AgentChange::default() };
    for (name, place, change, expected) in [
        ("mayAct of the holder", 1, may_act.clone(), Refused("may_act")),
        ("mayAct of the subject", 0, may_act, Scopes("files:read files:write")),
        ("redelegation of the subject", 0, redelegation.clone(), Refused("redelegation")),
        ("redelegation of the holder", 1, redelegation, Scopes("files:read files:write")),
        ("capabilities of the subject", 0, capabilities(&["files:write"]), Scopes("files:write")),
        ("capabilities of the holder", 1, capabilities(&["files:read"]), Scopes("files:read")),
        ("capabilities of the actor", 2, capabilities(&["files:read"]), Scopes("files:read")),
        ("all capabilities of the holder", 1, capabilities(&["mail:send"]), NoScope),
        ("suspension of the subject", 0, suspension.clone(), Refused("subject_token")),
        ("suspension of the holder", 1, suspension, Refused("subject_token")),
    ] {
        let world = World::new(&stores).await;
        let first = world.request(0, &[]).await.expect("a token");
        let held = world.exchange(1, ACCESS_TOKEN, first.token.expose()).await.expect("a token");
        let before = world.agents[place].0.clone();
        let after = before.changed(change, NOON.plus_seconds(1)).expect("not decommissioned");
        let change = change_agent(stores.clone(), before, after);
        world.check((2, ACCESS_TOKEN, held.token.expose()), change, expected, name).await;
    }
    for place in 0..2 {
        let world = World::new(&stores).await;
        let first = world.request(0, &[]).await.expect("a token");
        let held = world.exchange(1, ACCESS_TOKEN, first.token.expose()).await.expect("a token");
        let before = world.agents[place].0.clone();
        let killed = before.with_tokens_revoked(NOON).expect("not decommissioned");
        let kill = change_agent(stores.clone(), before, killed);
        let refused = Refused("subject_token");
        world.check((2, ACCESS_TOKEN, held.token.expose()), kill, refused, "a kill").await;

        let world = World::new(&stores).await;
        let first = world.request(0, &[]).await.expect("a token");
        let held = world.exchange(1, ACCESS_TOKEN, first.token.expose()).await.expect("a token");
        let ancestor = [&first, &held][place].token.expose();
        let ancestor = world.app.introspection.look_up(ancestor).await.expect("an answer").expect("known").0;
        let revoke = revoke(stores.clone(), ancestor.id, world.agents[0].0.clone());
        world.check((2, ACCESS_TOKEN, held.token.expose()), revoke, refused, "a revocation").await;
    }
}

async fn revoke(stores: Stores, token: TokenId, agent: Agent) {
    let revocation = Revocation { token, organization: agent.organization, until: NOON.plus_seconds(60) };
    let revoked = event(AuditAction::TokenRevoked, token);
    stores.tokens.revoke(&revocation, &revoked).await.expect("revoked");
}

/// A change of an issuer, or `None` for the revocation of a person of it.
type Change = Option<fn(Subjects) -> IssuerChange>;

async fn change_issuer(stores: Stores, before: TrustedIssuer, change: Change) {
    match change {
        Some(change) => {
            let change = change(before.subjects.clone().expect("persons"));
            let after = before.changed(change, NOON.plus_seconds(1));
            stores.issuers.update(&before, &after, unchecked(&[])).await.expect("changed");
        }
        None => {
            stores.issuers.revoke_person(&before, "alice", unchecked(&[])).await.expect("revoked");
        }
    }
    let found = stores.issuers.find(Tenancy::All, before.id).await.expect("an answer");
    assert!(found.is_some());
}

fn with(subjects: Subjects) -> IssuerChange {
    IssuerChange { subjects: Some(Some(subjects)), ..IssuerChange::default() }
}

const NO_ACTORS: Change = Some(|subjects| with(Subjects { may_act: MayAct::NONE, ..subjects }));
const NO_REDELEGATION: Change = Some(|subjects| with(Subjects { redelegation: false, ..subjects }));
const FEWER_SCOPES: Change = Some(|subjects| {
    let scopes = Scopes::capabilities(&["files:write"]).expect("valid");
    with(Subjects { scopes, ..subjects })
});
const NO_SUBJECTS: Change = Some(|_| IssuerChange { subjects: Some(None), ..IssuerChange::default() });
const SUSPENSION: Change =
    Some(|_| IssuerChange { status: Some(IssuerStatus::Suspended), ..IssuerChange::default() });
const OTHER_KEYS: Change = Some(|_| {
    let keys = keys_of(&Ed25519KeyPair::generate().expect("a key"));
    IssuerChange { keys: Some(keys), ..IssuerChange::default() }
});

async fn an_exchange_is_decided_again_after_a_change_of_the_issuer_or_the_person(stores: Stores) {
    use Answered::{Refused, Scopes};
    let same = Scopes("files:read files:write");
    for (name, change, expected) in [
        ("the person", None, Refused("subject_token")),
        ("the end of subjects", NO_SUBJECTS, Refused("subject_token")),
        ("suspension", SUSPENSION, Refused("subject_token")),
        ("redelegation", NO_REDELEGATION, Refused("redelegation")),
        ("scopes", FEWER_SCOPES, Scopes("files:write")),
        ("mayAct of subjects, which counts for the first actor", NO_ACTORS, same),
        ("keys, which count for the first actor", OTHER_KEYS, same),
    ] {
        let world = World::new(&stores).await;
        let held = world.exchange(1, JWT, &world.jwt()).await.expect("a token");
        let change = change_issuer(stores.clone(), world.issuer.clone(), change);
        world.check((2, ACCESS_TOKEN, held.token.expose()), change, expected, name).await;
    }
}

async fn the_token_of_a_person_is_judged_again_after_a_change_of_the_issuer(stores: Stores) {
    use Answered::{Refused, Scopes};
    let same = Scopes("files:read files:write");
    for (name, change, expected) in [
        ("the end of subjects", NO_SUBJECTS, Refused("subjects")),
        ("suspension", SUSPENSION, Refused("issuer_status")),
        ("mayAct of subjects", NO_ACTORS, Refused("may_act")),
        ("keys", OTHER_KEYS, Refused("signature")),
        ("scopes", FEWER_SCOPES, Scopes("files:write")),
        ("redelegation, which counts for the next actor", NO_REDELEGATION, same),
        ("the person, whose new token has the new generation", None, same),
    ] {
        let world = World::new(&stores).await;
        let change = change_issuer(stores.clone(), world.issuer.clone(), change);
        world.check((2, JWT, &world.jwt()), change, expected, name).await;
    }
}
