//! What is asked of the service.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::Outcome;
use crate::load::{Connection, Load, request};
use crate::service::{Service, call};

/// How many wrong secrets are tried.
pub const WRONG_SECRETS: usize = 200;

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");
const JSON: (&str, &str) = ("Content-Type", "application/json");

/// The first administrator, as a client.
pub struct Client<'a> {
    service: &'a Service,
    token_request: Vec<u8>,
    bearer: String,
}

impl<'a> Client<'a> {
    pub fn new(service: &'a Service) -> Outcome<Self> {
        let token_request = token_request(&service.client_id, &service.client_secret);
        let mut client = Self { service, token_request, bearer: String::new() };
        client.bearer = format!("Bearer {}", client.token()?);
        Ok(client)
    }

    pub fn token(&self) -> Outcome<String> {
        let answer = call(self.service.address, &self.token_request, 200)?;
        let token = serde_json::from_slice::<Value>(&answer)?;
        Ok(token["access_token"].as_str().ok_or("no token")?.to_owned())
    }

    pub fn lift_limits(&self) -> Outcome<()> {
        let headers = [("Authorization", self.bearer.as_str()), JSON];
        let own = request(&format!("GET /api/v1/agents/{}", self.service.client_id), &headers[..1], "");
        let own = serde_json::from_slice::<Value>(&call(self.service.address, &own, 200)?)?;
        let id = own["organizationId"].as_str().ok_or("no organization")?;
        let limits = r#"{"limits":{"requestsPerMinute":null,"maxTokensPerMonth":null}}"#;
        let change = request(&format!("PATCH /api/v1/organizations/{id}"), &headers, limits);
        call(self.service.address, &change, 200).map(drop)
    }

    /// A token, an introspection of each of those tokens in turn, and the least that the service answers.
    pub fn loads(&self, tokens: &[String]) -> [Load; 3] {
        let headers = [("Authorization", self.bearer.as_str()), FORM];
        let introspection =
            |token| request("POST /api/v1/token/introspect", &headers, &format!("token={token}"));
        [
            Load {
                name: "POST /api/v1/token",
                requests: vec![self.token_request.clone()],
                right: br#"{"access_token":"#,
            },
            Load {
                name: "POST /api/v1/token/introspect",
                requests: tokens.iter().map(introspection).collect(),
                right: br#"{"active":true"#,
            },
            Load {
                name: "GET /health",
                requests: vec![request("GET /health", &[], "")],
                right: br#"{"status":"ok""#,
            },
        ]
    }

    pub fn bcrypt_runs_of_wrong_secrets(&self) -> Outcome<f64> {
        self.make_credential()?;
        let before = self.service.bcrypt_runs()?;
        if before.0 == 0 {
            return Err("the hash of a new secret is not counted".into());
        }
        let mut connection = Connection::open(self.service.address)?;
        for number in 0..WRONG_SECRETS {
            let text = format!("aidp_sk_{number:048x}");
            let secret = format!("{text}{:08x}", crc32fast::hash(text.as_bytes()));
            let answer = connection.exchange(&token_request(&self.service.client_id, &secret))?;
            if answer.status != 401 {
                return Err(format!("a wrong secret: answered {}", answer.status).into());
            }
        }
        let after = self.service.bcrypt_runs()?;
        Ok((after.0 + after.1 - before.0 - before.1) as f64)
    }

    /// Makes so many agents, with their events: as many as a first page shows, so that an empty database answers as
    /// long a page as a full one.
    pub fn make_agents(&self, number: usize) -> Outcome<()> {
        let headers = [("Authorization", self.bearer.as_str()), JSON];
        for place in 0..number {
            let body = format!(
                r#"{{"email":"page-{place}@example.com","agentType":"custom","version":"1.0.0",
                "capabilities":["documents:read"],"owner":"bench","deploymentEnv":"staging"}}"#
            );
            call(self.service.address, &request("POST /api/v1/agents", &headers, &body), 201)?;
        }
        Ok(())
    }

    /// A list, read with a token of the administrator.
    pub fn list(&self, name: &'static str, path: &str) -> Load {
        let headers = [("Authorization", self.bearer.as_str())];
        Load { name, requests: vec![request(&format!("GET {path}"), &headers, "")], right: br#"{"data":["# }
    }

    fn make_credential(&self) -> Outcome<()> {
        let line = format!("POST /api/v1/agents/{}/credentials", self.service.client_id);
        let make = request(&line, &[("Authorization", self.bearer.as_str()), JSON], "{}");
        call(self.service.address, &make, 201).map(drop)
    }
}

fn token_request(id: &str, secret: &str) -> Vec<u8> {
    let basic = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
    request("POST /api/v1/token", &[("Authorization", &basic), FORM], "grant_type=client_credentials")
}
