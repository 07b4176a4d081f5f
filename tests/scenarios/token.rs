use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testing::{Answer, Client, TestServer, Wiring, new_agent};

use crate::scenarios::scenarios;

scenarios!(every_wiring [
    a_token_is_what_rfc_6749_says_and_is_never_stored,
    a_client_proves_itself_by_basic_or_in_the_body_and_by_one_of_them,
    whoever_fails_to_prove_itself_gets_the_same_bytes,
    an_authorization_header_that_cannot_be_read_is_never_more_than_a_401,
    a_scope_is_granted_only_from_the_capabilities_and_by_the_letter,
    a_token_for_a_resource_is_for_it_alone_and_carries_no_management_scope,
    a_target_is_a_listed_resource_in_any_spelling_or_a_plain_name,
    an_agent_may_have_a_default_resource,
    a_lost_capability_is_lost_to_tokens_too,
    a_token_works_until_its_very_end,
    the_monthly_quota_is_exact_and_both_kinds_of_client_understand_its_end,
    a_token_from_before_the_start_is_dead_in_memory_whatever_key_signs,
]);
scenarios!(stateless [
    basic_is_form_encoded_inside,
    a_malformed_form_is_an_invalid_request,
]);

async fn form(server: &TestServer, body: &str) -> Answer {
    let request = server
        .request(Method::POST, "/api/v1/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body.to_owned());
    server.send(request).await
}

async fn a_token_is_what_rfc_6749_says_and_is_never_stored(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let answer = server.ask_token(&server.administrator(), &[("scope", "agents:read")]).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        (answer.header("cache-control"), answer.header("pragma")),
        (Some("no-store"), Some("no-cache"))
    );
    let body = answer.json();
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["expires_in"], 3600);
    assert_eq!(body["scope"], "agents:read");
    assert!(body.get("refresh_token").is_none());
    let claims = server.introspect(body["access_token"].as_str().expect("a token")).await;
    assert_eq!(claims["exp"].as_i64().zip(claims["iat"].as_i64()).map(|(exp, iat)| exp - iat), Some(3600));
    assert_eq!((&claims["aud"], &claims["iss"]), (&json!(server.issuer()), &json!(server.issuer())));
}

async fn a_client_proves_itself_by_basic_or_in_the_body_and_by_one_of_them(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let Client { id, secret, .. } = server.administrator();
    let in_body = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
    assert_eq!(form(&server, &in_body).await.status, StatusCode::OK);
    let with = |body: &str| {
        let request = server.request(Method::POST, "/api/v1/token").basic_auth(&id, Some(&secret));
        request.header("content-type", "application/x-www-form-urlencoded").body(body.to_owned())
    };
    let same = format!("grant_type=client_credentials&client_id={id}");
    assert_eq!(server.send(with(&same)).await.status, StatusCode::OK);
    let other = "grant_type=client_credentials&client_id=01920000-0000-7000-8000-000000000000";
    server.send(with(other)).await.assert_error(400, "invalid_request");
    server.send(with(&in_body)).await.assert_error(400, "invalid_request");
    let bearer = server.request(Method::POST, "/api/v1/token").bearer_auth("x").form(&[
        ("grant_type", "client_credentials"),
        ("client_id", &id),
        ("client_secret", &secret),
    ]);
    server.send(bearer).await.assert_error(400, "invalid_request");
}

async fn basic_is_form_encoded_inside(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let Client { id, secret, .. } = server.administrator();
    let encoded = secret.replace('_', "%5F");
    let request = server.request(Method::POST, "/api/v1/token").basic_auth(&id, Some(encoded));
    let answer = server.send(request.form(&[("grant_type", "client_credentials")])).await;
    assert_eq!(answer.status, StatusCode::OK);
}

async fn a_malformed_form_is_an_invalid_request(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let Client { id, secret, .. } = server.administrator();
    let proof = format!("client_id={id}&client_secret={secret}");
    for body in [
        String::new(),
        proof.clone(),
        format!("grant_type=&{proof}"),
        format!("grant_type=client_credentials&grant_type=client_credentials&{proof}"),
        format!("grant_type=client_credentials&{proof}&{proof}"),
        format!("grant_type=client_credentials&scope=a:b&scope=a:b&{proof}"),
        format!("grant_type=client_credentials&scope=%zz&{proof}"),
        format!("grant_type=client_credentials&scope=%ff%fe&{proof}"),
        format!("grant_type=client_credentials&scope=%c0%80&{proof}"),
        format!("grant_type=client_credentials&scope=%00&{proof}"),
        format!("grant_type=client_credentials&{proof}&client_assertion=x"),
        "grant_type=client_credentials&client_assertion=x".to_owned(),
        "grant_type=client_credentials&client_assertion=x&client_assertion_type=y".to_owned(),
    ] {
        form(&server, &body).await.assert_error(400, "invalid_request");
    }
    let unsupported = format!("grant_type=authorization_code&{proof}");
    form(&server, &unsupported).await.assert_error(400, "unsupported_grant_type");
    for media in ["application/json", "multipart/form-data", "text/plain"] {
        let request = server.request(Method::POST, "/api/v1/token").header("content-type", media);
        let request = request.body(format!("grant_type=client_credentials&{proof}"));
        server.send(request).await.assert_error(400, "invalid_request");
    }
    let media = "Application/X-WWW-Form-Urlencoded; Charset=\"UTF-8\"";
    let request = server.request(Method::POST, "/api/v1/token").header("content-type", media);
    let request = request.body(format!("grant_type=client_credentials&{proof}&unknown=1&unknown=2&scope="));
    assert_eq!(server.send(request).await.status, StatusCode::OK);
    let query = server.request(Method::POST, &format!("/api/v1/token?{proof}"));
    let answer = server.send(query.form(&[("grant_type", "client_credentials")])).await;
    answer.assert_error(400, "invalid_request");
    assert!(!answer.text.contains(&secret));
}

async fn whoever_fails_to_prove_itself_gets_the_same_bytes(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let client = server.client(&admin, None, &["files:read"]).await;
    let other = server.client(&admin, None, &["files:read"]).await;
    let revoked = server.secret(&admin, &client.id).await;
    server.delete(&admin, &format!("/api/v1/agents/{}/credentials/{}", client.id, revoked.credential)).await;
    let gone = server.client(&admin, None, &["files:read"]).await;
    server.delete(&admin, &format!("/api/v1/agents/{}", gone.id)).await;
    let with = |id: &str, secret: &str| Client {
        id: id.to_owned(),
        secret: secret.to_owned(),
        credential: String::new(),
    };
    let shorter = &client.secret[..client.secret.len() - 1];
    let last_digit = format!("{shorter}{}", if client.secret.ends_with('0') { '1' } else { '0' });
    let expiring = json!({ "expiresAt": "2026-01-15T12:00:01Z" });
    let made =
        server.post(&admin, &format!("/api/v1/agents/{}/credentials", client.id), expiring).await.json();
    let expired = made["clientSecret"].as_str().expect("a secret").to_owned();
    server.advance(1);
    let strangers = [
        with("01920000-0000-7000-8000-000000000000", &client.secret),
        with("unknown", &client.secret),
        with(&client.id.to_uppercase(), &client.secret),
        with(&client.id, &other.secret),
        with(&client.id, shorter),
        with(&client.id, &last_digit),
        with(&client.id, &expired),
        with(&client.id, &format!("{}0", client.secret)),
        with(&client.id, &client.secret.to_uppercase()),
        with(&client.id, ""),
        with(&client.id, &"x".repeat(10_000)),
        revoked,
        gone,
    ];
    for stranger in strangers {
        let answer = server.ask_token(&stranger, &[]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{stranger:?}");
        let body = r#"{"error":"invalid_client","error_description":"client authentication failed"}"#;
        assert_eq!(answer.text, body, "{stranger:?}");
        assert!(answer.header("www-authenticate").expect("Basic was tried").starts_with("Basic "));
    }
    let in_body = format!("grant_type=client_credentials&client_id={}&client_secret=x", client.id);
    let answer = form(&server, &in_body).await;
    answer.assert_error(401, "invalid_client");
    assert_eq!(answer.header("www-authenticate"), None, "Basic was not tried");
}

async fn an_authorization_header_that_cannot_be_read_is_never_more_than_a_401(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let value = |text: &[u8]| reqwest::header::HeaderValue::from_bytes(text).expect("a header value");
    for header in [
        &b"Basic"[..],
        b"Basic !!!",
        b"Basic eA==",
        b"Basic eDp5",
        b"Basic eDp5=",
        b"Basic _-8=",
        b"Basic /////w==",
        b"Basic x, Bearer y",
        b"Digest x",
        b"\xff\xfe",
        b"",
    ] {
        let request = server.request(Method::POST, "/api/v1/token").header("authorization", value(header));
        let answer = server.send(request.form(&[("grant_type", "client_credentials")])).await;
        answer.assert_error(401, "invalid_client");
    }
    let twice =
        server.request(Method::POST, "/api/v1/token").basic_auth("a", Some("b")).basic_auth("a", Some("b"));
    let answer = server.send(twice.form(&[("grant_type", "client_credentials")])).await;
    answer.assert_error(400, "invalid_request");
}

async fn a_scope_is_granted_only_from_the_capabilities_and_by_the_letter(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let client = server.client(&admin, None, &["files:read", "files:*", "agents:read"]).await;
    let scope = async |scope: &str| server.ask_token(&client, &[("scope", scope)]).await;
    assert_eq!(server.ask_token(&client, &[]).await.json()["scope"], "files:read files:*");
    assert_eq!(scope("agents:read files:read").await.json()["scope"], "agents:read files:read");
    assert_eq!(scope("").await.json()["scope"], "files:read files:*");
    for refused in [
        "files:write",
        "mail:send",
        "*",
        "FILES:READ",
        "admin:orgs",
        "files:read  agents:read",
        " files:read",
        "files:read ",
        "files:read\tagents:read",
        "files:read\"",
        "files:read\\",
        "d\u{e9}j\u{e0}:vu",
    ] {
        scope(refused).await.assert_error(400, "invalid_scope");
    }
    let huge = "files:read ".repeat(20_000);
    scope(huge.trim_end()).await.assert_error(400, "invalid_scope");
    let issued = server.events(&admin, &format!("&action=token.issued&agentId={}", client.id)).await;
    assert_eq!(issued.len(), 3, "a refusal issues nothing");
}

async fn a_token_for_a_resource_is_for_it_alone_and_carries_no_management_scope(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let resource = "https://api.example.com/v1";
    let organization = server.organization(&admin, json!({ "resources": [resource] })).await;
    let client = server.client(&admin, Some(&organization), &["files:read", "agents:read"]).await;
    let ask = async |parameters: &[(&str, &str)]| server.ask_token(&client, parameters).await;

    let token = server.token(&client, &[("resource", resource)]).await;
    assert_eq!(server.introspect(&token).await["aud"], resource);
    server.get(&token, "/api/v1/agents").await.assert_error(401, "UNAUTHORIZED");
    ask(&[("resource", resource), ("scope", "agents:read")]).await.assert_error(400, "invalid_scope");
    assert_eq!(ask(&[("resource", "")]).await.status, StatusCode::OK);
    let issuer = server.issuer();
    let for_us = server.token(&client, &[("resource", &issuer), ("scope", "agents:read")]).await;
    assert_eq!(server.introspect(&for_us).await["aud"], issuer);

    let long = format!("https://example.com/{}", "x".repeat(10_000));
    for other in ["https://api.example.com", "/relative", "https://api.example.com/v1#x", &long] {
        ask(&[("resource", other)]).await.assert_error(400, "invalid_target");
    }
    ask(&[("resource", resource), ("resource", resource)]).await.assert_error(400, "invalid_target");

    let path = format!("/api/v1/organizations/{organization}");
    server.patch(&admin, &path, json!({ "resources": [] })).await;
    assert!(!server.is_active(&token).await, "a resource that the organization no longer names");
}

async fn a_target_is_a_listed_resource_in_any_spelling_or_a_plain_name(wiring: Wiring) {
    let server = TestServer::start_with(wiring, &["--issuer-url", "https://id.example.com"]).await;
    let admin = server.admin_token().await;
    let listed = [
        "https://api.example.com",
        "HTTPS://Other.example.com:443/a",
        "urn:example:api",
        "kafka",
        "sts.amazonaws.com",
    ];
    let organization = server.organization(&admin, json!({ "resources": listed })).await;
    let client = server.client(&admin, Some(&organization), &["files:read"]).await;
    let aud = async |parameters: &[(&str, &str)]| {
        let answer = server.ask_token(&client, parameters).await;
        if answer.status != StatusCode::OK {
            answer.assert_error(400, "invalid_target");
            return answer.json()["error_description"].clone();
        }
        server.introspect(answer.json()["access_token"].as_str().expect("a token")).await["aud"].clone()
    };
    for parameter in ["resource", "audience"] {
        for (asked, listed) in [
            ("https://api.example.com", "https://api.example.com"),
            ("https://api.example.com/", "https://api.example.com"),
            ("HTTPS://API.Example.COM:443", "https://api.example.com"),
            ("https://other.example.com/a", "HTTPS://Other.example.com:443/a"),
            ("urn:example:api", "urn:example:api"),
            ("https://id.example.com", "https://id.example.com"),
            ("https://ID.example.com:443/", "https://id.example.com"),
        ] {
            assert_eq!(aud(&[(parameter, asked)]).await, listed, "{parameter} {asked}");
        }
        for unlisted in
            ["https://api.example.com/a", "http://api.example.com", "urn:example:API", "Kafka", "x"]
        {
            let words = "the organization does not list this resource";
            assert_eq!(aud(&[(parameter, unlisted)]).await, words, "{parameter} {unlisted}");
        }
    }
    for name in ["kafka", "sts.amazonaws.com"] {
        assert_eq!(aud(&[("audience", name)]).await, name);
        assert_eq!(
            aud(&[("resource", name)]).await,
            "a plain name is requested as audience, not as resource"
        );
    }
    for both in [
        [("resource", "https://api.example.com"), ("audience", "https://api.example.com")],
        [("audience", "kafka"), ("audience", "kafka")],
        [("resource", "urn:example:api"), ("resource", "https://api.example.com")],
    ] {
        assert_eq!(aud(&both).await, "request one resource or one audience, not several");
    }
    assert_eq!(aud(&[("audience", "")]).await, "https://id.example.com", "an empty one counts as absent");
}

async fn an_agent_may_have_a_default_resource(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let listed = json!({ "resources": ["https://api.example.com", "kafka"] });
    let organization = server.organization(&admin, listed).await;
    let register = async |resource: Value| {
        let mut body = new_agent(&["files:read", "agents:read"]);
        (body["organizationId"], body["defaultResource"]) = (json!(organization), resource);
        server.post(&admin, "/api/v1/agents", body).await
    };
    for wrong in [json!("https://elsewhere.example.com"), json!("/x"), json!(7), json!(null), json!("")] {
        assert_eq!(register(wrong.clone()).await.faults(), ["defaultResource"], "{wrong}");
    }
    let agent = register(json!("HTTPS://API.example.com/")).await.json();
    assert_eq!(agent["defaultResource"], "https://api.example.com", "as it is listed");
    let id = agent["agentId"].as_str().expect("an id");
    let client = server.secret(&admin, id).await;
    let aud = async |parameters: &[(&str, &str)]| {
        server.introspect(&server.token(&client, parameters).await).await["aud"].clone()
    };
    let issuer = server.issuer();
    assert_eq!(aud(&[]).await, "https://api.example.com");
    assert_eq!(aud(&[("scope", "files:read")]).await, "https://api.example.com");
    assert_eq!(aud(&[("audience", "kafka")]).await, "kafka");
    assert_eq!(aud(&[("resource", &issuer)]).await, issuer, "the issuer is named");
    assert_eq!(aud(&[("scope", "agents:read")]).await, issuer, "a management scope is for the issuer");

    let path = format!("/api/v1/agents/{id}");
    let changed = server.patch(&admin, &path, json!({ "defaultResource": "kafka" })).await.json();
    assert_eq!(changed["defaultResource"], "kafka");
    let events = server.events(&admin, &format!("&action=agent.updated&resourceId={id}")).await;
    assert_eq!(events[0]["metadata"]["fields"], json!(["defaultResource"]));
    for wrong in [json!("x"), json!(7), json!(["kafka"])] {
        let answer = server.patch(&admin, &path, json!({ "defaultResource": wrong })).await;
        assert_eq!(answer.faults(), ["defaultResource"], "{wrong}");
    }
    assert_eq!(aud(&[]).await, "kafka");
    let resources = json!({ "resources": ["https://api.example.com"] });
    server.patch(&admin, &format!("/api/v1/organizations/{organization}"), resources).await;
    let answer = server.ask_token(&client, &[]).await;
    answer.assert_error(400, "invalid_target");
    assert!(answer.text.contains("no longer lists the agent's defaultResource"), "{}", answer.text);
    let removed = server.patch(&admin, &path, json!({ "defaultResource": null })).await.json();
    assert_eq!(removed.get("defaultResource"), None);
    assert_eq!(server.get(&admin, &path).await.json(), removed);
    assert_eq!(aud(&[]).await, issuer);
}

async fn a_lost_capability_is_lost_to_tokens_too(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let client = server.client(&admin, None, &["files:read", "agents:read"]).await;
    let token = server.token(&client, &[("scope", "files:read agents:read")]).await;
    assert_eq!(server.get(&token, "/api/v1/agents").await.status, StatusCode::OK);
    let path = format!("/api/v1/agents/{}", client.id);
    server.patch(&admin, &path, json!({ "capabilities": ["files:read", "mail:send"] })).await;
    server.get(&token, "/api/v1/agents").await.assert_error(403, "FORBIDDEN");
    assert_eq!(server.introspect(&token).await["scope"], "files:read");
}

async fn a_token_works_until_its_very_end(wiring: Wiring) {
    let server = TestServer::start_with(wiring, &["--token-ttl-seconds", "60"]).await;
    let token = server.admin_token().await;
    server.advance(59);
    assert_eq!(server.get(&token, "/api/v1/agents").await.status, StatusCode::OK);
    server.advance(1);
    for late in [0, 1, 60, 600, 239] {
        server.advance(late);
        let answer = server.get(&token, "/api/v1/agents").await;
        answer.assert_error(401, "UNAUTHORIZED");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer error=\"invalid_token\""));
        assert!(!server.is_active(&token).await);
    }
}

async fn the_monthly_quota_is_exact_and_both_kinds_of_client_understand_its_end(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let organization = server.organization(&admin, json!({ "limits": { "maxTokensPerMonth": 5 } })).await;
    let client = server.client(&admin, Some(&organization), &["files:read"]).await;
    let asked = (0..20).map(|_| server.ask_token(&client, &[]));
    let answers = join_all(asked).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == StatusCode::OK).count(), 5);
    let refused = answers.iter().find(|answer| answer.status == StatusCode::FORBIDDEN).expect("fifteen");
    let body = refused.json();
    assert_eq!(
        (&body["code"], &body["error"]),
        (&json!("FREE_TIER_LIMIT_EXCEEDED"), &json!("access_denied"))
    );
    assert_eq!(body["details"]["limit"], 5);
    let issued = server.events(&admin, &format!("&action=token.issued&agentId={}", client.id)).await;
    assert_eq!(issued.len(), 5);
    server.advance(17 * 86_400);
    server.token(&client, &[]).await;
}

async fn a_token_from_before_the_start_is_dead_in_memory_whatever_key_signs(wiring: Wiring) {
    let flags = ["--issuer-url", "https://id.example.com"];
    let (before, after) =
        (TestServer::start_with(wiring, &flags).await, TestServer::start_with(wiring, &flags).await);
    let token = before.admin_token().await;
    assert_eq!(before.get(&token, "/api/v1/agents").await.status, StatusCode::OK);
    after.get(&token, "/api/v1/agents").await.assert_error(401, "UNAUTHORIZED");
    assert!(!after.is_active(&token).await);
}
