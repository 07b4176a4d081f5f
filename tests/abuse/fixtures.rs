//! A service to attack, and what an attacker may hold.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use agentidp::adapters::crypto::generate_pem;
use agentidp::domain::jwk::KeyType;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use testing::{Client, ISSUER, TestServer, Wiring, basic_auth, settings};

use crate::wire::{Answer, FORM, JSON, ask, request};

/// Key that the services sign with. Tests use it to sign tokens that the service would never issue.
pub static KEY: LazyLock<String> = LazyLock::new(|| generate_pem(KeyType::P256).expect("a key"));

/// One service in memory, or two on the same stores that receive requests in turn.
pub struct Fixtures {
    pub server: TestServer,
    /// A token of the administrator with all scopes.
    pub admin: String,
}

impl Fixtures {
    pub async fn in_memory() -> Self {
        Self::in_memory_with(&[]).await
    }

    /// Starts one instance in memory with these flags of the command line.
    pub async fn in_memory_with(flags: &[&str]) -> Self {
        Self::start(Wiring::Memory, flags).await
    }

    /// Starts two instances on PostgreSQL and Redis.
    pub async fn on_stores() -> Self {
        Self::start(Wiring::TwoInstances, &[]).await
    }

    async fn start(wiring: Wiring, flags: &[&str]) -> Self {
        let fixed = ["--issuer-url", ISSUER, "--address-requests-per-minute", "1000000"];
        let mut config = settings(&[&fixed, flags].concat());
        config.keys.private = Some(KEY.as_str().into());
        let server = TestServer::start_from(wiring, config).await;
        let admin = server.unlimited_admin_token().await;
        Self { server, admin }
    }

    /// Returns the address of the instance that receives the next request.
    pub fn address(&self) -> SocketAddr {
        let url = self.server.url("");
        url.strip_prefix("http://").and_then(|address| address.parse().ok()).expect("an address")
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
        self.server.client(&self.admin, organization, capabilities).await
    }

    pub async fn organization(&self, limits: Value) -> String {
        let fields = json!({ "limits": limits, "resources": ["https://api.example.com"] });
        self.server.organization(&self.admin, fields).await
    }

    /// Requests a token for that client, with `more` appended to the form.
    pub async fn ask_token(&self, client: &Client, more: &str) -> Answer {
        let body = format!("grant_type=client_credentials{more}");
        let basic = basic_auth(&client.id, &client.secret);
        let headers = [("Authorization", basic.as_str()), FORM];
        ask(self.address(), &request("POST /api/v1/token", &headers, body.as_bytes())).await
    }

    pub async fn token_of(&self, client: &Client, scope: &str) -> String {
        let answer = self.ask_token(client, &format!("&scope={}", scope.replace(' ', "+"))).await;
        answer.json()["access_token"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
    }
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

/// Fixtures shared by several tasks.
pub type Shared = Arc<Fixtures>;
