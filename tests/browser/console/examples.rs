//! Records for every view to show.

use serde_json::json;
use testing::{Client, trusted_issuer};

use super::delegation::{exchange, jti};
use super::{Console, text};

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// Every view of the console, as a name, its place and its heading.
pub type Views = Vec<(&'static str, String, String)>;

/// Registers an agent of this name, and creates a secret for it.
async fn agent(console: &Console, name: &str, kind: &str) -> Client {
    let body = json!({
        "email": format!("{name}@agents.example.com"), "agentType": kind, "version": "1.4.0", "owner": "platform-team",
        "capabilities": ["notes:read", "notes:write"], "deploymentEnv": "production", "mayAct": ["*"], "redelegation": true,
    });
    let answer = console.api.post(&console.admin, "/api/v1/agents", body).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    console.api.secret(&console.admin, &text(&answer.json(), "agentId")).await
}

/// Makes records, and returns the views that show them.
pub async fn views(console: &Console) -> Views {
    let (api, admin) = (&console.api, &console.admin);
    let names =
        ["invoice-extractor", "mail-classifier", "ticket-router", "contract-summarizer", "fraud-monitor"];
    for (name, kind) in names.into_iter().zip(["extractor", "classifier", "router", "summarizer", "monitor"])
    {
        agent(console, name, kind).await;
    }
    let boss = agent(console, "orchestrator", "orchestrator").await;
    let researcher = agent(console, "researcher", "extractor").await;
    let writer = agent(console, "writer", "summarizer").await;
    let reader = agent(console, "reader", "extractor").await;
    let publisher = agent(console, "publisher", "custom").await;
    let first = api.token(&boss, &[]).await;
    let second = exchange(console, &researcher, ACCESS_TOKEN, &first).await;
    let third = exchange(console, &writer, ACCESS_TOKEN, &first).await;
    exchange(console, &reader, ACCESS_TOKEN, &second).await;
    for token in [&second, &third] {
        exchange(console, &publisher, ACCESS_TOKEN, token).await;
    }
    let revoke = format!("/api/v1/tokens/{}/revoke", jti(&third));
    assert_eq!(api.post(admin, &revoke, json!({})).await.status, 204);
    let wrong = Client { secret: "wrong".to_owned(), ..boss.clone() };
    assert_eq!(api.ask_token(&wrong, &[]).await.status, 401);
    let suspended = json!({ "status": "suspended" });
    let path = format!("/api/v1/agents/{}", publisher.id);
    assert_eq!(api.patch(admin, &path, suspended).await.status, 200);
    let events = api.get(admin, "/api/v1/audit?limit=1").await.json();
    let expiry = weeks_after(&text(&events["data"][0], "timestamp"));
    let credentials = format!("/api/v1/agents/{}/credentials", boss.id);
    let created = api.post(admin, &credentials, json!({ "expiresAt": expiry })).await;
    assert_eq!(created.status, 201, "{}", created.text);

    let mine = api.get(admin, "/api/v1/usage").await.json();
    let limits =
        json!({ "limits": { "requestsPerMinute": null, "maxAgents": 25, "maxTokensPerMonth": 100 } });
    let path = format!("/api/v1/organizations/{}", text(&mine, "organizationId"));
    assert_eq!(api.patch(admin, &path, limits).await.status, 200);
    while console.get("/api/v1/audit?outcome=failure").await["data"] == json!([]) {}
    let organization =
        api.organization(admin, json!({ "name": "Acme Robotics", "limits": { "maxAgents": 50 } })).await;
    let people =
        json!({ "audiences": ["people"], "mayAct": ["*"], "scopes": ["notes:read"], "maxAgeSeconds": 3600 });
    let mut issuer = trusted_issuer();
    issuer["name"] = json!("GitHub Actions");
    issuer["subjects"] = people;
    let issuer = api.post(admin, "/api/v1/issuers", issuer).await.json();
    let view = |name, place: String, heading: &str| (name, place, heading.to_owned());
    vec![
        view("overview", "#/".to_owned(), "Overview"),
        view("agents", "#/agents".to_owned(), "Agents"),
        view("register", "#/agents/new".to_owned(), "Register an agent"),
        view("agent", format!("#/agents/{}", boss.id), "orchestrator@agents.example.com"),
        view("audit", "#/audit".to_owned(), "Audit log"),
        view("live", "#/audit?follow=on".to_owned(), "Audit log"),
        view("tokens", "#/tokens".to_owned(), "Delegation"),
        view("delegation", format!("#/tokens/{}", jti(&first)), "Delegation tree"),
        view("issuers", "#/issuers".to_owned(), "Trusted issuers"),
        view("issuer", format!("#/issuers/{}", text(&issuer, "issuerId")), "GitHub Actions"),
        view("organizations", "#/organizations".to_owned(), "Organizations"),
        view("organization", format!("#/organizations/{organization}"), "Acme Robotics"),
        view("usage", "#/usage".to_owned(), "Usage"),
        view("unknown", "#/nothing".to_owned(), "There is nothing here"),
    ]
}

/// Returns a time about one to three weeks after this one.
fn weeks_after(time: &str) -> String {
    let (year, rest) = time.split_once('-').expect("a date");
    let (month, rest) = rest.split_once('-').expect("a date");
    let (year, month): (u32, u32) = (year.parse().expect("a year"), month.parse().expect("a month"));
    let day: u32 = rest[..2].parse().expect("a day");
    match (day <= 14, month) {
        (true, _) => format!("{year}-{month:02}-28T12:00:00Z"),
        (false, 12) => format!("{}-01-05T12:00:00Z", year + 1),
        (false, _) => format!("{year}-{:02}-05T12:00:00Z", month + 1),
    }
}

impl Console {
    /// Goes to a view, and waits until it has loaded.
    pub async fn visit(&self, (_, place, heading): &(&'static str, String, String)) {
        self.show(place, heading).await;
        self.browser.gone("//*[@class = 'loading']").await;
        self.browser.gone("//*[@role = 'alert']").await;
    }
}
