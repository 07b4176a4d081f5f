//! Access to another tenant's resources, and attempts to gain scopes.

use serde_json::{Value, json};
use testing::{MANAGEMENT_SCOPES, UNKNOWN_ID, new_agent};

use crate::fixtures::Fixtures;

/// Every call that names an agent, credential, event or organization of another tenant.
#[tokio::test]
async fn what_is_foreign_answers_as_what_is_missing() {
    let fixtures = Fixtures::on_stores().await;
    let (mine, theirs) = (fixtures.organization(json!({})).await, fixtures.organization(json!({})).await);
    let scopes = ["agents:read", "agents:write", "credentials:write", "tokens:read", "audit:read"];
    let me = fixtures.client(&scopes, Some(&mine)).await;
    let token = fixtures.token_of(&me, &scopes.join(" ")).await;
    let them = fixtures.client(&["files:read"], Some(&theirs)).await;
    let events = fixtures.call("GET", &format!("/audit?organizationId={theirs}"), "").await.json();
    let event = events["data"][0]["eventId"].as_str().expect("an event").to_owned();
    let calls = [
        ("GET", "/agents/AGENT", ""),
        ("PATCH", "/agents/AGENT", r#"{"version":"2.0.0"}"#),
        ("PATCH", "/agents/AGENT", r#"{"version":"nonsense"}"#),
        ("DELETE", "/agents/AGENT", ""),
        ("POST", "/agents/AGENT/tokens/revoke", ""),
        ("GET", "/agents/AGENT/credentials", ""),
        ("POST", "/agents/AGENT/credentials", "{}"),
        ("POST", "/agents/AGENT/credentials", r#"{"type":"public_key"}"#),
        ("POST", "/agents/AGENT/credentials/CREDENTIAL/rotate", "{}"),
        ("DELETE", "/agents/AGENT/credentials/CREDENTIAL", ""),
        ("GET", "/audit/EVENT", ""),
        ("GET", "/audit?agentId=AGENT", ""),
        ("GET", "/audit?resourceId=AGENT", ""),
        ("GET", "/audit?organizationId=ORGANIZATION", ""),
        ("GET", "/agents?organizationId=ORGANIZATION", ""),
        ("GET", "/usage?clientId=AGENT", ""),
        ("GET", "/organizations/ORGANIZATION", ""),
        ("PATCH", "/organizations/ORGANIZATION", r#"{"name":"Mine"}"#),
    ];
    let mut wrong = Vec::new();
    for (method, path, body) in calls {
        let ask = async |agent: &str, credential: &str, event: &str, organization: &str| {
            let path = path
                .replace("AGENT", agent)
                .replace("CREDENTIAL", credential)
                .replace("EVENT", event)
                .replace("ORGANIZATION", organization);
            let answer = fixtures.call_as(&token, method, &path, body).await;
            let mut said = answer.json();
            if let Some(said) = said.as_object_mut() {
                said.remove("requestId");
            }
            (answer.status, said, answer.header("www-authenticate").map(str::to_owned))
        };
        let foreign = ask(&them.id, &them.credential, &event, &theirs).await;
        let missing = ask(UNKNOWN_ID, UNKNOWN_ID, UNKNOWN_ID, UNKNOWN_ID).await;
        if foreign != missing {
            wrong.push(format!("{method} {path}: {foreign:?} and {missing:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(fixtures.ask_token(&them, "").await.status, 200, "nothing was done to them");
}

/// Every way to try to gain scopes that the caller does not have.
#[tokio::test]
async fn nobody_makes_or_takes_an_agent_with_more_scopes_than_theirs() {
    let fixtures = Fixtures::in_memory().await;
    let organization = fixtures.organization(json!({})).await;
    let writer = fixtures.client(&["agents:write", "credentials:write"], Some(&organization)).await;
    let token = fixtures.token_of(&writer, "agents:write").await;
    let strong = fixtures.client(&MANAGEMENT_SCOPES[..5], Some(&organization)).await;
    let weak = fixtures.client(&["files:read"], Some(&organization)).await;
    let credential = format!("/agents/{}/credentials/{}", strong.id, strong.credential);
    let key = json!({ "type": "public_key", "publicKey":
        { "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" } });
    let body = |value: Value| value.to_string();
    let mut elsewhere = new_agent(&["files:read"]);
    elsewhere["organizationId"] = json!(UNKNOWN_ID);
    let tries = [
        ("POST", "/agents".to_owned(), body(new_agent(&["agents:read"]))),
        ("POST", "/agents".to_owned(), body(new_agent(&["admin:orgs"]))),
        ("POST", "/agents".to_owned(), body(elsewhere)),
        ("PATCH", format!("/agents/{}", weak.id), body(json!({ "capabilities": ["agents:read"] }))),
        (
            "PATCH",
            format!("/agents/{}", writer.id),
            body(json!({ "capabilities": ["agents:write", "admin:orgs"] })),
        ),
        ("PATCH", format!("/agents/{}", writer.id), body(json!({ "version": "2.0.0" }))),
        ("PATCH", format!("/agents/{}", strong.id), body(json!({ "version": "2.0.0" }))),
        ("PATCH", format!("/agents/{}", strong.id), body(json!({ "capabilities": ["files:read"] }))),
        ("DELETE", format!("/agents/{}", strong.id), String::new()),
        ("POST", format!("/agents/{}/tokens/revoke", strong.id), String::new()),
        ("POST", format!("/agents/{}/credentials", strong.id), "{}".to_owned()),
        ("POST", format!("/agents/{}/credentials", strong.id), body(key)),
        ("POST", format!("{credential}/rotate"), "{}".to_owned()),
        ("DELETE", credential, String::new()),
        (
            "POST",
            "/organizations".to_owned(),
            body(json!({ "name": "Mine", "slug": "mine", "plan": "free" })),
        ),
        ("PATCH", format!("/organizations/{organization}"), body(json!({ "plan": "enterprise" }))),
        ("GET", "/organizations".to_owned(), String::new()),
        ("GET", "/audit".to_owned(), String::new()),
        ("GET", "/agents".to_owned(), String::new()),
    ];
    let mut wrong = Vec::new();
    for (method, path, body) in tries {
        let answer = fixtures.call_as(&token, method, &path, &body).await;
        if answer.status != 403 {
            wrong.push(format!("{method} {path} {body}: {} {}", answer.status, answer.body));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(fixtures.ask_token(&strong, "").await.status, 200, "nothing was done to it");
}
