use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::json;
use testing::{Answer, TestServer, Wiring};

use crate::scenarios::scenarios;

scenarios!(every_wiring [
    a_living_token_says_all_that_rfc_7662_names,
    what_is_no_living_token_is_exactly_inactive,
    a_client_may_authenticate_instead_of_bringing_a_token,
    a_client_without_a_token_is_refused_in_oauths_form,
    introspections_are_one_event_a_caller_subject_and_minute,
]);

async fn introspect(server: &TestServer, caller: &str, form: &[(&str, &str)]) -> Answer {
    let request = server.request(Method::POST, "/api/v1/token/introspect").bearer_auth(caller);
    server.send(request.form(form)).await
}

async fn a_living_token_says_all_that_rfc_7662_names(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let client = server.client(&admin, None, &["files:read"]).await;
    let token = server.token(&client, &[]).await;
    let hints = [
        [("token", token.as_str()), ("token_type_hint", "refresh_token")],
        [("token", &token), ("token_type_hint", "x")],
    ];
    for form in hints {
        let answer = introspect(&server, &admin, &form).await;
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let body = answer.json();
        assert_eq!(body["active"], true);
        assert_eq!((&body["sub"], &body["client_id"]), (&json!(client.id), &json!(client.id)));
        assert_eq!((&body["scope"], &body["token_type"]), (&json!("files:read"), &json!("Bearer")));
        for name in ["iss", "aud", "exp", "iat", "jti", "organization_id"] {
            assert!(body.get(name).is_some(), "{name} in {body}");
        }
    }
}

async fn what_is_no_living_token_is_exactly_inactive(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let client = server.client(&admin, None, &["files:read"]).await;
    let token = server.token(&client, &[]).await;
    let parts: Vec<&str> = token.split('.').collect();
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"at+jwt"}"#);
    let forged = [
        "x".to_owned(),
        "a.b.c".to_owned(),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{none}.{}.", parts[1]),
        format!("{none}.{}.{}", parts[1], parts[2]),
        format!("{token}."),
        format!("{token}="),
        format!(" {token}"),
        format!("{}.{}.{}", parts[0], parts[2], parts[1]),
        "x".repeat(500_000),
    ];
    for token in forged {
        let answer = introspect(&server, &admin, &[("token", &token)]).await;
        assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, r#"{"active":false}"#));
    }
    introspect(&server, &admin, &[("token", "")]).await.assert_error(400, "invalid_request");
    introspect(&server, &admin, &[]).await.assert_error(400, "invalid_request");
    introspect(&server, &admin, &[("token", "a"), ("token", "b")]).await.assert_error(400, "invalid_request");
    let unknown_here = [("token", "a"), ("scope", "x"), ("scope", "y")];
    assert_eq!(introspect(&server, &admin, &unknown_here).await.json(), json!({ "active": false }));
    let somebody_else = [("token", "a"), ("client_id", client.id.as_str())];
    introspect(&server, &admin, &somebody_else).await.assert_error(400, "invalid_request");
}

async fn a_client_may_authenticate_instead_of_bringing_a_token(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let reader = server.client(&admin, None, &["tokens:read"]).await;
    let other = server.client(&admin, None, &["files:read"]).await;
    let token = server.token(&other, &[]).await;
    let request = || server.request(Method::POST, "/api/v1/token/introspect");
    let by_basic = request().basic_auth(&reader.id, Some(&reader.secret)).form(&[("token", &token)]);
    assert_eq!(server.send(by_basic).await.json()["active"], true);
    let form = [("token", &token), ("client_id", &reader.id), ("client_secret", &reader.secret)];
    let form = form.map(|(name, value)| (name, value.as_str()));
    assert_eq!(server.send(request().form(&form)).await.json()["active"], true);
    server.send(request().bearer_auth(&admin).form(&form)).await.assert_error(400, "invalid_request");

    let wrong = request().basic_auth(&reader.id, Some("x")).form(&[("token", &token)]);
    let answer = server.send(wrong).await;
    answer.assert_error(401, "invalid_client");
    assert!(answer.header("www-authenticate").is_some_and(|value| value.starts_with("Basic ")));
    let without_scope = request().basic_auth(&other.id, Some(&other.secret)).form(&[("token", &token)]);
    server.send(without_scope).await.assert_error(403, "FORBIDDEN");
}

/// OAuth libraries read `error` and `error_description`, and one that sent no token is asked for none.
async fn a_client_without_a_token_is_refused_in_oauths_form(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let limits = json!({ "limits": { "requestsPerMinute": 2 } });
    let organization = server.organization(&admin, limits).await;
    for path in ["/api/v1/token/introspect", "/api/v1/token/revoke"] {
        let request = || server.request(Method::POST, path);
        let refused = async |request: RequestBuilder, status: u16, error: &str| {
            let answer = server.send(request).await;
            let body = answer.json();
            assert_eq!((answer.status.as_u16(), &body["error"]), (status, &json!(error)), "{path}: {body}");
            assert!(body["error_description"].is_string(), "{path}: {body}");
            let challenge = answer.header("www-authenticate").unwrap_or_default();
            assert!(!challenge.contains("Bearer"), "{path}: {challenge}");
            assert_eq!(status == 401, challenge.starts_with("Basic "), "{path}: {challenge}");
        };
        let token = [("token", admin.as_str())];
        refused(request().form(&token), 401, "invalid_client").await;
        refused(request().header("authorization", "Digest x").form(&token), 401, "invalid_client").await;
        refused(request().basic_auth("x", Some("y")).form(&token), 401, "invalid_client").await;
        let client = server.client(&admin, None, &["files:read"]).await;
        let authenticated = || request().basic_auth(&client.id, Some(&client.secret));
        refused(authenticated().form(&[("x", "y")]), 400, "invalid_request").await;
        refused(authenticated().form(&token), 403, "insufficient_scope").await;
        let limited = server.client(&admin, Some(&organization), &["files:read"]).await;
        for _ in 0..2 {
            server.send(request().basic_auth(&limited.id, Some(&limited.secret)).form(&token)).await;
        }
        let once_more = request().basic_auth(&limited.id, Some(&limited.secret)).form(&token);
        refused(once_more, 429, "temporarily_unavailable").await;

        let by_token = server.send(request().bearer_auth("x").form(&token)).await;
        by_token.assert_error(401, "UNAUTHORIZED");
        assert_eq!(by_token.header("www-authenticate"), Some("Bearer error=\"invalid_token\""));
    }
}

async fn introspections_are_one_event_a_caller_subject_and_minute(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let client = server.client(&admin, None, &["files:read"]).await;
    let token = server.token(&client, &[]).await;
    for _ in 0..7 {
        introspect(&server, &admin, &[("token", &token)]).await;
    }
    server.advance(60);
    introspect(&server, &admin, &[("token", &token)]).await;
    let events = server.events(&admin, "&action=token.introspected").await;
    let counts: Vec<_> = events.iter().map(|event| event["metadata"]["count"].clone()).collect();
    assert_eq!(counts, [json!(1), json!(7)]);
    assert_eq!(events[0]["resource"], json!({ "type": "agent", "id": client.id }));
}
