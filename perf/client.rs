//! Requests to servers with the service's API: the service itself and the Express stack.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::load::{Connection, Exchange, Load, request};
use crate::service::{Service, call};
use crate::{Failure, Outcome};

/// Number of wrong secrets that are tried.
pub const WRONG_SECRETS: usize = 200;

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");
const JSON: (&str, &str) = ("Content-Type", "application/json");

/// An OAuth client that may use every operation.
pub struct Client {
    address: SocketAddr,
    id: String,
    token: Exchange,
    bearer: String,
}

impl Client {
    /// Creates a client from its ID and secret, and obtains its bearer token.
    pub fn new(address: SocketAddr, id: &str, secret: &str) -> Outcome<Self> {
        Self::asking_by(address, id, token_request(id, secret))
    }

    fn asking_by(address: SocketAddr, id: &str, token_request: Vec<u8>) -> Outcome<Self> {
        let token = Exchange::ok(token_request, r#"{"access_token":"#);
        let mut client = Self { address, id: id.to_owned(), token, bearer: String::new() };
        client.bearer = format!("Bearer {}", client.tokens(1)?[0]);
        Ok(client)
    }

    /// Returns the service's first administrator, after removing its organization's limits.
    pub fn without_limits(service: &Service) -> Outcome<Self> {
        let client = Self::new(service.address, &service.client_id, &service.client_secret)?;
        let own = serde_json::from_slice::<Value>(&call(client.address, &client.read().request, 200)?)?;
        let id = own["organizationId"].as_str().ok_or("no organization")?;
        let limits = r#"{"limits":{"requestsPerMinute":null,"maxTokensPerMonth":null,"maxAgents":null}}"#;
        let change = client.json(&format!("PATCH /api/v1/organizations/{id}"), limits);
        call(client.address, &change, 200)?;
        Ok(client)
    }

    /// Token request with the client's secret.
    pub fn token(&self) -> Exchange {
        self.token.clone()
    }

    /// Introspection of an active token.
    pub fn introspection(&self, token: &str) -> Exchange {
        let headers = [("Authorization", self.bearer.as_str()), FORM];
        let body = format!("token={token}");
        Exchange::ok(request("POST /api/v1/token/introspect", &headers, &body), r#"{"active":true"#)
    }

    /// Introspections of each of these tokens.
    pub fn introspections(&self, tokens: &[String]) -> Vec<Exchange> {
        tokens.iter().map(|token| self.introspection(token)).collect()
    }

    /// Revocation of one of the client's own tokens.
    pub fn revocation(&self, token: &str) -> Exchange {
        let headers = [("Authorization", self.bearer.as_str()), FORM];
        Exchange::ok(request("POST /api/v1/token/revoke", &headers, &format!("token={token}")), "")
    }

    /// Read of the client's own agent, with a bearer token.
    pub fn read(&self) -> Exchange {
        self.read_of(&self.id)
    }

    /// Read of an agent, with a bearer token.
    pub fn read_of(&self, agent: &str) -> Exchange {
        self.get(&format!("/api/v1/agents/{agent}"), "{")
    }

    /// Read of a list.
    pub fn list(&self, path: &str) -> Exchange {
        self.get(path, r#"{"data":["#)
    }

    /// Creation of the agent with this number.
    pub fn creation(&self, place: usize) -> Exchange {
        self.creation_with(&format!("bench-{place}@example.com"), &["documents:read".to_owned()])
    }

    fn creation_with(&self, email: &str, capabilities: &[String]) -> Exchange {
        let capabilities = serde_json::json!(capabilities);
        let body = format!(
            r#"{{"email":"{email}","agentType":"custom","version":"1.0.0","capabilities":{capabilities},
            "owner":"bench","deploymentEnv":"staging"}}"#
        );
        Exchange { request: self.json("POST /api/v1/agents", &body), status: 201, right: "{" }
    }

    /// Obtains this many tokens.
    pub fn tokens(&self, number: usize) -> Outcome<Vec<String>> {
        tokens(self.address, &self.token, number)
    }

    /// Creates an agent with a secret, and returns its first token request.
    pub fn newcomer(&self, place: usize) -> Outcome<Exchange> {
        let (id, secret) = self.made(&self.creation(place))?;
        Ok(Exchange::ok(token_request(&id, &secret), r#"{"access_token":"#))
    }

    /// Creates another agent with these capabilities, and a client that requests all of them.
    pub fn colleague(&self, capabilities: &[String]) -> Outcome<Self> {
        let (id, secret) = self.made(&self.creation_with("colleague@example.com", capabilities))?;
        let form = format!("grant_type=client_credentials&scope={}", capabilities.join("+"));
        Self::asking_by(self.address, &id, token_request_of("/api/v1/token", &id, &secret, &form))
    }

    /// Creates an agent with this email address, and returns its ID.
    pub fn registered(&self, email: &str) -> Outcome<String> {
        let creation = self.creation_with(email, &["documents:read".to_owned()]);
        let agent = serde_json::from_slice::<Value>(&call(self.address, &creation.request, 201)?)?;
        Ok(agent["agentId"].as_str().ok_or("no agent")?.to_owned())
    }

    /// Creates what this body describes, and returns the answer.
    pub fn create(&self, path: &str, body: &Value) -> Outcome<Value> {
        let request = self.json(&format!("POST {path}"), &body.to_string());
        Ok(serde_json::from_slice(&call(self.address, &request, 201)?)?)
    }

    /// Creates another secret for the client's own agent.
    pub fn make_credential(&self) -> Outcome<()> {
        self.new_secret(&self.id).map(drop)
    }

    fn made(&self, creation: &Exchange) -> Outcome<(String, String)> {
        let agent = serde_json::from_slice::<Value>(&call(self.address, &creation.request, 201)?)?;
        let id = agent["agentId"].as_str().ok_or("no agent")?;
        Ok((id.to_owned(), self.new_secret(id)?))
    }

    fn new_secret(&self, agent: &str) -> Outcome<String> {
        let make = self.json(&format!("POST /api/v1/agents/{agent}/credentials"), "{}");
        let credential = serde_json::from_slice::<Value>(&call(self.address, &make, 201)?)?;
        Ok(credential["clientSecret"].as_str().ok_or("no secret")?.to_owned())
    }

    /// Returns how often bcrypt runs for secrets that are all wrong.
    pub fn bcrypt_runs_of_wrong_secrets(&self, service: &Service) -> Outcome<f64> {
        self.make_credential()?;
        let before = service.bcrypt_runs()?;
        if before == 0 {
            return Err("the hash of a new secret is not counted".into());
        }
        let mut connection = Connection::open(self.address)?;
        for number in 0..WRONG_SECRETS {
            let text = format!("aidp_sk_{number:048x}");
            let secret = format!("{text}{:08x}", crc32fast::hash(text.as_bytes()));
            let answer = connection.exchange(&token_request(&self.id, &secret))?;
            if answer.status != 401 {
                return Err(format!("a wrong secret: answered {}", answer.status).into());
            }
        }
        let after = service.bcrypt_runs()?;
        Ok((after - before) as f64)
    }

    fn get(&self, path: &str, right: &'static str) -> Exchange {
        let headers = [("Authorization", self.bearer.as_str())];
        Exchange::ok(request(&format!("GET {path}"), &headers, ""), right)
    }

    fn json(&self, line: &str, body: &str) -> Vec<u8> {
        request(line, &[("Authorization", &self.bearer), JSON], body)
    }
}

/// Cheapest request that the service answers.
pub fn health() -> Load {
    let exchange = Exchange::ok(request("GET /health", &[], ""), r#"{"status":"ok""#);
    Load { name: "GET /health", exchanges: vec![exchange] }
}

/// Obtains this many tokens with this request.
pub fn tokens(address: SocketAddr, token: &Exchange, number: usize) -> Outcome<Vec<String>> {
    const WORKERS: usize = 16;
    std::thread::scope(|scope| {
        let gather = |worker| {
            scope.spawn(move || {
                let mut connection = Connection::open(address)?;
                let mut tokens = Vec::new();
                for _ in (worker..number).step_by(WORKERS) {
                    let answer = connection.exchange(&token.request)?;
                    let body = serde_json::from_slice::<Value>(answer.body)?;
                    tokens.push(body["access_token"].as_str().ok_or("no token")?.to_owned());
                }
                Ok::<_, Failure>(tokens)
            })
        };
        let workers: Vec<_> = (0..WORKERS.min(number)).map(gather).collect();
        let mut tokens = Vec::new();
        for worker in workers {
            tokens.append(&mut worker.join().expect("a worker does not panic")?);
        }
        Ok(tokens)
    })
}

/// Request with this form, without any header of authentication.
pub fn form_request(path: &str, form: &str) -> Vec<u8> {
    request(&format!("POST {path}"), &[FORM], form)
}

/// Token request with HTTP Basic authentication (RFC 6749 section 2.3.1) and this form.
pub fn token_request_of(path: &str, id: &str, secret: &str, form: &str) -> Vec<u8> {
    let basic = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
    request(&format!("POST {path}"), &[("Authorization", &basic), FORM], form)
}

fn token_request(id: &str, secret: &str) -> Vec<u8> {
    token_request_of("/api/v1/token", id, secret, "grant_type=client_credentials")
}
