use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testing::{Client, TestServer, Wiring, new_agent};

use crate::scenarios::scenarios;

scenarios!(every_wiring [
    every_change_leaves_its_event_with_who_what_and_whence,
    an_event_names_the_trace_of_its_request,
    failures_under_a_clients_name_are_seen_by_its_organization_and_do_not_flood,
    cursors_show_each_event_once_and_serve_no_one_else,
    filters_are_read_strictly_and_hold,
    an_event_is_shown_for_as_long_as_the_plan_says,
]);

fn actions(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["action"].as_str().expect("a name")).collect()
}

async fn every_change_leaves_its_event_with_who_what_and_whence(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let client = server.client(&admin, None, &["files:read"]).await;
    let path = format!("/api/v1/agents/{}", client.id);
    let credential = format!("{path}/credentials/{}", client.credential);
    let token = server.token(&client, &[]).await;
    server.is_active(&token).await;
    server.patch(&admin, &path, json!({ "version": "2.0.0", "status": "suspended" })).await;
    server.patch(&admin, &path, json!({ "status": "active" })).await;
    server.post(&admin, &format!("{credential}/rotate"), json!({})).await;
    server.post(&admin, &format!("{path}/tokens/revoke"), json!({})).await;
    server.delete(&admin, &credential).await;
    server.delete(&admin, &path).await;
    let events = server.events(&admin, "").await;
    for action in [
        "agent.created",
        "agent.updated",
        "agent.suspended",
        "agent.reactivated",
        "agent.decommissioned",
        "credential.generated",
        "credential.rotated",
        "credential.revoked",
        "token.issued",
        "token.introspected",
        "token.revoked",
        "organization.created",
    ] {
        assert!(actions(&events).contains(&action), "{action}");
    }
    let created = events
        .iter()
        .find(|event| event["action"] == "agent.created" && event["resource"]["id"] == client.id.as_str());
    let created = created.expect("an event");
    assert_eq!(created["agentId"], server.administrator().id);
    assert_eq!((&created["outcome"], &created["ipAddress"]), (&json!("success"), &json!("127.0.0.1")));
    let by_id =
        server.get(&admin, &format!("/api/v1/audit/{}", created["eventId"].as_str().expect("an id"))).await;
    assert_eq!(by_id.json(), *created);
    server.get(&admin, "/api/v1/audit/x").await.assert_error(404, "AUDIT_EVENT_NOT_FOUND");
}

async fn an_event_names_the_trace_of_its_request(wiring: Wiring) {
    const TRACE: &str = "0bf92f3577b34da6a3ce929d0e0e4736";
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let client = server.client(&admin, None, &["files:read"]).await;
    let path = format!("/api/v1/agents/{}", client.id);
    let traceparent = format!("00-{TRACE}-00f067aa0ba902b7-00");
    let ask = async |method: Method, path: &str, form: &[(&str, &str)]| {
        let mut request =
            server.request(method, path).bearer_auth(&admin).header("traceparent", &traceparent);
        if !form.is_empty() {
            request = request.form(form);
        }
        assert!(server.send(request).await.status.is_success(), "{path}");
    };
    let token = server.token(&client, &[]).await;
    let other = server.token(&client, &[]).await;
    for (secret, is_known) in [(client.secret.as_str(), true), ("unknown", false)] {
        let request = server.request(Method::POST, "/api/v1/token").basic_auth(&client.id, Some(secret));
        let request = request.header("traceparent", &traceparent);
        let answer = server.send(request.form(&[("grant_type", "client_credentials")])).await;
        assert_eq!(answer.status.is_success(), is_known);
    }
    let registration = server.request(Method::POST, "/api/v1/agents").bearer_auth(&admin);
    let registration = registration.header("traceparent", &traceparent).json(&new_agent(&["files:read"]));
    assert!(server.send(registration).await.status.is_success());
    ask(Method::POST, "/api/v1/token/introspect", &[("token", &token)]).await;
    ask(Method::POST, "/api/v1/token/revoke", &[("token", &token)]).await;
    ask(Method::DELETE, &path, &[]).await;
    server.is_active(&other).await;

    let events = server.events(&admin, "").await;
    let traced: Vec<Value> = events.iter().filter(|event| event["traceId"] == TRACE).cloned().collect();
    let mut traced = actions(&traced);
    traced.sort_unstable();
    let expected = ["agent.created", "agent.decommissioned", "auth.failed", "token.issued", "token.revoked"];
    assert_eq!(traced, expected);
    // An introspection is counted with others, whose event stands for no single request.
    let untraced = events.iter().filter(|event| event.get("traceId").is_none()).count();
    assert_eq!(untraced + expected.len(), events.len(), "no other event names a trace");
}

async fn failures_under_a_clients_name_are_seen_by_its_organization_and_do_not_flood(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let client = server.client(&admin, None, &["files:read"]).await;
    let stranger = Client { secret: "x".into(), ..client.clone() };
    for _ in 0..20 {
        server.ask_token(&stranger, &[]).await.assert_error(401, "invalid_client");
    }
    let query = format!("&action=auth.failed&resourceId={}", client.id);
    let events = server.events(&admin, &query).await;
    assert_eq!(events.len(), 6, "five in full, and one for the rest");
    let counts: Vec<_> = events.iter().filter_map(|event| event["metadata"]["count"].as_u64()).collect();
    assert_eq!(counts, [15]);
    for event in &events {
        assert_eq!((&event["agentId"], &event["outcome"]), (&json!(null), &json!("failure")));
        assert_ne!(event["organizationId"], json!(null));
        assert_eq!(event["metadata"]["method"], "client_secret");
    }
    server.advance(60);
    server.ask_token(&stranger, &[]).await.assert_error(401, "invalid_client");
    assert_eq!(server.events(&admin, &query).await.len(), 7, "another minute");

    server.get("x", "/api/v1/agents").await.assert_error(401, "UNAUTHORIZED");
    let stray = server.events(&admin, "&action=auth.failed").await;
    assert!(stray.iter().any(|event| event["organizationId"].is_null()), "seen with admin:orgs");

    let token = server.token(&client, &[]).await;
    server.post(&admin, &format!("/api/v1/agents/{}/tokens/revoke", client.id), json!({})).await;
    server.get(&token, "/api/v1/agents").await.assert_error(401, "UNAUTHORIZED");
    let dead = server.events(&admin, &query).await;
    assert_eq!(
        dead[0]["metadata"]["method"], "bearer",
        "an inactive token of ours is recorded under its agent"
    );
}

async fn cursors_show_each_event_once_and_serve_no_one_else(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let reader = server.client(&admin, None, &["audit:read"]).await;
    let reader = server.token(&reader, &[]).await;
    for _ in 0..10 {
        server.agent(&admin, None, &["files:read"]).await;
    }
    let expected = server.events(&admin, "").await;
    let all = server.get(&admin, &format!("/api/v1/audit?limit={}", expected.len())).await.json();
    assert_eq!(
        (&all["data"], &all["nextCursor"]),
        (&json!(expected), &json!(null)),
        "it is full, and the last"
    );
    let mut seen: Vec<Value> = Vec::new();
    let mut cursor = String::new();
    let mut first_cursor = None;
    loop {
        let page = server.get(&admin, &format!("/api/v1/audit?limit=3{cursor}")).await.json();
        seen.extend(page["data"].as_array().expect("a list").clone());
        server.agent(&admin, None, &["files:read"]).await;
        let Some(next) = page["nextCursor"].as_str() else { break };
        first_cursor.get_or_insert(next.to_owned());
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, expected);

    let cursor = first_cursor.expect("several pages");
    for (token, query) in [
        (&reader, format!("cursor={cursor}")),
        (&admin, format!("action=agent.created&cursor={cursor}")),
        (&admin, format!("cursor={}", &cursor[1..])),
        (&admin, format!("cursor={cursor}A")),
        (&admin, "cursor=".to_owned()),
        (&admin, format!("cursor={}", "A".repeat(5_000))),
        (&admin, "cursor=JyBPUiAxPTEgLS0".to_owned()),
    ] {
        assert_eq!(
            server.get(token, &format!("/api/v1/audit?{query}")).await.faults(),
            ["cursor"],
            "{query}"
        );
    }
    let again = server.get(&admin, &format!("/api/v1/audit?limit=200&cursor={cursor}")).await;
    assert_eq!(again.status, StatusCode::OK, "a page may be of another size");
}

async fn filters_are_read_strictly_and_hold(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    for (query, faults) in [
        ("limit=0", vec!["limit"]),
        ("limit=201", vec!["limit"]),
        ("action=x&outcome=y&resourceType=z", vec!["action", "outcome", "resourceType"]),
        ("agentId=x&resourceId=y", vec!["agentId", "resourceId"]),
        ("fromDate=2026-01-02T00:00:00Z&toDate=2026-01-01T00:00:00Z", vec!["fromDate"]),
        (
            "fromDate=2026-01-02T00:00:00Z&toDate=2026-01-01T00:00:00Z&limit=0&x=1",
            vec!["fromDate", "limit", "x"],
        ),
        ("fromDate=2026-01-02T00:00:00", vec!["fromDate"]),
        ("toDate=300000-01-01T00:00:00Z", vec!["toDate"]),
    ] {
        let mut found = server.get(&admin, &format!("/api/v1/audit?{query}")).await.faults();
        found.sort();
        assert_eq!(found, faults, "{query}");
    }
    server.advance(60);
    server.agent(&admin, None, &["files:read"]).await;
    let from = "&fromDate=2026-01-15T12:01:00Z";
    assert_eq!(actions(&server.events(&admin, from).await), ["agent.created"]);
    let empty = "&fromDate=2026-01-15T12:01:00Z&toDate=2026-01-15T12:01:00Z";
    assert!(server.events(&admin, empty).await.is_empty(), "the end is not within");
}

async fn an_event_is_shown_for_as_long_as_the_plan_says(wiring: Wiring) {
    let server = TestServer::start_with(wiring, &["--token-ttl-seconds", "86400"]).await;
    let admin = server.admin_token().await;
    let organization = server.organization(&admin, json!({ "limits": { "auditRetentionDays": 1 } })).await;
    let query = format!("&organizationId={organization}");
    let event = server.events(&admin, &query).await[0].clone();
    let path = format!("/api/v1/audit/{}", event["eventId"].as_str().expect("an id"));
    server.advance(86_400 - 1);
    assert_eq!(server.get(&admin, &path).await.status, StatusCode::OK);
    server.advance(2);
    let admin = server.admin_token().await;
    assert!(server.events(&admin, &query).await.is_empty());
    server.get(&admin, &path).await.assert_error(404, "AUDIT_EVENT_NOT_FOUND");
}
