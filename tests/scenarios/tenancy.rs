//! Resources of another organization are answered exactly like missing ones, and no caller gains scopes.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testing::{TestServer, Wiring, new_agent};

use crate::scenarios::scenarios;

scenarios!(every_wiring [
    a_foreign_thing_answers_as_a_missing_and_as_a_malformed_one,
    only_admin_orgs_places_an_agent_elsewhere,
    nobody_makes_or_touches_an_agent_with_more_scopes_than_its_own,
    a_narrow_token_does_not_widen_its_own_agent,
]);

const UNKNOWN_ID: &str = "01920000-0000-7000-8000-000000000000";

/// Returns the status and body of an answer, without its request ID.
async fn bytes(
    server: &TestServer,
    token: &str,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> (u16, Value) {
    let request = server.request(method, path).bearer_auth(token);
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    let answer = server.send(request).await;
    let mut body = answer.json();
    body.as_object_mut().expect("an error").remove("requestId").expect("its id");
    (answer.status.as_u16(), body)
}

async fn a_foreign_thing_answers_as_a_missing_and_as_a_malformed_one(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let organization = server.organization(&admin, json!({})).await;
    let rights = ["agents:read", "agents:write", "audit:read", "tokens:read", "credentials:write"];
    let caller = server.client(&admin, Some(&organization), &rights).await;
    let caller = server.token(&caller, &[]).await;
    let foreign = server.client(&admin, None, &["files:read"]).await;
    let event = server.events(&admin, "").await[0]["eventId"].as_str().expect("an id").to_owned();
    // A client resolves `%2e%2e` alone as a path, before it sends it.
    let malformed =
        ["x", "01920000-0000-7000-8000-00000000000A", "%00", "%ff", "a%2fb", "%2e%2e%2fb", "1;x=1"];

    let agent = |id: &str, rest: &str| format!("/api/v1/agents/{id}{rest}");
    let calls: [(Method, &str, Option<Value>); 8] = [
        (Method::GET, "", None),
        (Method::PATCH, "", Some(json!({ "version": "2.0.0" }))),
        (Method::DELETE, "", None),
        (Method::GET, "/credentials", None),
        (Method::POST, "/credentials", Some(json!({}))),
        (Method::POST, "/credentials/x/rotate", Some(json!({}))),
        (Method::DELETE, "/credentials/x", None),
        (Method::POST, "/tokens/revoke", None),
    ];
    for (method, rest, body) in calls {
        let missing = bytes(&server, &caller, method.clone(), &agent(UNKNOWN_ID, rest), body.clone()).await;
        assert_eq!((missing.0, &missing.1["code"]), (404, &json!("AGENT_NOT_FOUND")), "{method} {rest}");
        let theirs = bytes(&server, &caller, method.clone(), &agent(&foreign.id, rest), body.clone()).await;
        assert_eq!(theirs, missing, "{method} {rest}");
        for id in malformed {
            let wrong = bytes(&server, &caller, method.clone(), &agent(id, rest), body.clone()).await;
            assert_eq!(wrong.0, 404, "{method} {id}{rest}");
        }
    }
    for id in [event.as_str(), UNKNOWN_ID, "x"] {
        let answer = server.get(&caller, &format!("/api/v1/audit/{id}")).await;
        answer.assert_error(404, "AUDIT_EVENT_NOT_FOUND");
    }
    let token = server.token(&foreign, &[]).await;
    let request = server.request(Method::POST, "/api/v1/token/introspect").bearer_auth(&caller);
    let answer = server.send(request.form(&[("token", &token)])).await;
    assert_eq!(answer.json(), json!({ "active": false }));
    assert!(server.is_active(&token).await);
    let default =
        server.get(&admin, &format!("/api/v1/agents/{}", foreign.id)).await.json()["organizationId"].clone();
    let default = default.as_str().expect("an id");
    for list in ["agents", "audit"] {
        let theirs = server.get(&caller, &format!("/api/v1/{list}?organizationId={default}")).await.json();
        let nobodys =
            server.get(&caller, &format!("/api/v1/{list}?organizationId={UNKNOWN_ID}")).await.json();
        assert_eq!((&theirs["data"], &theirs), (&json!([]), &nobodys), "{list}");
        let own = server.get(&caller, &format!("/api/v1/{list}")).await.json();
        let own = own["data"].as_array().expect("a list").clone();
        assert!(
            !own.is_empty() && own.iter().all(|one| one["organizationId"] == organization.as_str()),
            "{list}"
        );
    }
}

async fn only_admin_orgs_places_an_agent_elsewhere(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let organization = server.organization(&admin, json!({})).await;
    let writer = server.client(&admin, Some(&organization), &["agents:write"]).await;
    let writer = server.token(&writer, &[]).await;
    let mut body = new_agent(&["files:read"]);
    body["organizationId"] = json!(organization);
    let answer = server.post(&writer, "/api/v1/agents", body.clone()).await;
    answer.assert_error(403, "FORBIDDEN");
    assert_eq!(answer.json()["details"]["missingScopes"], json!(["admin:orgs"]));
    body["organizationId"] = json!(UNKNOWN_ID);
    server.post(&admin, "/api/v1/agents", body).await.assert_error(404, "ORGANIZATION_NOT_FOUND");
    let own = server.post(&writer, "/api/v1/agents", new_agent(&["files:read"])).await.json();
    assert_eq!(own["organizationId"], organization.as_str());
}

async fn nobody_makes_or_touches_an_agent_with_more_scopes_than_its_own(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let writer = server.client(&admin, None, &["agents:write", "agents:read"]).await;
    let writer = server.token(&writer, &[]).await;
    let strong = server.client(&admin, None, &["agents:write", "audit:read"]).await;
    let weak = server.client(&admin, None, &["files:read"]).await;
    let path = format!("/api/v1/agents/{}", strong.id);
    let refused = |answer: testing::Answer| {
        answer.assert_error(403, "FORBIDDEN");
        assert_eq!(answer.json()["details"]["missingScopes"], json!(["audit:read"]));
        assert_eq!(answer.header("www-authenticate"), Some("Bearer error=\"insufficient_scope\""));
    };
    let mut body = new_agent(&["files:read"]);
    body["capabilities"] = json!(["audit:read"]);
    refused(server.post(&writer, "/api/v1/agents", body).await);
    let raise = json!({ "capabilities": ["files:read", "audit:read"] });
    refused(server.patch(&writer, &format!("/api/v1/agents/{}", weak.id), raise).await);
    refused(server.patch(&writer, &path, json!({ "capabilities": ["files:read"] })).await);
    refused(server.patch(&writer, &path, json!({ "status": "suspended" })).await);
    refused(server.delete(&writer, &path).await);
    refused(server.post(&writer, &format!("{path}/credentials"), json!({})).await);
    let credential = format!("{path}/credentials/{}", strong.credential);
    refused(server.post(&writer, &format!("{credential}/rotate"), json!({})).await);
    refused(server.delete(&writer, &credential).await);
    refused(server.post(&writer, &format!("{path}/tokens/revoke"), json!({})).await);
    assert_eq!(server.get(&admin, &path).await.json()["status"], "active");
    let gone = server.client(&admin, None, &["audit:read"]).await;
    server.delete(&admin, &format!("/api/v1/agents/{}", gone.id)).await;
    refused(server.delete(&writer, &format!("/api/v1/agents/{}", gone.id)).await);
    server.token(&strong, &[]).await;
}

async fn a_narrow_token_does_not_widen_its_own_agent(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let client = server.client(&admin, None, &["credentials:write", "audit:read", "files:read"]).await;
    let narrow = server.token(&client, &[("scope", "credentials:write")]).await;
    let path = format!("/api/v1/agents/{}/credentials", client.id);
    let answer = server.post(&narrow, &path, json!({})).await;
    answer.assert_error(403, "FORBIDDEN");
    assert_eq!(answer.json()["details"]["missingScopes"], json!(["audit:read"]));
    let wide = server.token(&client, &[("scope", "credentials:write audit:read")]).await;
    assert_eq!(server.post(&wide, &path, json!({})).await.status, StatusCode::CREATED);
    let other = server.agent(&admin, None, &["files:read"]).await;
    let answer = server.post(&wide, &format!("/api/v1/agents/{other}/credentials"), json!({})).await;
    answer.assert_error(403, "FORBIDDEN");
}
