//! AgentIdP, and the calls that the demonstration makes.

use std::error::Error;
use std::fmt::Write as _;

use agentidp::config::Config;
use agentidp::wiring::Service;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use serde_json::{Value, json};

use crate::api::Notes;
use crate::company::Company;

/// AgentIdP in memory, with a token of its administrator.
pub struct Idp {
    service: Service,
    http: reqwest::Client,
    admin: String,
}

/// An agent, with its credentials.
pub struct Agent {
    pub name: String,
    pub id: String,
    secret: Secret,
}

/// A client ID and its secret.
#[derive(Clone)]
pub struct Secret {
    pub id: String,
    pub secret: String,
}

type Result<T> = std::result::Result<T, Box<dyn Error>>;

impl Idp {
    pub async fn start() -> Result<Self> {
        let service = Service::start(&Config::in_memory()).await?;
        let administrator =
            service.administrator.as_ref().ok_or("a service in memory has an administrator")?;
        let secret = Secret {
            id: administrator.client_id.to_string(),
            secret: administrator.client_secret.expose().to_owned(),
        };
        let idp = Self { service, http: reqwest::Client::new(), admin: String::new() };
        let admin = idp.token(&secret, &[("grant_type", "client_credentials")]).await?;
        Ok(Self { admin, ..idp })
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.service.address)
    }

    /// Calls the API as the administrator.
    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let request = self.http.request(method, self.url(path)).bearer_auth(&self.admin);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let answer = request.send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        match status.is_success() {
            true if text.is_empty() => Ok(Value::Null),
            true => Ok(serde_json::from_str(&text)?),
            false => Err(format!("{path}: {text}").into()),
        }
    }

    async fn token(&self, client: &Secret, form: &[(&str, &str)]) -> Result<String> {
        let request = self.http.post(self.url("/api/v1/token")).basic_auth(&client.id, Some(&client.secret));
        let answer: Value = request.form(form).send().await?.json().await?;
        let token = answer["access_token"].as_str().ok_or_else(|| answer.to_string())?;
        Ok(token.to_owned())
    }

    /// Lets agents act for the people of a company, and ask for tokens for the API `notes`.
    pub async fn trust(&self, company: &Company) -> Result<()> {
        self.call(Method::POST, "/api/v1/issuers", Some(company.as_issuer())).await?;
        let listed = self.call(Method::GET, "/api/v1/organizations?slug=default", None).await?;
        let id = listed["data"][0]["organizationId"].as_str().ok_or("no organization")?.to_owned();
        let resources = json!({ "resources": ["notes"] });
        self.call(Method::PATCH, &format!("/api/v1/organizations/{id}"), Some(resources)).await?;
        Ok(())
    }

    /// Registers a client and creates a secret for it.
    pub async fn client(&self, name: &str, capabilities: &[&str]) -> Result<Secret> {
        Ok(self.register(name, capabilities, &[]).await?.secret)
    }

    /// Registers an agent for which these others may act, and creates a secret for it.
    pub async fn register(&self, name: &str, capabilities: &[&str], may_act: &[&str]) -> Result<Agent> {
        let body = json!({
            "email": format!("{name}@example.com"), "agentType": "custom", "version": "1.0.0",
            "capabilities": capabilities, "owner": "demonstration", "deploymentEnv": "development",
            "mayAct": may_act,
        });
        let agent = self.call(Method::POST, "/api/v1/agents", Some(body)).await?;
        let id = agent["agentId"].as_str().ok_or("no agent")?.to_owned();
        let path = format!("/api/v1/agents/{id}/credentials");
        let credential = self.call(Method::POST, &path, Some(json!({}))).await?;
        let secret = credential["clientSecret"].as_str().ok_or("no secret")?.to_owned();
        Ok(Agent { name: name.to_owned(), secret: Secret { id: id.clone(), secret }, id })
    }

    /// Exchanges a token of this type for one by which the agent acts.
    pub async fn exchange(&self, agent: &Agent, kind: &str, token: &str) -> Result<String> {
        let kind = format!("urn:ietf:params:oauth:token-type:{kind}");
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token_type", &kind),
            ("subject_token", token),
            ("audience", "notes"),
        ];
        self.token(&agent.secret, &form).await
    }

    /// Revokes all tokens of an agent, and returns the call that does so.
    pub async fn kill(&self, agent: &Agent) -> Result<String> {
        self.call(Method::POST, &format!("/api/v1/agents/{}/tokens/revoke", agent.id), None).await?;
        Ok(format!("    POST /api/v1/agents/<{}>/tokens/revoke", agent.name))
    }

    /// Draws the tree of a token: for each token its agent, its scope, and the answer of the API to it.
    pub async fn draw(
        &self,
        token: &str,
        agents: &[Agent],
        notes: &Notes,
        tokens: &[(&str, String)],
    ) -> Result<String> {
        let tree = self.call(Method::GET, &format!("/api/v1/tokens/{}/tree", jti(token)?), None).await?;
        let rows = tree["tokens"].as_array().ok_or("no tokens")?;
        let mut drawn = String::from("alice\n");
        let mut pending: Vec<(&Value, String)> = children(rows, None);
        while let Some((row, line)) = pending.pop() {
            let agent = agents.iter().find(|agent| row["agentId"] == agent.id).ok_or("no agent")?;
            let (_, text) = tokens.iter().find(|(name, _)| *name == agent.name).ok_or("no token")?;
            let status = notes.ask(text).await?.as_u16();
            let scope = row["scope"].as_str().unwrap_or_default();
            writeln!(drawn, "{:<22} GET /notes: {status}   {scope}", line.clone() + &agent.name)?;
            pending.extend(children(rows, Some((row, &line))));
        }
        Ok(drawn)
    }
}

/// Returns the tokens that were exchanged from this one, or the first of the tree, each with the beginning of its line. The
/// last comes first.
fn children<'a>(rows: &'a [Value], parent: Option<(&Value, &str)>) -> Vec<(&'a Value, String)> {
    let own = rows.iter().filter(|row| row.get("parent") == parent.map(|(parent, _)| &parent["jti"]));
    let indent = parent.map_or(String::new(), |(_, line)| line.replace("├─ ", "│  ").replace("└─ ", "   "));
    own.rev()
        .enumerate()
        .map(|(place, row)| (row, indent.clone() + if place == 0 { "└─ " } else { "├─ " }))
        .collect()
}

fn jti(token: &str) -> Result<String> {
    let payload = token.split('.').nth(1).ok_or("no payload")?;
    let payload: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload)?)?;
    Ok(payload["jti"].as_str().ok_or("no ID")?.to_owned())
}
