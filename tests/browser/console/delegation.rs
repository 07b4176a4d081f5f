//! The picture of a delegation tree, and revocation at one of its nodes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use serde_json::{Value, json};
use testing::{Client, ProofKey};

use super::{Console, bounded, text};

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// Exchanges a token, and returns the new one.
pub async fn exchange(console: &Console, actor: &Client, kind: &str, token: &str) -> String {
    let form = [("grant_type", EXCHANGE), ("subject_token_type", kind), ("subject_token", token)];
    let request = console.api.request(Method::POST, "/api/v1/token").form(&form);
    let answer = console.api.send(request.basic_auth(&actor.id, Some(&actor.secret))).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    text(&answer.json(), "access_token")
}

/// Returns the claims of a token.
fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).expect("a payload");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
}

/// Returns the ID of a token.
pub fn jti(token: &str) -> String {
    text(&claims(token), "jti")
}

/// Returns a client for which every agent may act.
pub async fn subject(console: &Console) -> Client {
    let client = console.api.client(&console.admin, None, &["files:read", "files:write"]).await;
    let body = json!({ "mayAct": ["*"], "redelegation": true });
    let path = format!("/api/v1/agents/{}", client.id);
    assert_eq!(console.api.patch(&console.admin, &path, body).await.status, 200);
    client
}

/// Returns a token of a person with this `sub`, and lets every agent act for that person.
pub async fn token_of_person(console: &Console, sub: &str) -> String {
    let key = ProofKey::es256();
    let issuer = format!("https://people-{}.example.com", testing::unique());
    let mut jwk = key.header()["jwk"].clone();
    jwk["kid"] = json!("1");
    let people = json!({ "audiences": ["people"], "mayAct": ["*"], "scopes": ["files:read"], "maxAgeSeconds": 3600, "redelegation": true });
    let body = json!({ "name": "People", "issuer": issuer, "keys": { "type": "jwks", "jwks": { "keys": [jwk] } }, "subjects": people });
    let answer = console.api.post(&console.admin, "/api/v1/issuers", body).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let now = claims(&console.admin)["iat"].as_i64().expect("a time");
    let claims = json!({ "iss": issuer, "sub": sub, "aud": "people", "iat": now, "exp": now + 3_000 });
    key.sign(&json!({ "alg": "ES256", "kid": "1" }), &claims)
}

#[tokio::test]
async fn a_tree_is_drawn_and_a_branch_of_it_is_revoked() {
    bounded(async {
        let console = Console::signed_in().await;
        let (boss, worker, helper) =
            (subject(&console).await, subject(&console).await, subject(&console).await);
        let first = console.api.token(&boss, &[]).await;
        let second = exchange(&console, &worker, ACCESS_TOKEN, &first).await;
        let third = exchange(&console, &helper, ACCESS_TOKEN, &second).await;
        let other = exchange(&console, &helper, ACCESS_TOKEN, &first).await;

        console.show("#/tokens", "Delegation").await;
        console.fill("Token ID, or access token", "no token").await;
        console.press("Show the tree").await;
        console.sees("Enter the ID of a token (jti)").await;
        console.fill("Token ID, or access token", &third).await;
        console.press("Show the tree").await;
        console.heading("Delegation tree").await;
        console.sees("4 of 4 active").await;
        let edges = "return document.querySelectorAll('.picture path.edge').length === 3";
        console.browser.until(edges, &[]).await;

        let node = |token: &str| format!("//*[@data-jti = '{}']", jti(token));
        let chosen = "document.querySelector(arguments[0]).focus()";
        console.browser.run(chosen, vec![format!("[data-jti='{}']", jti(&second)).into()]).await;
        console.browser.keys(super::ENTER).await;
        console.browser.find("//dialog").await;
        console.sees("files:read files:write").await;
        console.press("Revoke").await;
        let email = text(&console.get(&format!("/api/v1/agents/{}", worker.id)).await, "email");
        console.browser.find("//dialog//h2[. = 'Revoke the token']").await;
        console.confirm("e-mail address", &email, "Revoke").await;
        console.sees("2 of 4 active").await;
        for (token, is_active) in [(&first, true), (&second, false), (&third, false), (&other, true)] {
            assert_eq!(console.api.is_active(token).await, is_active);
            let state = if is_active { "node active" } else { "node ended" };
            console.browser.find(&format!("{}[starts-with(@class, '{state}')]", node(token))).await;
        }

        let person = token_of_person(&console, "alice").await;
        let for_person = exchange(&console, &worker, JWT, &person).await;
        console.show(&format!("#/tokens/{}", jti(&for_person)), "Delegation tree").await;
        console.sees("a person: alice").await;
        console.show("#/tokens", "Delegation").await;
        console.sees("token.exchanged").await;
        console.show(&format!("#/tokens/{}", testing::UNKNOWN_ID), "Delegation tree").await;
        console.browser.find("//*[@role = 'alert']").await;
        console.close(&["404"]).await;
    })
    .await;
}
