use reqwest::StatusCode;
use serde_json::{Value, json};
use testing::{Client, TestServer, Wiring};

use crate::scenarios::scenarios;

scenarios!(every_wiring [
    what_a_client_may_do_follows_its_latest_change_at_the_next_token_of_every_instance,
]);

/// A client that has just had a token from every instance.
struct KnownClient {
    server: TestServer,
    admin: String,
    organization: String,
    client: Client,
}

impl KnownClient {
    async fn start(wiring: Wiring) -> Self {
        let server = TestServer::start(wiring).await;
        let admin = server.admin_token().await;
        let organization = server.organization(&admin, json!({})).await;
        let client = server.client(&admin, Some(&organization), &["files:read"]).await;
        let known = Self { server, admin, organization, client };
        known.assert_token(&[], "").await;
        known
    }

    /// Requests two tokens, one from each instance where there are two; `error` is empty if they are issued.
    async fn assert_token(&self, parameters: &[(&str, &str)], error: &str) {
        for _ in 0..2 {
            let answer = self.server.ask_token(&self.client, parameters).await;
            let code = if answer.status == StatusCode::OK { String::new() } else { answer.code() };
            assert_eq!(code, error, "{}", answer.text);
        }
    }

    async fn patch(&self, path: &str, body: Value) {
        let answer = self.server.patch(&self.admin, &format!("/api/v1/{path}"), body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    }

    async fn rotate(&self, grace_seconds: u32) -> String {
        let path = format!("/api/v1/agents/{}/credentials/{}/rotate", self.client.id, self.client.credential);
        let answer = self.server.post(&self.admin, &path, json!({ "graceSeconds": grace_seconds })).await;
        answer.json()["clientSecret"].as_str().expect("a secret").to_owned()
    }
}

async fn what_a_client_may_do_follows_its_latest_change_at_the_next_token_of_every_instance(wiring: Wiring) {
    let mut known = KnownClient::start(wiring).await;
    let agent = format!("agents/{}", known.client.id);
    let organization = format!("organizations/{}", known.organization);

    known.patch(&agent, json!({ "capabilities": ["files:write"] })).await;
    known.assert_token(&[("scope", "files:write")], "").await;
    known.assert_token(&[("scope", "files:read")], "invalid_scope").await;

    known.patch(&organization, json!({ "resources": ["urn:files"] })).await;
    known.assert_token(&[("resource", "urn:files")], "").await;
    known.patch(&organization, json!({ "resources": [] })).await;
    known.assert_token(&[("resource", "urn:files")], "invalid_target").await;

    for path in [&agent, &organization] {
        known.patch(path, json!({ "status": "suspended" })).await;
        known.assert_token(&[], "unauthorized_client").await;
        known.patch(path, json!({ "status": "active" })).await;
        known.assert_token(&[], "").await;
    }

    let old = std::mem::take(&mut known.client.secret);
    let second = known.rotate(0).await;
    for (secret, error) in [(&old, "invalid_client"), (&second, "")] {
        known.client.secret.clone_from(secret);
        known.assert_token(&[], error).await;
    }
    let third = known.rotate(600).await;
    for secret in [&second, &third] {
        known.client.secret.clone_from(secret);
        known.assert_token(&[], "").await;
    }
    known.server.advance(600);
    for (secret, error) in [(&second, "invalid_client"), (&third, "")] {
        known.client.secret.clone_from(secret);
        known.assert_token(&[], error).await;
    }

    known.patch(&organization, json!({ "limits": { "requestsPerMinute": 1 } })).await;
    known.assert_token(&[], "RATE_LIMIT_EXCEEDED").await;
    known.patch(&organization, json!({ "limits": { "requestsPerMinute": null } })).await;
    for _ in 0..2 {
        let answer = known.server.ask_token(&known.client, &[]).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let names = ["x-ratelimit-limit", "x-ratelimit-remaining", "retry-after"];
        assert_eq!(names.map(|name| answer.header(name)), [None; 3], "unlimited");
    }

    let path = format!("/api/v1/{agent}/credentials/{}", known.client.credential);
    assert_eq!(known.server.delete(&known.admin, &path).await.status, StatusCode::NO_CONTENT);
    known.assert_token(&[], "invalid_client").await;
}
