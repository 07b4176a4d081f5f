//! Forward authentication: proxies ask about the requests that they forward.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use testing::{Answer, Client, ProofKey, TestServer, Wiring};

use crate::delegation::{ACCESS_TOKEN, JWT, People, allow, ask, exchange, token_of};
use crate::scenarios::scenarios;

scenarios!(every_wiring [
    a_request_passes_by_an_active_token_for_the_resource_with_all_scopes,
    a_bound_token_passes_with_a_proof_for_the_request_that_a_trusted_proxy_describes,
]);
scenarios!(stateless [
    any_method_and_any_suffix_is_judged,
    what_a_trusted_proxy_requires_replaces_the_query,
    nobody_else_says_what_is_required_or_what_was_requested,
    a_description_of_the_request_that_is_incomplete_or_odd_matches_no_proof,
    the_path_of_the_issuer_may_begin_like_that_of_the_api,
    a_requirement_with_a_fault_lets_nothing_pass,
    the_headers_say_who_acts_for_whom,
    a_judged_request_counts_against_the_rate_of_its_client,
]);

const PATH: &str = "/api/v1/token/forward-auth";
const API: &str = "https://api.example.com/v1";
const TRUSTING: [&str; 2] = ["--trusted-proxies", "127.0.0.0/8"];

/// A server, and a client that may get tokens for an API.
struct Scene {
    server: TestServer,
    admin: String,
    client: Client,
}

impl Scene {
    async fn new(wiring: Wiring, flags: &[&str]) -> Self {
        let server = TestServer::start_with(wiring, flags).await;
        let admin = server.unlimited_admin_token().await;
        let organization = server.organization(&admin, json!({ "resources": [API] })).await;
        let scopes = ["files:read", "files:write", "agents:read"];
        let client = server.client(&admin, Some(&organization), &scopes).await;
        Self { server, admin, client }
    }

    /// Returns a token for the API.
    async fn token(&self, scope: &str) -> String {
        self.server.token(&self.client, &[("resource", API), ("scope", scope)]).await
    }

    fn request(&self, token: &str, query: &[(&str, &str)]) -> RequestBuilder {
        self.server.request(Method::GET, &with_query(query)).bearer_auth(token)
    }

    async fn judge(&self, token: &str, query: &[(&str, &str)]) -> Answer {
        self.server.send(self.request(token, query)).await
    }
}

/// Returns the path with these parameters.
fn with_query(query: &[(&str, &str)]) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pairs = query.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
    match query {
        [] => PATH.to_owned(),
        _ => format!("{PATH}?{}", pairs.collect::<Vec<_>>().join("&")),
    }
}

fn challenge(answer: &Answer) -> &str {
    answer.header("www-authenticate").expect("a challenge")
}

async fn a_request_passes_by_an_active_token_for_the_resource_with_all_scopes(wiring: Wiring) {
    let scene = Scene::new(wiring, &[]).await;
    let metadata = r#"resource_metadata="https://api.example.com/.well-known/oauth-protected-resource/v1""#;
    let token = scene.token("files:read files:write").await;
    for query in [
        &[("resource", API)][..],
        &[("resource", API), ("scope", "files:write")],
        &[("resource", "HTTPS://API.example.com:443/v1"), ("scope", "files:write files:read")],
    ] {
        let answer = scene.judge(&token, query).await;
        assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, ""), "{query:?}");
        assert_eq!(answer.header("x-auth-agent-id"), Some(scene.client.id.as_str()));
        assert_eq!(answer.header("x-auth-subject"), Some(scene.client.id.as_str()));
        assert_eq!(answer.header("x-auth-scope"), Some("files:read files:write"));
        assert_eq!(answer.header("x-auth-actors"), None);
    }
    let refused = scene.judge(&token, &[("resource", API), ("scope", "files:read mail:send")]).await;
    refused.assert_error(403, "FORBIDDEN");
    let expected = format!(r#"Bearer error="insufficient_scope", scope="files:read mail:send", {metadata}"#);
    assert_eq!(challenge(&refused), expected);

    let own = scene.server.token(&scene.client, &[("scope", "agents:read")]).await;
    assert_eq!(scene.judge(&own, &[]).await.status, StatusCode::OK);
    let issuer = scene.server.issuer();
    assert_eq!(scene.judge(&own, &[("resource", &issuer)]).await.status, StatusCode::OK);
    for (token, query) in
        [(&token, &[][..]), (&own, &[("resource", API)]), (&token, &[("resource", "kafka")])]
    {
        scene.judge(token, query).await.assert_error(401, "UNAUTHORIZED");
    }
    let invalid = scene.judge("x.y.z", &[("resource", API)]).await;
    assert_eq!(challenge(&invalid), format!(r#"Bearer error="invalid_token", {metadata}"#));
    let missing = scene.server.send(scene.server.request(Method::GET, PATH)).await;
    missing.assert_error(401, "UNAUTHORIZED");
    let own_metadata = format!(r#"resource_metadata="{issuer}/.well-known/oauth-protected-resource""#);
    let expected = format!(r#"Bearer {own_metadata}, DPoP algs="ES256 EdDSA RS256 PS256", {own_metadata}"#);
    assert_eq!(challenge(&missing), expected);

    let revocation = scene.server.request(Method::POST, "/api/v1/token/revoke").form(&[("token", &token)]);
    let revocation = revocation.basic_auth(&scene.client.id, Some(&scene.client.secret));
    assert_eq!(scene.server.send(revocation).await.status, StatusCode::OK);
    scene.judge(&token, &[("resource", API)]).await.assert_error(401, "UNAUTHORIZED");
}

async fn a_bound_token_passes_with_a_proof_for_the_request_that_a_trusted_proxy_describes(wiring: Wiring) {
    let scene = Scene::new(wiring, &TRUSTING).await;
    let key = ProofKey::es256();
    let token = bound_token(&scene, &key).await;
    let host = "https://api.example.com";
    let made = || key.proof(host, "PUT", "/v1/files/a", Some(&token));
    let asked = |query: &[(&str, &str)], proof: &str, scheme: &str, uri: &str, method: &str| {
        let request = scene.server.request(Method::GET, &with_query(query));
        request
            .header("Authorization", format!("{scheme} {token}"))
            .header("DPoP", proof)
            .header("X-Forwarded-Method", method)
            .header("X-Forwarded-Proto", "https")
            .header("X-Forwarded-Host", "api.example.com")
            .header("X-Forwarded-Uri", uri)
    };
    let forwarded = |proof: &str, scheme: &str, uri: &str, method: &str| {
        asked(&[("resource", API)], proof, scheme, uri, method)
    };
    let proof = made();
    for (proof, scheme, uri, method, is_right) in [
        (&proof, "DPoP", "/v1/files/a?x=y", "PUT", true),
        (&proof, "DPoP", "/v1/files/a", "PUT", false),
        (&made(), "DPoP", "/v1/files/b", "PUT", false),
        (&made(), "DPoP", "/v1/files/a", "GET", false),
        (&made(), "DPoP", "https://api.example.com/v1/files/a", "PUT", false),
        (&made(), "Bearer", "/v1/files/a", "PUT", false),
        (&made(), "DPoP", "/v1/files/a", "PUT", true),
    ] {
        let answer = scene.server.send(forwarded(proof, scheme, uri, method)).await;
        let expected = if is_right { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        assert_eq!(answer.status, expected, "{scheme} {uri} {method}: {}", answer.text);
    }
    let twice =
        forwarded(&made(), "DPoP", "/v1/files/a", "PUT").header("X-Forwarded-Host", "evil.example.com");
    assert_eq!(scene.server.send(twice).await.status, StatusCode::UNAUTHORIZED);
    let scope = asked(&[("resource", API), ("scope", "mail:send")], &made(), "DPoP", "/v1/files/a", "PUT");
    let answer = scene.server.send(scope).await;
    assert!(challenge(&answer).starts_with(r#"DPoP error="insufficient_scope", scope="mail:send""#));
}

/// Sends a request that the document does not describe.
async fn send(
    scene: &Scene,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: &'static str,
) -> reqwest::Response {
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    let mut request = reqwest::Client::new().request(method, scene.server.url(path)).body(body);
    request = request.header("Origin", "https://app.example.com").header("Content-Type", "text/csv");
    request = request.header("Access-Control-Request-Method", "PUT");
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    request.send().await.expect("an answer")
}

async fn any_method_and_any_suffix_is_judged(wiring: Wiring) {
    let scene = Scene::new(wiring, &["--cors-origin", "https://app.example.com"]).await;
    let token = scene.token("files:read").await;
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "TRACE"] {
        for suffix in ["", "/", "/a/b", "/..%2f%ff/\u{e9}", "/agents/../x"] {
            let path = format!("{PATH}{suffix}?resource={API}");
            let passed = send(&scene, method, &path, Some(&token), "a,b").await;
            assert_eq!(passed.status(), StatusCode::OK, "{method} {path}");
            assert!(passed.headers().contains_key("x-auth-agent-id"), "{method} {path}");
            for token in [None, Some("x.y.z")] {
                let refused = send(&scene, method, &path, token, "a,b").await;
                assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{method} {path}");
            }
        }
    }
    for path in ["/api/v1/token/forward-authx", "/api/v1/token/forward-auth%2f"] {
        let other = send(&scene, "GET", &format!("{path}?resource={API}"), Some(&token), "").await;
        assert_eq!(other.status(), StatusCode::NOT_FOUND, "{path}");
    }
}

async fn what_a_trusted_proxy_requires_replaces_the_query(wiring: Wiring) {
    let scene = Scene::new(wiring, &TRUSTING).await;
    let token = scene.token("files:read").await;
    for (query, headers, status) in [
        (&[][..], &[("X-Auth-Require-Resource", API)][..], 200),
        (&[], &[("X-Auth-Require-Resource", API), ("X-Auth-Require-Scope", "files:read")], 200),
        (&[], &[("X-Auth-Require-Resource", API), ("X-Auth-Require-Scope", "files:write")], 403),
        (&[("scope", "files:write"), ("x", "y")], &[("X-Auth-Require-Resource", API)], 200),
        // The query is that of the request, whose sender has chosen it.
        (&[("resource", API)], &[("X-Auth-Require-Scope", "files:read")], 401),
        (&[("resource", API)], &[("X-Auth-Require-Resource", "https://other.example.com")], 401),
        (&[], &[("X-Auth-Require-Resource", API), ("X-Auth-Require-Resource", API)], 400),
        (&[], &[("X-Auth-Require-Resource", "a b")], 400),
    ] {
        let request = headers
            .iter()
            .fold(scene.request(&token, query), |request, (name, value)| request.header(*name, *value));
        let answer = reqwest_answer(request).await;
        assert_eq!(answer, status, "{query:?} {headers:?}");
    }
}

async fn reqwest_answer(request: RequestBuilder) -> u16 {
    request.send().await.expect("an answer").status().as_u16()
}

async fn nobody_else_says_what_is_required_or_what_was_requested(wiring: Wiring) {
    let scene = Scene::new(wiring, &["--trusted-proxies", "192.0.2.0/24"]).await;
    let token = scene.token("files:read").await;
    let query = [("resource", API), ("scope", "files:write")];
    let request = scene.request(&token, &query);
    let request = request
        .header("X-Auth-Require-Resource", API)
        .header("X-Auth-Require-Scope", "files:read")
        .header("X-Forwarded-For", "192.0.2.1");
    scene.server.send(request).await.assert_error(400, "VALIDATION_ERROR");
    // Perhaps the query is that of a client, and the proxy was to be trusted.
    let request = scene.request(&token, &[("resource", API)]).header("X-Auth-Require-Scope", "files:read");
    scene.server.send(request).await.assert_error(400, "VALIDATION_ERROR");
    let key = ProofKey::es256();
    let bound = bound_token(&scene, &key).await;
    let proof = key.proof("https://api.example.com", "PUT", "/v1/files/a", Some(&bound));
    let request =
        describe(scene.server.request(Method::GET, &with_query(&[("resource", API)])), &bound, &proof);
    assert_eq!(scene.server.send(request).await.status, StatusCode::UNAUTHORIZED);
}

/// Requests a token that is bound to the key.
async fn bound_token(scene: &Scene, key: &ProofKey) -> String {
    let form = [("grant_type", "client_credentials"), ("resource", API), ("scope", "files:read")];
    let proof = key.proof(&scene.server.issuer(), "POST", "/api/v1/token", None);
    let request = scene.server.request(Method::POST, "/api/v1/token").form(&form).header("DPoP", proof);
    let request = request.basic_auth(&scene.client.id, Some(&scene.client.secret));
    token_of(&scene.server.send(request).await)
}

/// Adds a bound token with its proof, and the description of `PUT https://api.example.com/v1/files/a`.
fn describe(request: RequestBuilder, token: &str, proof: &str) -> RequestBuilder {
    request
        .header("Authorization", format!("DPoP {token}"))
        .header("DPoP", proof)
        .header("X-Forwarded-Method", "PUT")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "api.example.com")
        .header("X-Forwarded-Uri", "/v1/files/a")
}

async fn a_description_of_the_request_that_is_incomplete_or_odd_matches_no_proof(wiring: Wiring) {
    let scene = Scene::new(wiring, &TRUSTING).await;
    let key = ProofKey::es256();
    let token = bound_token(&scene, &key).await;
    let issuer = scene.server.issuer();
    let url = scene.server.url(&with_query(&[("resource", API)]));
    let full = [
        ("X-Forwarded-Method", "GET"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "api.example.com"),
        ("X-Forwarded-Uri", "/v1/files/a"),
    ];
    let replaced = |name: &str, value: Option<&'static str>| -> Vec<(&str, &str)> {
        full.iter()
            .filter_map(
                |(one, is)| if *one == name { value.map(|value| (*one, value)) } else { Some((*one, *is)) },
            )
            .collect()
    };
    // A proof for this endpoint, and one for each URL that the description could be read as.
    for (base, path, description, status) in [
        ("https://api.example.com", "/v1/files/a", full.to_vec(), 200),
        (&*issuer, PATH, Vec::new(), 200),
        (&*issuer, PATH, replaced("X-Forwarded-Host", None), 401),
        (&*issuer, PATH, replaced("X-Forwarded-Proto", None), 401),
        (&*issuer, PATH, replaced("X-Forwarded-Uri", None), 401),
        (&*issuer, PATH, replaced("X-Forwarded-Method", None), 401),
        ("https://api.example.com", "/", replaced("X-Forwarded-Host", Some("api.example.com?")), 401),
        ("https://api.example.com", "/", replaced("X-Forwarded-Host", Some("api.example.com#")), 401),
        ("https://api.example.com", "/x", replaced("X-Forwarded-Host", Some("api.example.com/x?")), 401),
        (
            "https://evil.example.com",
            "/v1/files/a",
            replaced("X-Forwarded-Host", Some("a@evil.example.com")),
            401,
        ),
        ("https://evil.example.com", "/v1/files/a", full.to_vec(), 401),
        ("gopher://api.example.com", "/v1/files/a", replaced("X-Forwarded-Proto", Some("gopher")), 401),
    ] {
        let proof = key.proof(base, "GET", path, Some(&token));
        let mut request = reqwest::Client::new().get(&url).header("DPoP", proof);
        request = request.header("Authorization", format!("DPoP {token}"));
        for (name, value) in &description {
            request = request.header(*name, *value);
        }
        assert_eq!(reqwest_answer(request).await, status, "{base}{path} {description:?}");
    }
}

async fn the_path_of_the_issuer_may_begin_like_that_of_the_api(wiring: Wiring) {
    for prefix in ["/api", "/api/v1", "/a"] {
        let issuer = format!("http://id.example.com{prefix}");
        let server = TestServer::start_with(wiring, &["--issuer-url", &issuer]).await;
        let administrator = server.administrator();
        let request = reqwest::Client::new().post(server.url(&format!("{prefix}/api/v1/token")));
        let request = request.basic_auth(&administrator.id, Some(&administrator.secret));
        let answer = request.form(&[("grant_type", "client_credentials")]).send().await.expect("an answer");
        let answer: Value = answer.json().await.expect("JSON");
        let token = answer["access_token"].as_str().expect("a token").to_owned();
        for path in [format!("{prefix}{PATH}"), format!("{prefix}{PATH}/a/b")] {
            let request = reqwest::Client::new().get(server.url(&path)).bearer_auth(&token);
            assert_eq!(reqwest_answer(request).await, 200, "{path}");
        }
    }
}

async fn a_requirement_with_a_fault_lets_nothing_pass(wiring: Wiring) {
    let scene = Scene::new(wiring, &[]).await;
    let token = scene.server.token(&scene.client, &[("scope", "agents:read")]).await;
    for query in [
        "scopes=files:read",
        "scope=agents:read&scope=agents:read",
        "scope=",
        "scope=a%20%20b",
        "scope=%22",
        "resource=",
        "resource=a%20b",
        "resource=https://a&resource=https://b",
        "resource=https://a%23b",
    ] {
        let request =
            reqwest::Client::new().get(scene.server.url(&format!("{PATH}?{query}"))).bearer_auth(&token);
        assert_eq!(reqwest_answer(request).await, 400, "{query}");
    }
}

async fn the_headers_say_who_acts_for_whom(wiring: Wiring) {
    let scene = Scene::new(wiring, &[]).await;
    let Scene { server, admin, client } = &scene;
    let capabilities = ["files:read", "files:write"];
    let [first, second] =
        [server.client(admin, None, &capabilities).await, server.client(admin, None, &capabilities).await];
    allow(server, admin, &first, &[&second], true).await;
    let people = People::new(server, admin, json!({})).await;
    let token = people.token("J\u{f6}rg 100%, x");
    let token = token_of(&ask(server, &first, (JWT, &token), &[]).await);
    let token = exchange(server, &second, &token, &[]).await;
    let answer = scene.judge(&token, &[]).await;
    assert_eq!(answer.header("x-auth-agent-id"), Some(second.id.as_str()));
    let subject = answer.header("x-auth-subject").expect("a subject");
    assert!(subject.starts_with("user:") && subject.ends_with(":J%C3%B6rg 100%25, x"), "{subject}");
    assert_eq!(answer.header("x-auth-actors"), Some(format!("{},{}", second.id, first.id).as_str()));
    let shown = server.introspect(&token).await;
    assert_eq!(Some(shown["scope"].as_str().expect("a scope")), answer.header("x-auth-scope"));
    assert_eq!(
        Some(shown["organization_id"].as_str().expect("an ID")),
        answer.header("x-auth-organization-id")
    );

    let token = server.token(&first, &[]).await;
    let token = token_of(&ask(server, &second, (ACCESS_TOKEN, &token), &[]).await);
    let answer = scene.judge(&token, &[]).await;
    assert_eq!(answer.header("x-auth-subject"), Some(first.id.as_str()));
    assert_eq!(answer.header("x-auth-actors"), Some(second.id.as_str()));
    assert_ne!(answer.header("x-auth-agent-id"), Some(client.id.as_str()));
}

async fn a_judged_request_counts_against_the_rate_of_its_client(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.unlimited_admin_token().await;
    let organization = server.organization(&admin, json!({ "limits": { "requestsPerMinute": 3 } })).await;
    let client = server.client(&admin, Some(&organization), &["files:read"]).await;
    let token = server.token(&client, &[]).await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let answer = server.send(server.request(Method::GET, PATH).bearer_auth(&token)).await;
        statuses.push(answer.status.as_u16());
        assert_eq!(answer.number("x-ratelimit-limit"), 3);
    }
    assert_eq!(statuses, [200, 200, 429]);
    let failures: Vec<Value> = server.events(&admin, "&action=token.introspected").await;
    assert!(failures.is_empty(), "a judgement is not an introspection");
}
