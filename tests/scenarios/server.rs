//! A separate service for each test, and the helpers that drive it.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::Poll;

use agentidp::adapters::crypto::generate_pem;
use agentidp::adapters::http::openapi;
use agentidp::app::bootstrap::Administrator;
use agentidp::cli::Cli;
use agentidp::config::Config;
use agentidp::domain::jwk::KeyType;
use agentidp::domain::time::Timestamp;
use agentidp::ports::clock::Clock;
use agentidp::wiring::Service;
use clap::Parser as _;
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::servers::{Database, SERVES, redis_url};

/// 2026-01-15T12:00:00Z, the start of a rate window, in seconds since the epoch.
pub const NOON_SECONDS: i64 = 1_768_478_400;

/// Key that the services of the tests sign with, generated once because that is slow.
pub static RSA_PEM: LazyLock<String> = LazyLock::new(|| generate_pem(KeyType::Rsa).expect("a key"));
static DOCUMENT: LazyLock<Value> = LazyLock::new(|| openapi(""));

/// A clock that stands still until a test moves it.
pub struct ManualClock(AtomicI64);

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// Makes each scenario a test on every wiring, or on the named one. A stateless scenario is about what is read or
/// written at the edge, where no store has a part, so that it runs in memory only.
macro_rules! scenarios {
    (every_wiring $scenarios:tt) => {
        scenarios!(memory $scenarios);
        scenarios!(postgres $scenarios);
        scenarios!(postgres_and_redis $scenarios);
        scenarios!(two_instances $scenarios);
    };
    (stateless $scenarios:tt) => { scenarios!(stateless memory $scenarios); };
    ($wiring:ident $scenarios:tt) => { scenarios!($wiring $wiring $scenarios); };
    ($module:ident $wiring:ident [$($scenario:ident),+ $(,)?]) => { mod $module {
        $(#[tokio::test]
        async fn $scenario() { super::$scenario($crate::server::Wiring::$wiring).await })+
    } };
}
pub(crate) use scenarios;

/// The stores that a service runs on. The names are those of the generated test modules.
#[expect(non_camel_case_types, reason = "they name modules")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wiring {
    memory,
    postgres,
    postgres_and_redis,
    /// Two services on the same PostgreSQL and Redis, which receive requests in turn.
    two_instances,
}

/// A running service, its first administrator and its clock.
pub struct TestServer {
    pub service: Service,
    /// The second instance, and the number of requests so far, which selects the next instance.
    other: Option<Service>,
    turn: AtomicU64,
    administrator: Administrator,
    pub http: reqwest::Client,
    pub clock: Arc<ManualClock>,
    _database: Option<Database>,
}

/// A client with its secret and the ID of its credential.
#[derive(Clone, Debug)]
pub struct Client {
    pub id: String,
    pub secret: String,
    pub credential: String,
}

/// A response that has been read completely.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

/// Returns the settings of a service for a test.
pub fn settings(flags: &[&str]) -> Config {
    let fixed = ["agentidp", "--port", "0", "--metrics-addr", "off"];
    let cost: &[&str] = if flags.contains(&"--bcrypt-cost") { &[] } else { &["--bcrypt-cost", "4"] };
    let mut config = Cli::parse_from([&fixed, cost, flags].concat()).serve.resolve().expect("settings");
    config.keys.private.get_or_insert_with(|| RSA_PEM.as_str().into());
    config
}

impl TestServer {
    pub async fn start(wiring: Wiring) -> Self {
        Self::start_with(wiring, &[]).await
    }

    pub async fn start_with(wiring: Wiring, flags: &[&str]) -> Self {
        let mut config = settings(flags);
        let database = match wiring {
            Wiring::memory => None,
            _ => Some(Database::migrated().await),
        };
        config.stores.database = database.as_ref().map(|database| database.url(SERVES).into());
        config.stores.pool_max = 4;
        if matches!(wiring, Wiring::postgres_and_redis | Wiring::two_instances) {
            config.stores.redis = Some(redis_url().into());
        }
        Self::start_by(wiring, &config, database).await
    }

    /// Starts a service on the stores that the settings name.
    pub async fn start_by(wiring: Wiring, config: &Config, database: Option<Database>) -> Self {
        let mut config = config.clone();
        let clock = Arc::new(ManualClock(AtomicI64::new(NOON_SECONDS * 1000)));
        let mut service = Service::start_at(&config, clock.clone()).await.expect("a service");
        config.issuer.get_or_insert_with(|| service.issuer.to_string());
        let other = match wiring {
            Wiring::two_instances => Some(Service::start_at(&config, clock.clone()).await.expect("another")),
            _ => None,
        };
        let administrator = match service.administrator.take() {
            Some(administrator) => administrator,
            None => match service.app.bootstrap.first_administrator().await {
                Ok(administrator) => administrator,
                Err(_) => service.app.bootstrap.another_administrator().await.expect("an administrator"),
            },
        };
        let turn = AtomicU64::new(0);
        let http = reqwest::Client::new();
        Self { service, other, turn, administrator, http, clock, _database: database }
    }

    pub fn advance(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    /// Returns the URL of a path on the instance that receives the next request.
    pub fn url(&self, path: &str) -> String {
        let turn = self.turn.fetch_add(1, Ordering::SeqCst);
        let service = self.other.as_ref().filter(|_| turn % 2 == 1).unwrap_or(&self.service);
        format!("http://{}{path}", service.address)
    }

    pub fn issuer(&self) -> String {
        self.service.issuer.to_string()
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.url(path))
    }

    /// Sends the request, and checks the answer against the OpenAPI document.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let request = request.build().expect("a request");
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let response = self.http.execute(request).await.expect("an answer");
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.expect("a body");
        assert_documented(&method, &path, status);
        assert!(headers.contains_key("x-request-id"), "{method} {path}");
        Answer { status, headers, text }
    }

    pub async fn get(&self, token: &str, path: &str) -> Answer {
        self.send(self.request(Method::GET, path).bearer_auth(token)).await
    }

    pub async fn post(&self, token: &str, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path).bearer_auth(token).json(&body)).await
    }

    pub async fn patch(&self, token: &str, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::PATCH, path).bearer_auth(token).json(&body)).await
    }

    pub async fn delete(&self, token: &str, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path).bearer_auth(token)).await
    }

    /// Returns the first administrator.
    pub fn administrator(&self) -> Client {
        let administrator = &self.administrator;
        Client {
            id: administrator.client_id.to_string(),
            secret: administrator.client_secret.expose().to_owned(),
            credential: String::new(),
        }
    }

    /// Issues a token with every management scope to the first administrator.
    pub async fn admin_token(&self) -> String {
        self.token(&self.administrator(), &[]).await
    }

    /// Requests a token for that client, with these parameters in addition to the grant type.
    pub async fn ask_token(&self, client: &Client, parameters: &[(&str, &str)]) -> Answer {
        let form = [&[("grant_type", "client_credentials")], parameters].concat();
        let request = self.request(Method::POST, "/api/v1/token").form(&form);
        self.send(request.basic_auth(&client.id, Some(&client.secret))).await
    }

    /// Issues a token to that client.
    pub async fn token(&self, client: &Client, parameters: &[(&str, &str)]) -> String {
        let answer = self.ask_token(client, parameters).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json()["access_token"].as_str().expect("a token").to_owned()
    }

    /// Registers an agent with these capabilities, in the organization `default` or the one named.
    pub async fn agent(&self, admin: &str, organization: Option<&str>, capabilities: &[&str]) -> String {
        let mut body = new_agent();
        body["capabilities"] = json!(capabilities);
        if let Some(organization) = organization {
            body["organizationId"] = json!(organization);
        }
        let answer = self.post(admin, "/api/v1/agents", body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        answer.json()["agentId"].as_str().expect("an id").to_owned()
    }

    /// Creates a secret for that agent.
    pub async fn secret(&self, admin: &str, agent: &str) -> Client {
        let answer = self.post(admin, &format!("/api/v1/agents/{agent}/credentials"), json!({})).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        let body = answer.json();
        let text = |name: &str| body[name].as_str().expect("a text").to_owned();
        Client { id: text("clientId"), secret: text("clientSecret"), credential: text("credentialId") }
    }

    /// Registers an agent and creates a secret for it.
    pub async fn client(&self, admin: &str, organization: Option<&str>, capabilities: &[&str]) -> Client {
        let agent = self.agent(admin, organization, capabilities).await;
        self.secret(admin, &agent).await
    }

    /// Creates an organization with these fields in addition to its name, slug and plan.
    pub async fn organization(&self, admin: &str, fields: Value) -> String {
        let mut body =
            json!({ "name": "Example", "slug": format!("example-{}", unique()), "plan": "enterprise" });
        body.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        let answer = self.post(admin, "/api/v1/organizations", body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        answer.json()["organizationId"].as_str().expect("an id").to_owned()
    }

    /// Returns the introspection response for a token, as requested by the first administrator.
    pub async fn introspect(&self, token: &str) -> Value {
        let caller = self.administrator();
        let request = self.request(Method::POST, "/api/v1/token/introspect").form(&[("token", token)]);
        let answer = self.send(request.basic_auth(caller.id, Some(caller.secret))).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json()
    }

    pub async fn is_active(&self, token: &str) -> bool {
        let answer = self.introspect(token).await;
        let is_active = answer["active"].as_bool().expect("RFC 7662 wants it");
        assert!(is_active || answer == json!({ "active": false }), "{answer}");
        is_active
    }

    /// Returns the audit events that the query finds, newest first, after writing all buffered events.
    pub async fn events(&self, token: &str, query: &str) -> Vec<Value> {
        for service in [Some(&self.service), self.other.as_ref()].into_iter().flatten() {
            service.app.audit_buffer.flush().await.expect("told");
        }
        let end = Timestamp::from_millis(i64::MAX);
        self.service.app.audit_buffer.settle(end).await.expect("written");
        let answer = self.get(token, &format!("/api/v1/audit?limit=200{query}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json()["data"].as_array().expect("a list").clone()
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {:?}", self.text))
    }

    /// Returns the error code, either in this API's format or in OAuth's.
    pub fn code(&self) -> String {
        let body = self.json();
        let code = body["code"].as_str().or(body["error"].as_str());
        code.unwrap_or_else(|| panic!("no error: {} {body}", self.status)).to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    pub fn number(&self, name: &str) -> i64 {
        let value = self.header(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.headers));
        value.parse().expect("a number")
    }

    /// Returns the invalid fields of a `VALIDATION_ERROR`.
    pub fn faults(&self) -> Vec<String> {
        assert_eq!(self.code(), "VALIDATION_ERROR", "{}", self.text);
        let body = self.json();
        let errors = body["details"]["errors"].as_array().expect("a list").clone();
        errors.iter().map(|error| error["field"].as_str().expect("a name").to_owned()).collect()
    }

    /// Panics unless the answer is that error.
    pub fn assert_error(&self, status: u16, code: &str) {
        assert_eq!((self.status.as_u16(), self.code().as_str()), (status, code), "{}", self.text);
    }
}

/// Returns a number that no other call in this process returns.
pub fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Returns a body that registers an agent.
pub fn new_agent() -> Value {
    json!({
        "email": format!("agent-{}@example.com", unique()),
        "agentType": "custom",
        "version": "1.0.0",
        "capabilities": ["files:read"],
        "owner": "team",
        "deploymentEnv": "development",
    })
}

/// Returns the operations of the OpenAPI document: method, path and definition of each.
pub fn operations() -> Vec<(Method, String, Value)> {
    let mut operations = Vec::new();
    for (path, item) in DOCUMENT["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("methods") {
            let method = method.to_uppercase().parse().expect("a method");
            operations.push((method, path.clone(), operation.clone()));
        }
    }
    operations
}

fn assert_documented(method: &Method, path: &str, status: StatusCode) {
    let is_route = |template: &str| {
        let (known, asked): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
        known.len() == asked.len()
            && known.iter().zip(asked).all(|(known, asked)| known.starts_with('{') || *known == asked)
    };
    let found = operations().into_iter().find(|(known, template, _)| known == method && is_route(template));
    if let Some((_, template, operation)) = found {
        let responses = operation["responses"].as_object().expect("responses");
        assert!(
            responses.contains_key(status.as_str()),
            "{method} {template} answered {status}, undocumented"
        );
    }
}

/// Runs all futures concurrently, and collects their outputs.
pub async fn together<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<_> = all.map(Box::pin).collect();
    let mut outputs = Vec::new();
    std::future::poll_fn(|context| {
        running.retain_mut(|one| match one.as_mut().poll(context) {
            Poll::Ready(output) => {
                outputs.push(output);
                false
            }
            Poll::Pending => true,
        });
        if running.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    outputs
}
