//! The agents of a cluster, and the workers that request tokens, revoke and reactivate.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agentidp::adapters::system::SystemClock;
use agentidp::ports::clock::Clock as _;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use testing::{Client, MANAGEMENT_SCOPES, unique};
use tokio::task::JoinSet;

use crate::cluster::Cluster;
use crate::history::{Answer, Line, Operation, Subject, Token};
use crate::pace::Rng;

/// Number of agents, in two organizations.
const AGENTS: usize = 12;
/// Number of latest tokens of each agent that requests are made about.
const TOKENS: usize = 24;
/// Number of concurrent workers.
const WORKERS: usize = 8;
/// Operations are chosen by a random number below this; the last twenty numbers are rotations.
const ACTIONS: usize = 1000;
const ROTATIONS: usize = 20;

/// The agents and workers that use a cluster.
pub struct Fleet {
    cluster: Arc<Cluster>,
    agents: Vec<Mutex<Agent>>,
    organizations: Vec<String>,
    /// The issuer that each organization trusts; none if the service does not know trusted issuers yet.
    issuers: Vec<TrustedIssuer>,
    administrators: Vec<Client>,
    /// The scopes of the administrators. They request them by name, because an older version that does not know the
    /// latest management scopes grants by default only those that it takes for other capabilities.
    scope: String,
    /// Whether the service knows token exchange.
    exchanges: bool,
    /// Every secret that an agent has had.
    handed: Mutex<Vec<String>>,
    is_over: AtomicBool,
}

struct Agent {
    client: Client,
    credential: String,
    organization: String,
    tokens: VecDeque<Token>,
}

impl Fleet {
    /// Creates the agents, each with a secret, in two new organizations.
    pub async fn gather(cluster: &Arc<Cluster>) -> Arc<Self> {
        let admin = cluster.calm.admin_token().await;
        let organizations = vec![
            cluster.calm.organization(&admin, json!({ "limits": { "requestsPerMinute": null } })).await,
            cluster.calm.organization(&admin, json!({ "limits": { "requestsPerMinute": null } })).await,
        ];
        let mut issuers = Vec::new();
        for organization in &organizations {
            issuers.extend(TrustedIssuer::of(cluster, &admin, organization).await);
        }
        let (mut agents, mut handed, mut exchanges) = (Vec::new(), Vec::new(), false);
        for place in 0..AGENTS {
            let organization = organizations[place % organizations.len()].clone();
            let capabilities = ["agents:read", "files:read"];
            let client = cluster.calm.client(&admin, Some(&organization), &capabilities).await;
            let act = json!({ "mayAct": ["*"], "redelegation": true });
            let answer = cluster.calm.patch(&admin, &format!("/api/v1/agents/{}", client.id), act).await;
            exchanges = answer.status == StatusCode::OK;
            let credential = client.credential.clone();
            if let Some(issuer) = issuers.get(place % organizations.len()) {
                issuer.vouch_for(cluster, &admin, &client.id).await;
            }
            handed.push(client.secret.clone());
            agents.push(Mutex::new(Agent { client, credential, organization, tokens: VecDeque::new() }));
        }
        let mut administrators = Vec::new();
        let knows_issuers = !issuers.is_empty();
        let scopes: Vec<&str> = MANAGEMENT_SCOPES
            .into_iter()
            .filter(|scope| knows_issuers || !scope.starts_with("issuers:"))
            .collect();
        for _ in 0..WORKERS {
            administrators.push(cluster.calm.client(&admin, None, &scopes).await);
        }
        Arc::new(Self {
            cluster: cluster.clone(),
            agents,
            organizations,
            issuers,
            administrators,
            scope: scopes.join(" "),
            exchanges,
            handed: Mutex::new(handed),
            is_over: AtomicBool::new(false),
        })
    }

    /// Starts all workers, which run until [`end`](Self::end).
    pub fn work(self: &Arc<Self>, rng: &mut Rng) -> JoinSet<()> {
        self.work_at(ACTIONS, rng)
    }

    /// Like [`work`](Self::work), but without rotations of secrets.
    pub fn work_without_rotations(self: &Arc<Self>, rng: &mut Rng) -> JoinSet<()> {
        self.work_at(ACTIONS - ROTATIONS, rng)
    }

    fn work_at(self: &Arc<Self>, operations: usize, rng: &mut Rng) -> JoinSet<()> {
        let mut workers = JoinSet::new();
        for number in 0..WORKERS {
            let (fleet, rng) = (self.clone(), rng.split());
            workers.spawn(async move {
                let mut worker =
                    Worker { fleet: &fleet, rng, administrator: &fleet.administrators[number], admin: None };
                while !fleet.is_over.load(Ordering::Acquire) {
                    worker.work(operations).await;
                }
            });
        }
        workers
    }

    /// Lets all workers finish their current operation, and waits for them.
    pub async fn end(&self, workers: JoinSet<()>) {
        self.is_over.store(true, Ordering::Release);
        workers.join_all().await;
    }

    /// Returns every issued secret and the signature of every issued token, each with a description.
    pub fn secrets(&self) -> Vec<(String, String)> {
        let tokens = self.cluster.history.lines().into_iter().filter_map(|line| match line.answer {
            // A token is useless without its signature.
            Answer::Issued(token) => {
                Some(("the signature of a token".to_owned(), token.text.rsplit_once('.')?.1.to_owned()))
            }
            _ => None,
        });
        let handed = self.handed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let own = self.administrators.iter().map(|client| client.secret.clone());
        handed
            .into_iter()
            .chain(own)
            .map(|secret| ("a client's secret".to_owned(), secret))
            .chain(tokens)
            .collect()
    }

    fn agent(&self, place: usize) -> MutexGuard<'_, Agent> {
        self.agents[place].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An issuer with a key of this process, which vouches for agents by their IDs.
struct TrustedIssuer {
    id: String,
    url: String,
    key: Ed25519KeyPair,
}

impl TrustedIssuer {
    /// Lets the organization trust a new issuer; `None` if the service does not know trusted issuers yet.
    async fn of(cluster: &Cluster, admin: &str, organization: &str) -> Option<Self> {
        let key = Ed25519KeyPair::generate().expect("a key");
        let x = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
        let url = format!("https://issuer-{}.example.com", unique());
        let keys = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": x }] });
        let body = json!({
            "name": "Fleet", "issuer": url, "audiences": ["fleet"], "organizationId": organization,
            "keys": { "type": "jwks", "jwks": keys },
            "subjects": {
                "audiences": [PEOPLE], "mayAct": ["*"], "scopes": ["files:read"], "maxAgeSeconds": 600,
                "redelegation": true,
            },
        });
        let answer = cluster.calm.post(admin, "/api/v1/issuers", body).await;
        if answer.status == StatusCode::NOT_FOUND {
            return None;
        }
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        Some(Self { id: answer.json()["issuerId"].as_str().expect("an id").to_owned(), url, key })
    }

    /// Gives the agent a federated credential.
    async fn vouch_for(&self, cluster: &Cluster, admin: &str, agent: &str) {
        let path = format!("/api/v1/agents/{agent}/credentials");
        let identity = json!({ "type": "federated", "issuerId": self.id, "subject": agent });
        let answer = cluster.calm.post(admin, &path, identity).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    }

    fn ask_token(&self, cluster: &Cluster, instance: usize, agent: &str) -> RequestBuilder {
        let assertion = self.jwt(agent, "fleet");
        cluster.http.post(cluster.url(instance, "/api/v1/token")).form(&[
            ("grant_type", "client_credentials"),
            ("client_id", agent),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", &assertion),
            ("scope", SCOPE),
        ])
    }

    /// Returns a JWT of this subject for this audience.
    fn jwt(&self, sub: &str, audience: &str) -> String {
        let now = SystemClock.now().as_seconds();
        let claims = json!({ "iss": self.url, "sub": sub, "aud": audience, "iat": now, "exp": now + 600 });
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let message = format!("{}.{}", part(&json!({ "alg": "EdDSA" })), part(&claims));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(message.as_bytes()).as_ref());
        format!("{message}.{signature}")
    }
}

/// Scopes that agents request. Only the latter can be passed on.
const SCOPE: &str = "agents:read files:read";
/// Audience of the tokens of people.
const PEOPLE: &str = "people";
/// Number of people of each issuer.
const PERSONS: usize = 3;

struct Worker<'a> {
    fleet: &'a Fleet,
    rng: Rng,
    administrator: &'a Client,
    admin: Option<String>,
}

impl Worker<'_> {
    /// Runs one operation, chosen by a random number below `operations`.
    async fn work(&mut self, operations: usize) {
        let Some(admin) = self.admin().await else { return };
        let place = self.rng.below(AGENTS);
        let agent = self.fleet.agent(place).client.id.clone();
        let of_agent = format!("/api/v1/agents/{agent}");
        match self.rng.below(operations) {
            0..150 => self.issue(place).await,
            150..300 if self.fleet.exchanges => self.exchange(place).await,
            150..300 => self.issue(place).await,
            300..700 => self.introspect(place, &admin).await,
            700..900 => self.bear(place).await,
            900..940 => self.revoke_one(place, &admin).await,
            940..946 => {
                let request = |cluster: &Cluster, instance| {
                    cluster
                        .http
                        .post(cluster.url(instance, &format!("{of_agent}/tokens/revoke")))
                        .bearer_auth(&admin)
                };
                self.change(Operation::Kill(Subject::Agent(agent.clone())), request).await;
            }
            946..950 => {
                self.patch(Operation::Suspend(Subject::Agent(agent)), &of_agent, "suspended", &admin).await;
            }
            950 if !self.fleet.issuers.is_empty() => self.turn_issuer(true, &admin).await,
            954..957 if self.fleet.exchanges => self.revoke_person(&admin).await,
            951..954 if !self.fleet.issuers.is_empty() => self.turn_issuer(false, &admin).await,
            950..970 => {
                self.patch(Operation::Reactivate(Subject::Agent(agent)), &of_agent, "active", &admin).await;
            }
            970 => self.turn_organization(true, &admin).await,
            971..980 => self.turn_organization(false, &admin).await,
            _ => self.rotate(place, &admin).await,
        }
    }

    async fn turn_organization(&mut self, is_off: bool, admin: &str) {
        let id = self.fleet.organizations[self.rng.below(self.fleet.organizations.len())].clone();
        let path = format!("/api/v1/organizations/{id}");
        let subject = Subject::Organization(id);
        match is_off {
            true => self.patch(Operation::Suspend(subject), &path, "suspended", admin).await,
            false => self.patch(Operation::Reactivate(subject), &path, "active", admin).await,
        }
    }

    async fn turn_issuer(&mut self, is_off: bool, admin: &str) {
        let id = self.fleet.issuers[self.rng.below(self.fleet.issuers.len())].id.clone();
        let path = format!("/api/v1/issuers/{id}");
        let subject = Subject::Issuer(id);
        match is_off {
            true => self.patch(Operation::Suspend(subject), &path, "suspended", admin).await,
            false => self.patch(Operation::Reactivate(subject), &path, "active", admin).await,
        }
    }

    /// Returns a token for administrative requests.
    /// A new one is requested if the last was refused or lost.
    async fn admin(&mut self) -> Option<String> {
        if self.admin.is_none() {
            let instance = self.instance();
            let form = [("grant_type", "client_credentials"), ("scope", &self.fleet.scope)];
            let request = self.fleet.cluster.http.post(self.fleet.cluster.url(instance, "/api/v1/token"));
            let request =
                request.basic_auth(&self.administrator.id, Some(&self.administrator.secret)).form(&form);
            let start = self.fleet.cluster.history.now();
            let (status, body) = answer(request).await;
            self.note(Operation::Other("admin"), instance, start, status, Answer::Unknown);
            self.admin = body["access_token"].as_str().map(str::to_owned);
        }
        self.admin.clone()
    }

    fn instance(&mut self) -> usize {
        self.rng.below(self.fleet.cluster.open.load(Ordering::Acquire))
    }

    fn note(
        &self,
        operation: Operation,
        instance: usize,
        start: std::time::Duration,
        status: u16,
        answer: Answer,
    ) {
        let end = self.fleet.cluster.history.now();
        self.fleet.cluster.history.note(Line { instance, operation, start, end, status, answer });
    }

    async fn issue(&mut self, place: usize) {
        let (client, organization) = {
            let agent = self.fleet.agent(place);
            (agent.client.clone(), agent.organization.clone())
        };
        let instance = self.instance();
        let start = self.fleet.cluster.history.now();
        // Half of the tokens are for agents that authenticate by their issuer.
        let issuer = self.fleet.issuers.get(place % self.fleet.organizations.len());
        let issuer = issuer.filter(|_| self.rng.below(2) == 0);
        let request = match issuer {
            None => self.ask(instance, &client, &[("grant_type", "client_credentials"), ("scope", SCOPE)]),
            Some(issuer) => issuer.ask_token(&self.fleet.cluster, instance, &client.id),
        };
        let token = Token {
            id: String::new(),
            agent: client.id.clone(),
            organization,
            issuer: issuer.map(|issuer| issuer.id.clone()),
            person: None,
            parent: None,
            text: String::new(),
        };
        let (status, body) = answer(request).await;
        let issued = self.issued(place, status, &body, token);
        self.note(Operation::Issue { agent: client.id }, instance, start, status, issued);
    }

    fn ask(&self, instance: usize, client: &Client, form: &[(&str, &str)]) -> RequestBuilder {
        let request = self.fleet.cluster.http.post(self.fleet.cluster.url(instance, "/api/v1/token"));
        request.basic_auth(&client.id, Some(&client.secret)).form(form)
    }

    /// Keeps the token that the answer has, if it has one.
    fn issued(&self, place: usize, status: u16, body: &Value, token: Token) -> Answer {
        match body["access_token"].as_str() {
            Some(text) => {
                let token = Token { id: id_of(text), text: text.into(), ..token };
                let mut agent = self.fleet.agent(place);
                if agent.tokens.len() == TOKENS {
                    agent.tokens.pop_front();
                }
                agent.tokens.push_back(token.clone());
                Answer::Issued(token)
            }
            None if status >= 500 || status == 0 => Answer::Unknown,
            None => Answer::No,
        }
    }

    /// Lets the agent act for a person, or exchange a token of an agent of its organization: one of its own as well.
    async fn exchange(&mut self, place: usize) {
        let (client, organization) = {
            let agent = self.fleet.agent(place);
            (agent.client.clone(), agent.organization.clone())
        };
        let organizations = self.fleet.organizations.len();
        let other = place % organizations + organizations * self.rng.below(AGENTS / organizations);
        let issuer = &self.fleet.issuers[place % organizations];
        let person = self.rng.below(PERSONS).to_string();
        let parent = if self.rng.below(4) == 0 { None } else { self.token(other) };
        let (kind, subject_token) = match &parent {
            None => ("jwt", issuer.jwt(&person, PEOPLE)),
            Some(token) => ("access_token", token.text.clone()),
        };
        let kind = format!("urn:ietf:params:oauth:token-type:{kind}");
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token_type", &kind),
            ("subject_token", &subject_token),
        ];
        let token = Token {
            id: String::new(),
            agent: client.id.clone(),
            organization,
            issuer: None,
            person: parent.is_none().then(|| (issuer.id.clone(), person)),
            parent: parent.map(|parent| parent.id),
            text: String::new(),
        };
        let instance = self.instance();
        let start = self.fleet.cluster.history.now();
        let (status, body) = answer(self.ask(instance, &client, &form)).await;
        let issued = self.issued(place, status, &body, token);
        self.note(Operation::Issue { agent: client.id }, instance, start, status, issued);
    }

    async fn revoke_person(&mut self, admin: &str) {
        let issuer = self.fleet.issuers[self.rng.below(self.fleet.issuers.len())].id.clone();
        let person = self.rng.below(PERSONS).to_string();
        let path = format!("/api/v1/issuers/{issuer}/subjects/revoke");
        let body = json!({ "subject": person });
        let request = |cluster: &Cluster, instance| {
            cluster.http.post(cluster.url(instance, &path)).bearer_auth(admin).json(&body)
        };
        self.change(Operation::Kill(Subject::Person(issuer, person)), request).await;
    }

    /// Returns one of the latest tokens of the agent.
    fn token(&mut self, place: usize) -> Option<Token> {
        let agent = self.fleet.agent(place);
        let number = agent.tokens.len();
        if number == 0 { None } else { agent.tokens.get(self.rng.below(number)).cloned() }
    }

    async fn introspect(&mut self, place: usize, admin: &str) {
        let Some(token) = self.token(place) else { return };
        let instance = self.instance();
        let cluster = &self.fleet.cluster;
        let request = cluster.http.post(cluster.url(instance, "/api/v1/token/introspect")).bearer_auth(admin);
        let start = self.fleet.cluster.history.now();
        let (status, body) = answer(request.form(&[("token", &token.text)])).await;
        let said = match (status, body["active"].as_bool()) {
            (200, Some(true)) => Answer::Yes,
            (200, Some(false)) => Answer::No,
            _ => Answer::Unknown,
        };
        self.note(Operation::Ask { token: token.id }, instance, start, status, said);
    }

    async fn bear(&mut self, place: usize) {
        let Some(token) = self.token(place) else { return };
        let instance = self.instance();
        let path = format!("/api/v1/agents/{}", token.agent);
        let cluster = &self.fleet.cluster;
        let request = cluster.http.get(cluster.url(instance, &path)).bearer_auth(&token.text);
        let start = self.fleet.cluster.history.now();
        let (status, _) = answer(request).await;
        let said = match status {
            // A token that was exchanged has no scope for this call.
            200 | 403 => Answer::Yes,
            401 => Answer::No,
            _ => Answer::Unknown,
        };
        self.note(Operation::Ask { token: token.id }, instance, start, status, said);
    }

    async fn revoke_one(&mut self, place: usize, admin: &str) {
        let Some(token) = self.token(place) else { return };
        let is_by_id = self.fleet.exchanges && self.rng.below(2) == 0;
        let request = |cluster: &Cluster, instance| match is_by_id {
            true => {
                let path = format!("/api/v1/tokens/{}/revoke", token.id);
                cluster.http.post(cluster.url(instance, &path)).bearer_auth(admin)
            }
            false => {
                let url = cluster.url(instance, "/api/v1/token/revoke");
                cluster.http.post(url).bearer_auth(admin).form(&[("token", &token.text)])
            }
        };
        self.change(Operation::Kill(Subject::Token(token.id.clone())), request).await;
    }

    async fn patch(&mut self, operation: Operation, path: &str, status: &str, admin: &str) {
        let request = |cluster: &Cluster, instance| {
            cluster
                .http
                .patch(cluster.url(instance, path))
                .bearer_auth(admin)
                .json(&json!({ "status": status }))
        };
        self.change(operation, request).await;
    }

    async fn change(&mut self, operation: Operation, request: impl Fn(&Cluster, usize) -> RequestBuilder) {
        let instance = self.instance();
        let start = self.fleet.cluster.history.now();
        let (status, _) = answer(request(&self.fleet.cluster, instance)).await;
        let done = match status {
            200..300 => Answer::Yes,
            400..500 => Answer::No,
            _ => Answer::Unknown,
        };
        self.forget_refused(status);
        self.note(operation, instance, start, status, done);
    }

    /// Rotates the secret. If the answer is lost, the next rotation creates another secret.
    async fn rotate(&mut self, place: usize, admin: &str) {
        let (client, credential) = {
            let agent = self.fleet.agent(place);
            (agent.client.clone(), agent.credential.clone())
        };
        let path = format!("/api/v1/agents/{}/credentials/{credential}/rotate", client.id);
        let instance = self.instance();
        let cluster = &self.fleet.cluster;
        let start = self.fleet.cluster.history.now();
        let request = cluster.http.post(cluster.url(instance, &path)).bearer_auth(admin).json(&json!({}));
        let (status, body) = answer(request).await;
        if let Some(secret) = body["clientSecret"].as_str() {
            self.fleet.agent(place).client.secret = secret.to_owned();
            self.fleet.handed.lock().unwrap_or_else(PoisonError::into_inner).push(secret.to_owned());
        }
        self.forget_refused(status);
        self.note(Operation::Other("rotate"), instance, start, status, Answer::Unknown);
    }

    fn forget_refused(&mut self, status: u16) {
        if status == StatusCode::UNAUTHORIZED.as_u16() {
            self.admin = None;
        }
    }
}

/// Returns the status and the body; the status is 0 if no complete answer came.
async fn answer(request: RequestBuilder) -> (u16, Value) {
    let Ok(answer) = request.send().await else { return (0, Value::Null) };
    let status = answer.status().as_u16();
    // An answer that breaks off is treated as lost.
    let Ok(text) = answer.text().await else { return (0, Value::Null) };
    (status, serde_json::from_str(&text).unwrap_or_default())
}

/// Returns the `jti` of a token.
pub fn id_of(token: &str) -> String {
    let claims = token.split('.').nth(1).expect("three parts");
    let claims = URL_SAFE_NO_PAD.decode(claims).expect("base64url");
    let claims: Value = serde_json::from_slice(&claims).expect("JSON");
    claims["jti"].as_str().expect("an id").to_owned()
}
