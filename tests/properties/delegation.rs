//! Agents that exchange each other's tokens and those of persons, while the agents and their trusted issuer change.
//!
//! A model says which exchanges are allowed, which scopes they yield at most, and which tokens are active. Whatever the
//! order of exchanges, changes and revocations:
//!
//! * an exchange is answered as the model says;
//! * a token is active exactly as long as it has not expired and no party or ancestor of it was revoked;
//! * an active token has no scope that a party of its chain lacks, and it has no management scope;
//! * no token expires after an ancestor, has too many of them, or is too deep.

use std::collections::BTreeSet;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testing::{Client, TestServer, Wiring, unique};

use crate::cases;

/// Number of agents.
const AGENTS: usize = 5;
/// Scopes of agents, tokens and persons; sets of them are bits. The last is a management scope.
const SCOPES: [&str; 4] = ["files:read", "files:write", "mail:send", "agents:read"];
const MANAGEMENT: u8 = 0b1000;
const ALL: u8 = 0b1111;
/// Subjects at the trusted issuer.
const PERSONS: [&str; 2] = ["alice", "bob"];
const MAX_DEPTH: u64 = 3;
const MAX_PARENTS: usize = 16;
const TTL_SECONDS: i64 = 3_600;
/// Number of cases in memory, and on a file, where each change waits for the disk.
const CASES: u32 = 32;
const CASES_ON_A_FILE: u32 = 10;

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// An action. Numbers select among the agents and among the tokens that were issued.
#[derive(Clone, Debug)]
enum Action {
    Token {
        agent: usize,
        scopes: u8,
    },
    Person {
        agent: usize,
        person: usize,
        scopes: u8,
        seconds: i64,
    },
    Exchange {
        token: usize,
        agent: usize,
        scopes: u8,
    },
    /// Exchanges the token that was issued last, so that long chains are common.
    ExchangeLast {
        agent: usize,
        scopes: u8,
    },
    Narrow {
        token: usize,
        scopes: u8,
        times: usize,
    },
    Capabilities {
        agent: usize,
        scopes: u8,
    },
    MayAct {
        agent: usize,
        actors: u8,
        redelegation: bool,
    },
    Subjects {
        actors: u8,
        scopes: u8,
        redelegation: bool,
    },
    Kill(Kill),
    Activate,
    Advance {
        seconds: i64,
    },
}

/// A revocation.
#[derive(Clone, Copy, Debug)]
enum Kill {
    Token { token: usize, by_id: bool },
    Agent(usize),
    Suspend(usize),
    Decommission(usize),
    Person(usize),
    Subjects,
    Issuer,
    Organization,
}

fn actions() -> impl Strategy<Value = Action> {
    let agent = || 0..AGENTS;
    let scopes = || prop_oneof![2 => Just(0), 1 => 0..=ALL];
    // Most often one is missing, so that a chain still has something in common.
    let some_scopes = || {
        let all_but_one = (0..SCOPES.len()).prop_map(|place| ALL & !(1 << place));
        prop_oneof![2 => Just(ALL), 3 => all_but_one, 1 => 1..=ALL]
    };
    let actors = || prop_oneof![3 => Just(u8::MAX), 1 => 0..1_u8 << AGENTS];
    let often = || prop::bool::weighted(0.8);
    let token = || 0..1_000_usize;
    let kill = prop_oneof![
        3 => (token(), any::<bool>()).prop_map(|(token, by_id)| Kill::Token { token, by_id }),
        2 => agent().prop_map(Kill::Agent),
        2 => agent().prop_map(Kill::Suspend),
        1 => agent().prop_map(Kill::Decommission),
        2 => (0..PERSONS.len()).prop_map(Kill::Person),
        1 => Just(Kill::Subjects),
        1 => Just(Kill::Issuer),
        1 => Just(Kill::Organization),
    ];
    prop_oneof![
        3 => (agent(), scopes()).prop_map(|(agent, scopes)| Action::Token { agent, scopes }),
        3 => (agent(), 0..PERSONS.len(), scopes(), 60..2 * TTL_SECONDS)
            .prop_map(|(agent, person, scopes, seconds)| Action::Person { agent, person, scopes, seconds }),
        6 => (token(), agent(), scopes())
            .prop_map(|(token, agent, scopes)| Action::Exchange { token, agent, scopes }),
        8 => (agent(), scopes()).prop_map(|(agent, scopes)| Action::ExchangeLast { agent, scopes }),
        1 => (token(), scopes(), 1..20_usize)
            .prop_map(|(token, scopes, times)| Action::Narrow { token, scopes, times }),
        4 => (agent(), some_scopes()).prop_map(|(agent, scopes)| Action::Capabilities { agent, scopes }),
        2 => (agent(), actors(), often())
            .prop_map(|(agent, actors, redelegation)| Action::MayAct { agent, actors, redelegation }),
        2 => (actors(), some_scopes(), often())
            .prop_map(|(actors, scopes, redelegation)| Action::Subjects { actors, scopes, redelegation }),
        3 => kill.prop_map(Action::Kill),
        2 => Just(Action::Activate),
        1 => (1..1_500_i64).prop_map(|seconds| Action::Advance { seconds }),
    ]
}

#[test]
fn a_token_never_has_more_or_lasts_longer_than_any_party_of_its_chain() {
    try_orders(Wiring::Memory, cases(CASES));
}

#[test]
fn a_token_never_has_more_or_lasts_longer_than_any_party_of_its_chain_on_a_file() {
    try_orders(Wiring::Sqlite, cases(CASES_ON_A_FILE));
}

fn try_orders(wiring: Wiring, cases: u32) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = runtime.block_on(async {
        let flags = ["--address-requests-per-minute", "1000000", "--max-delegation-depth", "3"];
        let server = TestServer::start_with(wiring, &flags).await;
        server.unlimited_admin_token().await;
        server
    });
    let config = Config { failure_persistence: None, ..Config::with_cases(cases) };
    let mut runner = TestRunner::new(config);
    let outcome = runner.run(&vec(actions(), 1..50), |actions| {
        runtime.block_on(async {
            let mut world = World::new(&server).await;
            for action in &actions {
                world.take(action).await?;
                world.check().await?;
            }
            Ok(())
        })
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

/// An agent as the model knows it.
struct ModelAgent {
    client: Client,
    capabilities: u8,
    may_act: u8,
    redelegation: bool,
    is_active: bool,
    is_decommissioned: bool,
}

/// A token as the model knows it.
struct ModelToken {
    text: String,
    client: usize,
    /// Every agent of the chain.
    agents: BTreeSet<usize>,
    /// The first agent that is acted for; `None` if that is a person.
    subject: Option<usize>,
    person: Option<usize>,
    scopes: u8,
    depth: u64,
    /// Ancestors among the tokens, the nearest first.
    parents: Vec<usize>,
    expires_at: i64,
    is_revoked: bool,
}

/// A service with one organization, and the model of it.
struct World<'a> {
    server: &'a TestServer,
    admin: String,
    now: i64,
    organization: String,
    is_organization_active: bool,
    agents: Vec<ModelAgent>,
    issuer: String,
    issuer_id: String,
    key: Ed25519KeyPair,
    is_issuer_active: bool,
    /// Agents that may act for persons, their scopes, and whether that may be passed on.
    subjects: Option<(u8, u8, bool)>,
    tokens: Vec<ModelToken>,
}

impl<'a> World<'a> {
    async fn new(server: &'a TestServer) -> Self {
        let admin = server.admin_token().await;
        let unlimited = json!({ "limits": { "requestsPerMinute": null } });
        let organization = server.organization(&admin, unlimited).await;
        let mut agents = Vec::new();
        for _ in 0..AGENTS {
            agents.push(ModelAgent {
                client: server.client(&admin, Some(&organization), &named(ALL)).await,
                capabilities: ALL,
                may_act: 0,
                redelegation: false,
                is_active: true,
                is_decommissioned: false,
            });
        }
        let key = Ed25519KeyPair::generate().expect("a key");
        let x = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
        let keys = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": "1" }] });
        let issuer = format!("https://people{}.example.com", unique());
        let body = json!({
            "organizationId": organization, "name": "People", "issuer": issuer,
            "keys": { "type": "jwks", "jwks": keys }, "maxLifetimeSeconds": 86_400,
        });
        let answer = server.post(&admin, "/api/v1/issuers", body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        let mut world = World {
            server,
            admin,
            now: 0,
            organization,
            is_organization_active: true,
            agents,
            issuer,
            issuer_id: answer.json()["issuerId"].as_str().expect("an ID").to_owned(),
            key,
            is_issuer_active: true,
            subjects: None,
            tokens: Vec::new(),
        };
        world.now = world.seconds();
        for agent in 0..AGENTS {
            world.set_may_act(agent, u8::MAX, true).await;
        }
        world.set_subjects(u8::MAX, ALL & !MANAGEMENT, true).await;
        world
    }

    fn seconds(&self) -> i64 {
        use agentidp::ports::clock::Clock as _;
        self.server.clock.now().as_seconds()
    }

    async fn patch(&self, path: &str, body: Value) {
        let answer = self.server.patch(&self.admin, &format!("/api/v1{path}"), body).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
    }

    async fn post(&self, path: &str, body: Option<Value>) {
        let request = self.server.request(Method::POST, &format!("/api/v1{path}"));
        let request = body.into_iter().fold(request, |request, body| request.json(&body));
        let answer = self.server.send(request.bearer_auth(&self.admin)).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{path}: {}", answer.text);
    }

    /// Returns the IDs of these agents, as far as they can be listed, and the bits of those that are.
    fn listed(&self, actors: u8, except: Option<usize>) -> (Value, u8) {
        if actors == u8::MAX {
            return (json!(["*"]), actors);
        }
        let can_be_listed = |agent: &usize| {
            actors >> agent & 1 == 1 && Some(*agent) != except && !self.agents[*agent].is_decommissioned
        };
        let listed: Vec<usize> = (0..AGENTS).filter(can_be_listed).collect();
        let ids: Vec<&str> = listed.iter().map(|agent| self.agents[*agent].client.id.as_str()).collect();
        (json!(ids), listed.iter().fold(0, |bits, agent| bits | 1 << agent))
    }

    async fn set_may_act(&mut self, agent: usize, actors: u8, redelegation: bool) {
        if self.agents[agent].is_decommissioned {
            return;
        }
        let (ids, actors) = self.listed(actors, Some(agent));
        let path = format!("/agents/{}", self.agents[agent].client.id);
        self.patch(&path, json!({ "mayAct": ids, "redelegation": redelegation })).await;
        (self.agents[agent].may_act, self.agents[agent].redelegation) = (actors, redelegation);
    }

    async fn set_subjects(&mut self, actors: u8, scopes: u8, redelegation: bool) {
        let scopes = if scopes & !MANAGEMENT == 0 { 1 } else { scopes & !MANAGEMENT };
        let (ids, actors) = self.listed(actors, None);
        if actors == 0 {
            return;
        }
        let subjects = json!({
            "audiences": ["app"], "mayAct": ids, "scopes": named(scopes), "maxAgeSeconds": 600,
            "redelegation": redelegation,
        });
        self.patch(&format!("/issuers/{}", self.issuer_id), json!({ "subjects": subjects })).await;
        self.subjects = Some((actors, scopes, redelegation));
    }

    fn can_authenticate(&self, agent: usize) -> bool {
        self.is_organization_active && self.agents[agent].is_active
    }

    fn is_active(&self, token: &ModelToken) -> bool {
        !token.is_revoked && self.now < token.expires_at
    }

    /// Returns the scopes of a token that every party of its chain has now.
    fn effective(&self, token: &ModelToken) -> u8 {
        let of_agents =
            token.agents.iter().fold(token.scopes, |scopes, agent| scopes & self.agents[*agent].capabilities);
        match (token.person, self.subjects) {
            (None, _) => of_agents,
            (Some(_), Some((_, scopes, _))) => of_agents & scopes,
            (Some(_), None) => 0,
        }
    }

    fn revoke(&mut self, is_meant: impl Fn(&ModelToken) -> bool) {
        for token in self.tokens.iter_mut().filter(|token| is_meant(token)) {
            token.is_revoked = true;
        }
    }

    async fn take(&mut self, action: &Action) -> Result<(), TestCaseError> {
        match *action {
            Action::Token { agent, scopes } => self.request_token(agent, scopes).await?,
            Action::Person { agent, person, scopes, seconds } => {
                self.exchange_person(agent, person, scopes, seconds).await?;
            }
            Action::Exchange { token, agent, scopes } if !self.tokens.is_empty() => {
                self.exchange(token % self.tokens.len(), agent, scopes).await?;
            }
            Action::ExchangeLast { agent, scopes } if !self.tokens.is_empty() => {
                self.exchange(self.tokens.len() - 1, agent, scopes).await?;
            }
            Action::Narrow { token, scopes, times } if !self.tokens.is_empty() => {
                let mut token = token % self.tokens.len();
                for _ in 0..times {
                    self.exchange(token, self.tokens[token].client, scopes).await?;
                    token = self.tokens.len() - 1;
                }
            }
            Action::Exchange { .. } | Action::ExchangeLast { .. } | Action::Narrow { .. } => {}
            Action::Capabilities { agent, scopes } => {
                if !self.agents[agent].is_decommissioned {
                    let path = format!("/agents/{}", self.agents[agent].client.id);
                    self.patch(&path, json!({ "capabilities": named(scopes) })).await;
                    self.agents[agent].capabilities = scopes;
                }
            }
            Action::MayAct { agent, actors, redelegation } => {
                self.set_may_act(agent, actors, redelegation).await;
            }
            Action::Subjects { actors, scopes, redelegation } => {
                self.set_subjects(actors, scopes, redelegation).await;
            }
            Action::Kill(kill) => self.kill(kill).await,
            Action::Activate => self.activate().await,
            Action::Advance { seconds } => {
                self.server.advance(seconds);
                self.now = self.seconds();
                self.admin = self.server.admin_token().await;
            }
        }
        Ok(())
    }

    async fn kill(&mut self, kill: Kill) {
        match kill {
            Kill::Token { token, by_id } => {
                if self.tokens.is_empty() {
                    return;
                }
                let place = token % self.tokens.len();
                let token = &self.tokens[place];
                if by_id {
                    let jti = payload(&token.text)["jti"].as_str().expect("an ID").to_owned();
                    self.post(&format!("/tokens/{jti}/revoke"), None).await;
                } else {
                    let request = self.server.request(Method::POST, "/api/v1/token/revoke");
                    let request = request.form(&[("token", &token.text)]).bearer_auth(&self.admin);
                    let answer = self.server.send(request).await;
                    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
                }
                for (number, token) in self.tokens.iter_mut().enumerate() {
                    token.is_revoked |= number == place || token.parents.contains(&place);
                }
            }
            Kill::Agent(agent) | Kill::Suspend(agent) | Kill::Decommission(agent) => {
                if self.agents[agent].is_decommissioned {
                    return;
                }
                let path = format!("/agents/{}", self.agents[agent].client.id);
                let was_active = self.agents[agent].is_active;
                match kill {
                    Kill::Agent(_) => self.post(&format!("{path}/tokens/revoke"), None).await,
                    Kill::Suspend(_) => {
                        self.patch(&path, json!({ "status": "suspended" })).await;
                        self.agents[agent].is_active = false;
                    }
                    _ => {
                        let answer = self.server.delete(&self.admin, &format!("/api/v1{path}")).await;
                        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.text);
                        self.agents[agent].is_active = false;
                        self.agents[agent].is_decommissioned = true;
                    }
                }
                assert!(
                    was_active
                        || self.tokens.iter().all(|token| !token.agents.contains(&agent) || token.is_revoked)
                );
                self.revoke(|token| token.agents.contains(&agent));
            }
            Kill::Person(person) => {
                let path = format!("/issuers/{}/subjects/revoke", self.issuer_id);
                self.post(&path, Some(json!({ "subject": PERSONS[person] }))).await;
                self.revoke(|token| token.person == Some(person));
            }
            Kill::Subjects => {
                self.patch(&format!("/issuers/{}", self.issuer_id), json!({ "subjects": null })).await;
                self.subjects = None;
                self.revoke(|token| token.person.is_some());
            }
            Kill::Issuer => {
                self.patch(&format!("/issuers/{}", self.issuer_id), json!({ "status": "suspended" })).await;
                self.is_issuer_active = false;
                self.revoke(|token| token.person.is_some());
            }
            Kill::Organization => {
                let path = format!("/organizations/{}", self.organization);
                self.patch(&path, json!({ "status": "suspended" })).await;
                self.is_organization_active = false;
                self.revoke(|_| true);
            }
        }
    }

    /// Activates whatever was suspended. No token becomes active by that.
    async fn activate(&mut self) {
        let active = json!({ "status": "active" });
        if !self.is_organization_active {
            self.patch(&format!("/organizations/{}", self.organization), active.clone()).await;
            self.is_organization_active = true;
        }
        if !self.is_issuer_active {
            self.patch(&format!("/issuers/{}", self.issuer_id), active.clone()).await;
            self.is_issuer_active = true;
        }
        for agent in 0..AGENTS {
            if !self.agents[agent].is_active && !self.agents[agent].is_decommissioned {
                self.patch(&format!("/agents/{}", self.agents[agent].client.id), active.clone()).await;
                self.agents[agent].is_active = true;
            }
        }
    }

    async fn request_token(&mut self, agent: usize, scopes: u8) -> Result<(), TestCaseError> {
        let own = self.agents[agent].capabilities;
        let scopes = scopes & own;
        let scope = named(scopes).join(" ");
        let answer = self.server.ask_token(&self.agents[agent].client, &[("scope", &scope)]).await;
        prop_assert_eq!(answer.status == StatusCode::OK, self.can_authenticate(agent), "{}", answer.text);
        if answer.status == StatusCode::OK {
            let by_default = if own & !MANAGEMENT == 0 { own } else { own & !MANAGEMENT };
            let token = ModelToken {
                text: answer.json()["access_token"].as_str().expect("a token").to_owned(),
                client: agent,
                agents: BTreeSet::from([agent]),
                subject: Some(agent),
                person: None,
                scopes: if scopes == 0 { by_default } else { scopes },
                depth: 0,
                parents: Vec::new(),
                expires_at: self.now + TTL_SECONDS,
                is_revoked: false,
            };
            self.add(token)?;
        }
        Ok(())
    }

    async fn exchange_person(
        &mut self,
        agent: usize,
        person: usize,
        scopes: u8,
        seconds: i64,
    ) -> Result<(), TestCaseError> {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let claims = json!({
            "iss": self.issuer, "sub": PERSONS[person], "aud": "app", "iat": self.now, "exp": self.now + seconds,
        });
        let message = format!("{}.{}", part(&json!({ "alg": "EdDSA", "kid": "1" })), part(&claims));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(message.as_bytes()).as_ref());
        let is_allowed =
            self.is_issuer_active && self.subjects.is_some_and(|(actors, ..)| actors >> agent & 1 == 1);
        let most = self.subjects.filter(|_| is_allowed).map(|(_, scopes, _)| scopes);
        let token = ModelToken {
            text: String::new(),
            client: agent,
            agents: BTreeSet::from([agent]),
            subject: None,
            person: Some(person),
            scopes: 0,
            depth: 1,
            parents: Vec::new(),
            expires_at: self.now + seconds.min(TTL_SECONDS),
            is_revoked: false,
        };
        self.ask((JWT, &format!("{message}.{signature}")), most, scopes, token).await
    }

    async fn exchange(&mut self, place: usize, agent: usize, scopes: u8) -> Result<(), TestCaseError> {
        let parent = &self.tokens[place];
        let is_narrowed = parent.client == agent;
        let depth = parent.depth + u64::from(!is_narrowed);
        let holder = &self.agents[parent.client];
        let may_pass_on = match parent.subject {
            Some(subject) => self.agents[subject].redelegation,
            None => self.subjects.is_some_and(|(_, _, redelegation)| redelegation),
        };
        let is_allowed = self.is_active(parent)
            && (is_narrowed
                || holder.may_act >> agent & 1 == 1
                    && (parent.depth == 0 || may_pass_on)
                    && depth <= MAX_DEPTH)
            && parent.parents.len() < MAX_PARENTS;
        let most = is_allowed.then(|| self.effective(parent));
        let token = ModelToken {
            text: String::new(),
            client: agent,
            agents: parent.agents.iter().copied().chain([agent]).collect(),
            subject: parent.subject,
            person: parent.person,
            scopes: 0,
            depth,
            parents: std::iter::once(place).chain(parent.parents.iter().copied()).collect(),
            expires_at: parent.expires_at.min(self.now + TTL_SECONDS),
            is_revoked: false,
        };
        let text = parent.text.clone();
        self.ask((ACCESS_TOKEN, &text), most, scopes, token).await
    }

    /// Exchanges a subject token, and checks the answer by the scopes that the model allows, if any.
    async fn ask(
        &mut self,
        (kind, subject): (&str, &str),
        most: Option<u8>,
        asked: u8,
        token: ModelToken,
    ) -> Result<(), TestCaseError> {
        let agent = &self.agents[token.client];
        let scope = named(asked).join(" ");
        let form = [
            ("grant_type", EXCHANGE),
            ("subject_token_type", kind),
            ("subject_token", subject),
            ("scope", scope.as_str()),
        ];
        let request = self.server.request(Method::POST, "/api/v1/token").form(&form);
        let answer = self.server.send(request.basic_auth(&agent.client.id, Some(&agent.client.secret))).await;
        let most = most.filter(|_| self.can_authenticate(token.client));
        let most = most.map(|most| most & agent.capabilities & !MANAGEMENT);
        let granted = most.map(|most| if asked == 0 { most } else { asked });
        let granted = granted.filter(|granted| *granted != 0 && granted & !most.unwrap_or_default() == 0);
        prop_assert_eq!(answer.status == StatusCode::OK, granted.is_some(), "{}", &answer.text);
        let Some(scopes) = granted else { return Ok(()) };
        let body = answer.json();
        prop_assert_eq!(bits(body["scope"].as_str().unwrap_or_default()), scopes, "{}", &answer.text);
        let text = body["access_token"].as_str().expect("a token").to_owned();
        self.add(ModelToken { text, scopes, ..token })
    }

    /// Keeps a new token, after checking what it says of itself.
    fn add(&mut self, token: ModelToken) -> Result<(), TestCaseError> {
        let claims = payload(&token.text);
        prop_assert_eq!(claims["exp"].as_i64(), Some(token.expires_at));
        prop_assert_eq!(bits(claims["scope"].as_str().unwrap_or_default()), token.scopes);
        prop_assert_eq!(claims["client_id"].as_str(), Some(&*self.agents[token.client].client.id));
        let sub = match (token.subject, token.person) {
            (Some(subject), _) => self.agents[subject].client.id.clone(),
            (None, person) => format!("user:{}:{}", self.issuer_id, PERSONS[person.expect("a person")]),
        };
        prop_assert_eq!(claims["sub"].as_str(), Some(&*sub));
        prop_assert_eq!(claims["delegation"]["depth"].as_u64().unwrap_or_default(), token.depth);
        let no_parents = Vec::new();
        let parents = claims["delegation"]["parents"].as_array().unwrap_or(&no_parents);
        prop_assert_eq!(parents.len(), token.parents.len());
        prop_assert!(parents.len() <= MAX_PARENTS && token.depth <= MAX_DEPTH);
        for (shown, parent) in parents.iter().zip(&token.parents) {
            prop_assert_eq!(shown, &payload(&self.tokens[*parent].text)["jti"]);
            prop_assert!(token.expires_at <= self.tokens[*parent].expires_at, "it outlives an ancestor");
        }
        self.tokens.push(token);
        Ok(())
    }

    /// Checks every token against the model.
    async fn check(&self) -> Result<(), TestCaseError> {
        let mut active = Vec::new();
        for (place, token) in self.tokens.iter().enumerate() {
            let found = self.server.service.app.introspection.look_up(&token.text).await.expect("an answer");
            let found = found.filter(|(claims, status)| status.is_active(claims));
            prop_assert_eq!(found.is_some(), self.is_active(token), "token {} of {:?}", place, token.agents);
            active.push(found.is_some());
            if let Some((claims, status)) = found {
                let scopes = bits(status.effective_scopes(&claims).as_str());
                prop_assert_eq!(scopes, self.effective(token), "token {}", place);
                prop_assert!(token.parents.is_empty() || scopes & MANAGEMENT == 0, "a management scope");
                prop_assert!(token.parents.iter().all(|parent| active[*parent]), "it outlives an ancestor");
            }
        }
        Ok(())
    }
}

/// Returns the names of these scopes.
fn named(scopes: u8) -> Vec<&'static str> {
    (0..SCOPES.len()).filter(|place| scopes >> place & 1 == 1).map(|place| SCOPES[place]).collect()
}

/// Returns the scopes of these names.
fn bits(scope: &str) -> u8 {
    let place = |name: &str| SCOPES.iter().position(|known| *known == name).expect("a scope of the model");
    scope.split(' ').filter(|name| !name.is_empty()).fold(0, |bits, name| bits | 1 << place(name))
}

fn payload(token: &str) -> Value {
    let part = token.split('.').nth(1).expect("a payload");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
}
