//! Tenants that try to see each other, and callers that try to gain management scopes.
//!
//! Each of two tenants has a crew: agents with some management scopes, whose tokens and secrets a caller
//! holds. Each tenant also has one bystander with more scopes than the crew. Whatever the crews do, in any
//! order:
//!
//! * nothing in a tenant gains a management scope that no member of its crew had at first: neither a token
//!   nor an agent;
//! * another tenant's agent is answered like one that does not exist, byte for byte.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testing::{Client, MANAGEMENT_SCOPES, TestServer, UNKNOWN_ID, Wiring, new_agent};

use crate::cases;

/// Number of scopes that a crew may begin with: all but `admin:orgs`, which reaches across tenants.
const CREW_SCOPES: usize = 5;
/// Number of cases in memory, and on a file, where each change waits for the disk.
const CASES: u32 = 48;
const CASES_ON_A_FILE: u32 = 12;

/// An action that a crew attempts. Numbers select among the existing tokens, agents and secrets.
#[derive(Clone, Debug)]
enum Action {
    Register { token: usize, scopes: BTreeSet<usize>, elsewhere: bool },
    Change { token: usize, agent: usize, scopes: BTreeSet<usize> },
    NewSecret { token: usize, agent: usize },
    Rotate { token: usize, agent: usize },
    Token { secret: usize, scopes: BTreeSet<usize> },
    Revive { token: usize, agent: usize },
    Look { token: usize, agent: usize, call: usize },
}

fn actions() -> impl Strategy<Value = Action> {
    let scopes = || btree_set(0..MANAGEMENT_SCOPES.len(), 0..4);
    let pick = || 0..1000_usize;
    prop_oneof![
        1 => (pick(), scopes(), any::<bool>())
            .prop_map(|(token, scopes, elsewhere)| Action::Register { token, scopes, elsewhere }),
        1 => (pick(), pick(), scopes()).prop_map(|(token, agent, scopes)| Action::Change { token, agent, scopes }),
        1 => (pick(), pick()).prop_map(|(token, agent)| Action::NewSecret { token, agent }),
        1 => (pick(), pick()).prop_map(|(token, agent)| Action::Rotate { token, agent }),
        3 => (pick(), scopes()).prop_map(|(secret, scopes)| Action::Token { secret, scopes }),
        1 => (pick(), pick()).prop_map(|(token, agent)| Action::Revive { token, agent }),
        3 => (pick(), pick(), pick()).prop_map(|(token, agent, call)| Action::Look { token, agent, call }),
    ]
}

/// The tokens, secrets and agents that the crews hold.
/// The tenants are 0 and 1.
struct Crews<'a> {
    attacked: &'a Attacked,
    tenants: [String; 2],
    /// Management scopes that the members of each crew may have, taken together.
    may: [BTreeSet<&'static str>; 2],
    tokens: Vec<(usize, String)>,
    secrets: Vec<(usize, Client)>,
    /// Known agents of both tenants, each with one of its credentials.
    /// The credential is empty if none is known.
    agents: Vec<(usize, String, String)>,
}

/// A service whose administrator has a token with all scopes.
struct Attacked {
    server: TestServer,
    admin: String,
}

#[test]
fn no_tenant_sees_another_and_nobody_rises() {
    try_orders(Wiring::Memory, cases(CASES));
}

#[test]
fn no_tenant_sees_another_and_nobody_rises_on_a_file() {
    try_orders(Wiring::Sqlite, cases(CASES_ON_A_FILE));
}

fn try_orders(wiring: Wiring, cases: u32) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let attacked = Arc::new(runtime.block_on(Attacked::start(wiring)));
    let config = Config { failure_persistence: None, ..Config::with_cases(cases) };
    let mut runner = TestRunner::new(config);
    let crew = || btree_set(0..CREW_SCOPES, 1..4);
    let order = ((crew(), crew()), vec(actions(), 1..30));
    let outcome = runner.run(&order, |((first, second), actions)| {
        runtime.block_on(async {
            let mut crews = Crews::gather(&attacked, [&first, &second]).await;
            for one in &actions {
                crews.attempt(one).await?;
            }
            Ok(())
        })
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

impl Attacked {
    async fn start(wiring: Wiring) -> Self {
        let server = TestServer::start_with(wiring, &["--address-requests-per-minute", "1000000"]).await;
        let admin = server.unlimited_admin_token().await;
        Self { server, admin }
    }

    async fn ask(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> (StatusCode, Value) {
        let request = self.server.request(method, &format!("/api/v1{path}")).bearer_auth(token);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let answer = self.server.send(request).await;
        (answer.status, serde_json::from_str(&answer.text).unwrap_or_default())
    }

    async fn token(&self, client: &Client, scope: &str) -> Option<String> {
        let answer = self.server.ask_token(client, &[("scope", scope)]).await;
        answer.json()["access_token"].as_str().map(str::to_owned)
    }

    /// Creates an agent of the tenant with a secret, as the administrator.
    async fn client(&self, tenant: &str, scopes: &[&str]) -> Client {
        self.server.client(&self.admin, Some(tenant), &with_own(scopes)).await
    }
}

impl<'a> Crews<'a> {
    async fn gather(attacked: &'a Attacked, scopes: [&BTreeSet<usize>; 2]) -> Self {
        let mut tenants = [String::new(), String::new()];
        let may = scopes
            .map(|scopes| scopes.iter().map(|scope| MANAGEMENT_SCOPES[*scope]).collect::<BTreeSet<_>>());
        let (mut tokens, mut secrets, mut agents) = (Vec::new(), Vec::new(), Vec::new());
        for (place, tenant) in tenants.iter_mut().enumerate() {
            let unlimited = json!({ "limits": { "requestsPerMinute": null } });
            *tenant = attacked.server.organization(&attacked.admin, unlimited).await;
            // Each member of the crew has one of the scopes, so that together they have more than each alone.
            for scope in &may[place] {
                let client = attacked.client(tenant, &[scope]).await;
                let token = attacked.token(&client, scope).await.expect("a token");
                tokens.push((place, token));
                agents.push((place, client.id.clone(), client.credential.clone()));
                secrets.push((place, client));
            }
            let client = attacked.client(tenant, &MANAGEMENT_SCOPES[..CREW_SCOPES]).await;
            agents.push((place, client.id, client.credential));
        }
        Self { attacked, tenants, may, tokens, secrets, agents }
    }

    async fn attempt(&mut self, one: &Action) -> Result<(), TestCaseError> {
        match one {
            Action::Register { token, scopes, elsewhere } => {
                let (tenant, token) = self.tokens[token % self.tokens.len()].clone();
                let other = elsewhere.then(|| self.tenants[1 - tenant].as_str());
                let mut body = new_agent(&with_own(&named(scopes)));
                if let Some(other) = other {
                    body["organizationId"] = json!(other);
                }
                let (status, agent) = self.attacked.ask(&token, Method::POST, "/agents", Some(&body)).await;
                if status == StatusCode::CREATED {
                    prop_assert!(!elsewhere, "registered with another tenant");
                    self.hold(tenant, &agent["capabilities"])?;
                    let id = agent["agentId"].as_str().expect("an id").to_owned();
                    self.agents.push((tenant, id, String::new()));
                }
            }
            Action::Change { token, agent, scopes } => {
                let (tenant, token, (of, id, _)) = self.pick(*token, *agent);
                let body = json!({ "capabilities": with_own(&named(scopes)) });
                let (status, agent) =
                    self.attacked.ask(&token, Method::PATCH, &format!("/agents/{id}"), Some(&body)).await;
                if status == StatusCode::OK {
                    prop_assert_eq!(tenant, of, "changed another tenant's agent");
                    self.hold(tenant, &agent["capabilities"])?;
                }
            }
            Action::NewSecret { token, agent } => {
                let (tenant, token, (of, id, _)) = self.pick(*token, *agent);
                let path = format!("/agents/{id}/credentials");
                let (status, made) = self.attacked.ask(&token, Method::POST, &path, Some(&json!({}))).await;
                if status == StatusCode::CREATED {
                    prop_assert_eq!(tenant, of, "gave another tenant's agent a secret");
                    let text = |name: &str| made[name].as_str().expect("text").to_owned();
                    let (secret, credential) = (text("clientSecret"), text("credentialId"));
                    self.agents.push((tenant, id.clone(), credential.clone()));
                    self.secrets.push((tenant, Client { id, secret, credential }));
                }
            }
            Action::Rotate { token, agent } => {
                let (tenant, token, (of, id, credential)) = self.pick(*token, *agent);
                let path = format!("/agents/{id}/credentials/{credential}/rotate");
                let (status, made) = self.attacked.ask(&token, Method::POST, &path, Some(&json!({}))).await;
                if status == StatusCode::OK {
                    prop_assert_eq!(tenant, of, "rotated another tenant's secret");
                    let secret = made["clientSecret"].as_str().expect("text").to_owned();
                    self.secrets.push((tenant, Client { id, secret, credential }));
                }
            }
            Action::Token { secret, scopes } => {
                let (tenant, client) = self.secrets[secret % self.secrets.len()].clone();
                let scope = named(scopes).join(" ");
                if let Some(token) = self.attacked.token(&client, &scope).await {
                    let path = format!("/agents/{}", client.id);
                    let caller = self.attacked.ask(&self.attacked.admin, Method::GET, &path, None).await;
                    prop_assert_eq!(&caller.1["organizationId"], &json!(self.tenants[tenant]));
                    self.hold(tenant, &json!(scope.split(' ').collect::<Vec<_>>()))?;
                    self.tokens.push((tenant, token));
                }
            }
            Action::Revive { token, agent } => {
                let (tenant, token, (of, id, _)) = self.pick(*token, *agent);
                let body = json!({ "status": "active" });
                let path = format!("/agents/{id}");
                let (status, _) = self.attacked.ask(&token, Method::PATCH, &path, Some(&body)).await;
                prop_assert!(status != StatusCode::OK || tenant == of, "changed another tenant's agent");
            }
            Action::Look { token, agent, call } => self.look(*token, *agent, *call).await?,
        }
        Ok(())
    }

    /// Checks that another tenant's agent is answered as if it did not exist.
    async fn look(&self, token: usize, agent: usize, call: usize) -> Result<(), TestCaseError> {
        let (tenant, token, (of, id, credential)) = self.pick(token, agent);
        if tenant == of {
            return Ok(());
        }
        let credential = if credential.is_empty() { UNKNOWN_ID.to_owned() } else { credential };
        let calls = [
            (Method::GET, "/agents/A", None),
            (Method::PATCH, "/agents/A", Some(json!({ "version": "2.0.0" }))),
            (Method::DELETE, "/agents/A", None),
            (Method::POST, "/agents/A/tokens/revoke", Some(json!({}))),
            (Method::GET, "/agents/A/credentials", None),
            (Method::POST, "/agents/A/credentials", Some(json!({}))),
            (Method::POST, "/agents/A/credentials/C/rotate", Some(json!({}))),
            (Method::DELETE, "/agents/A/credentials/C", None),
            (Method::GET, "/usage?clientId=A", None),
        ];
        let (method, path, body) = &calls[call % calls.len()];
        let ask = async |agent: &str, credential: &str| {
            let path = path.replace('A', agent).replace('C', credential);
            let (status, mut body) = self.attacked.ask(&token, method.clone(), &path, body.as_ref()).await;
            if let Some(body) = body.as_object_mut() {
                body.remove("requestId");
            }
            (status, body.to_string())
        };
        let foreign = ask(&id, &credential).await;
        let missing = ask(UNKNOWN_ID, UNKNOWN_ID).await;
        prop_assert_eq!(&foreign, &missing, "{} {}", method, path);
        prop_assert!(!foreign.0.is_success(), "{} {}", method, path);
        Ok(())
    }

    fn pick(&self, token: usize, agent: usize) -> (usize, String, (usize, String, String)) {
        let (tenant, token) = self.tokens[token % self.tokens.len()].clone();
        (tenant, token, self.agents[agent % self.agents.len()].clone())
    }

    /// Checks that the crew had each management scope among the capabilities at first.
    fn hold(&self, tenant: usize, capabilities: &Value) -> Result<(), TestCaseError> {
        for capability in capabilities.as_array().expect("a list") {
            let name = capability.as_str().expect("text");
            let is_risen = MANAGEMENT_SCOPES.contains(&name) && !self.may[tenant].contains(name);
            prop_assert!(!is_risen, "{} was reached by {:?}", name, self.may[tenant]);
        }
        Ok(())
    }
}

fn named(scopes: &BTreeSet<usize>) -> Vec<&'static str> {
    scopes.iter().map(|scope| MANAGEMENT_SCOPES[*scope]).collect()
}

/// Returns these scopes and one that is no management scope, because an agent needs at least one.
fn with_own<'a>(scopes: &[&'a str]) -> Vec<&'a str> {
    [scopes, &["files:read"]].concat()
}
