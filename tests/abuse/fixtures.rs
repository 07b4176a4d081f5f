//! A service to attack, and what an attacker may hold.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use agentidp::adapters::crypto::generate_pem;
use agentidp::adapters::system::SystemClock;
use agentidp::config::Config;
use agentidp::domain::jwk::KeyType;
use agentidp::ports::clock::Clock as _;
use agentidp::wiring::Service;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::servers::{Database, SERVES, redis_url};
use crate::wire::{Answer, FORM, JSON, ask, request};

/// Issuer of all services in these tests.
pub const ISSUER: &str = "http://agentidp.test";
/// ID of an agent that does not exist.
pub const NOBODY: &str = "01920000-0000-7000-8000-000000000000";
pub const ALL_SCOPES: &str = "agents:read agents:write credentials:write tokens:read audit:read admin:orgs";

/// Key that the services sign with. Tests use it to sign tokens that the service would never issue.
pub static KEY: LazyLock<String> = LazyLock::new(|| generate_pem(KeyType::P256).expect("a key"));

/// One service in memory, or two on the same stores that receive requests in turn.
pub struct Fixtures {
    services: Vec<Service>,
    turn: AtomicUsize,
    pub administrator: Client,
    /// A token of the administrator with all scopes.
    pub admin: String,
    /// Database of the services, if they have one.
    pub database: Option<Database>,
}

/// A client with its secret and the ID of its credential.
#[derive(Clone, Debug)]
pub struct Client {
    pub id: String,
    pub secret: String,
    pub credential: String,
}

impl Fixtures {
    pub async fn in_memory() -> Self {
        Self::start(None).await
    }

    /// Starts two instances on PostgreSQL and Redis.
    pub async fn on_stores() -> Self {
        Self::start(Some(Database::migrated().await)).await
    }

    async fn start(database: Option<Database>) -> Self {
        let mut config = Config {
            bcrypt_cost: 4,
            issuer: Some("http://agentidp.test".to_owned()),
            address_requests_per_minute: 1_000_000,
            ..Config::in_memory()
        };
        config.keys.private = Some(KEY.as_str().into());
        config.stores.pool_max = 4;
        config.stores.database = database.as_ref().map(|database| database.url(SERVES).into());
        config.stores.redis = database.as_ref().map(|_| redis_url().into());
        let mut services = vec![Service::start(&config).await.expect("a service")];
        let made = match services[0].administrator.take() {
            Some(administrator) => administrator,
            None => services[0].app.bootstrap.first_administrator().await.expect("the first"),
        };
        if database.is_some() {
            services.push(Service::start(&config).await.expect("another"));
        }
        let administrator = Client {
            id: made.client_id.to_string(),
            secret: made.client_secret.expose().to_owned(),
            credential: String::new(),
        };
        let turn = AtomicUsize::new(0);
        let mut fixtures = Self { services, turn, administrator, admin: String::new(), database };
        fixtures.admin = fixtures.token_of(&fixtures.administrator, ALL_SCOPES).await;
        let own = fixtures.call("GET", "/organizations", "").await.json();
        let path = format!("/organizations/{}", own["data"][0]["organizationId"].as_str().expect("an id"));
        fixtures.call("PATCH", &path, r#"{"limits":{"requestsPerMinute":null}}"#).await;
        fixtures
    }

    /// Returns the address of the instance that receives the next request.
    pub fn address(&self) -> SocketAddr {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.services[turn % self.services.len()].address
    }

    /// Sends a request as the administrator, with a JSON body unless `body` is empty.
    pub async fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        self.call_as(&self.admin, method, path, body).await
    }

    pub async fn call_as(&self, token: &str, method: &str, path: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        let line = format!("{method} /api/v1{path}");
        let headers = [("Authorization", bearer.as_str()), JSON];
        let headers = if body.is_empty() { &headers[..1] } else { &headers[..] };
        ask(self.address(), &request(&line, headers, body.as_bytes())).await
    }

    /// Registers an agent with these capabilities and a secret.
    /// The agent belongs to the administrator's organization or to the one named.
    pub async fn client(&self, capabilities: &[&str], organization: Option<&str>) -> Client {
        let mut body = agent(capabilities);
        if let Some(organization) = organization {
            body["organizationId"] = json!(organization);
        }
        let made = self.call("POST", "/agents", &body.to_string()).await.json();
        let id = made["agentId"].as_str().expect("an agent").to_owned();
        let made = self.call("POST", &format!("/agents/{id}/credentials"), "{}").await.json();
        let text = |name: &str| made[name].as_str().expect("text").to_owned();
        Client { id, secret: text("clientSecret"), credential: text("credentialId") }
    }

    pub async fn organization(&self, limits: Value) -> String {
        let body = json!({ "name": "Example", "slug": format!("o-{}", unique()), "plan": "enterprise",
            "limits": limits, "resources": ["https://api.example.com"] });
        let made = self.call("POST", "/organizations", &body.to_string()).await.json();
        made["organizationId"].as_str().expect("an organization").to_owned()
    }

    /// Requests a token for that client, with `more` appended to the form.
    pub async fn ask_token(&self, client: &Client, more: &str) -> Answer {
        let body = format!("grant_type=client_credentials{more}");
        let basic = basic(&client.id, &client.secret);
        let headers = [("Authorization", basic.as_str()), FORM];
        ask(self.address(), &request("POST /api/v1/token", &headers, body.as_bytes())).await
    }

    pub async fn token_of(&self, client: &Client, scope: &str) -> String {
        let answer = self.ask_token(client, &format!("&scope={}", scope.replace(' ', "+"))).await;
        answer.json()["access_token"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
    }
}

/// Returns a body that registers an agent.
pub fn agent(capabilities: &[&str]) -> Value {
    json!({
        "email": format!("agent-{}@example.com", unique()), "agentType": "custom", "version": "1.0.0",
        "capabilities": capabilities, "owner": "tests", "deploymentEnv": "development",
    })
}

/// Returns the value of a Basic `Authorization` header.
pub fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

pub fn now() -> i64 {
    SystemClock.now().as_seconds()
}

/// Returns a JWT with that header and these claims, signed by the service's own key.
pub fn signed(header: &Header, claims: &Value) -> String {
    let key = EncodingKey::from_ec_pem(KEY.as_bytes()).expect("a key");
    jsonwebtoken::encode(header, claims, &key).expect("signed")
}

/// Returns the header of a genuine token of the service.
pub fn header_of(token: &str) -> Header {
    let header = jsonwebtoken::decode_header(token).expect("a header");
    Header { alg: Algorithm::ES256, ..header }
}

/// Returns the claims of a token.
pub fn claims_of(token: &str) -> Value {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).expect("three parts")).expect("base64url");
    serde_json::from_slice(&claims).expect("JSON")
}

/// Encodes a JSON value as one part of a JWT.
pub fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// Encodes bytes as one part of a JWT.
pub fn part_of(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Returns a number that no other call in this process returns.
pub fn unique() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Fixtures shared by several tasks.
pub type Shared = Arc<Fixtures>;
