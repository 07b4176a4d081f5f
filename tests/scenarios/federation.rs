//! Trusted issuers and federated credentials: agents without secrets.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testing::{Answer, MANAGEMENT_SCOPES, NOON, TestServer, UNKNOWN_ID, Wiring, unique};

use crate::client_assertions::TYPE;
use crate::scenarios::scenarios;

scenarios!(every_wiring [
    a_workload_with_nothing_but_a_token_of_its_platform_gets_ours,
    each_check_fails_by_its_name,
    a_suspended_issuer_stops_everything_that_rests_on_it_for_good,
    a_deleted_issuer_ends_the_tokens_that_rest_on_it,
    an_assertion_of_a_strict_issuer_is_used_once_anywhere,
    a_federated_credential_is_listed_expires_and_is_revoked_like_others,
    each_organization_has_issuers_of_its_own,
]);
scenarios!(stateless [
    the_form_of_an_issuer_is_checked_field_by_field,
    the_form_of_a_federated_credential_is_checked_field_by_field,
    an_issuer_is_changed_field_by_field,
    scopes_are_required,
    a_trust_domain_finds_its_issuer,
    what_says_nothing_of_a_client_says_the_same,
]);

const SPIFFE_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";

/// An issuer that the test signs for.
pub struct Platform {
    pub issuer: String,
    pub id: String,
    key: Ed25519KeyPair,
}

impl Platform {
    /// Lets the administrator's organization trust a new issuer, with these fields in addition.
    pub async fn trusted(server: &TestServer, admin: &str, fields: Value) -> Self {
        let issuer = format!("https://ci{}.example.com", unique());
        Self::trusted_as(server, admin, &issuer, fields).await
    }

    async fn trusted_as(server: &TestServer, admin: &str, issuer: &str, fields: Value) -> Self {
        let key = Ed25519KeyPair::generate().expect("a key");
        let mut body = json!({ "name": "CI", "issuer": issuer, "keys": pinned(&key) });
        for (name, value) in fields.as_object().expect("fields") {
            body[name] = value.clone();
        }
        let answer = server.post(admin, "/api/v1/issuers", body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        let id = answer.json()["issuerId"].as_str().expect("an id").to_owned();
        Self { issuer: issuer.to_owned(), id, key }
    }

    /// Returns the claims of a valid assertion.
    pub fn claims(&self, server: &TestServer) -> Value {
        json!({
            "iss": self.issuer, "sub": "repo:acme/site", "aud": server.issuer(), "iat": NOON.as_seconds(),
            "nbf": NOON.as_seconds(), "exp": NOON.as_seconds() + 3_600, "jti": format!("{}", unique()),
            "ref": "refs/heads/main",
        })
    }

    pub fn sign(&self, claims: &Value) -> String {
        self.sign_with(&json!({ "alg": "EdDSA", "typ": "JWT", "kid": "1" }), &claims.to_string())
    }

    pub fn sign_with(&self, header: &Value, claims: &str) -> String {
        let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
        let message = format!("{}.{}", part(&header.to_string()), part(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(message.as_bytes()).as_ref());
        format!("{message}.{signature}")
    }

    pub fn path(&self) -> String {
        format!("/api/v1/issuers/{}", self.id)
    }
}

fn pinned(key: &Ed25519KeyPair) -> Value {
    let x = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
    json!({ "type": "jwks", "jwks": { "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": "1" }] } })
}

/// Gives an agent a federated credential, and returns its ID.
pub async fn federate(server: &TestServer, admin: &str, agent: &str, fields: Value) -> String {
    let path = format!("/api/v1/agents/{agent}/credentials");
    let mut body = json!({ "type": "federated" });
    for (name, value) in fields.as_object().expect("fields") {
        body[name] = value.clone();
    }
    let answer = server.post(admin, &path, body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    answer.json()["credentialId"].as_str().expect("an id").to_owned()
}

/// Asks for a token by an assertion.
pub async fn present(server: &TestServer, client: Option<&str>, kind: &str, assertion: &str) -> Answer {
    let mut form = vec![
        ("grant_type", "client_credentials"),
        ("client_assertion_type", kind),
        ("client_assertion", assertion),
    ];
    form.extend(client.map(|client| ("client_id", client)));
    server.send(server.request(Method::POST, "/api/v1/token").form(&form)).await
}

/// An agent that authenticates by a trusted issuer.
struct Workload {
    agent: String,
    credential: String,
    platform: Platform,
}

impl Workload {
    async fn new(server: &TestServer, admin: &str, fields: Value) -> Self {
        let platform = Platform::trusted(server, admin, fields).await;
        let agent = server.agent(admin, None, &["files:read", "tokens:read"]).await;
        let identity = json!({ "issuerId": platform.id, "subject": "repo:acme/site" });
        let credential = federate(server, admin, &agent, identity).await;
        Self { agent, credential, platform }
    }

    async fn present(&self, server: &TestServer, assertion: &str) -> Answer {
        present(server, Some(&self.agent), TYPE, assertion).await
    }

    async fn token(&self, server: &TestServer) -> String {
        let answer = self.present(server, &self.platform.sign(&self.platform.claims(server))).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json()["access_token"].as_str().expect("a token").to_owned()
    }
}

fn payload(token: &str) -> Value {
    let part = token.split('.').nth(1).expect("a payload");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
}

async fn a_workload_with_nothing_but_a_token_of_its_platform_gets_ours(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let workload = Workload::new(&server, &admin, json!({})).await;
    let assertion = workload.platform.sign(&workload.platform.claims(&server));
    // A projected token is read from its file until it expires.
    for _ in 0..3 {
        let answer = workload.present(&server, &assertion).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let token = answer.json()["access_token"].as_str().expect("a token").to_owned();
        let claims = payload(&token);
        assert_eq!(claims["issuers"], json!({ &workload.platform.id: 0 }));
        assert_eq!(claims["sub"], json!(workload.agent));
        assert!(server.is_active(&token).await);
    }
    let form = [
        ("token", "unknown"),
        ("client_id", &workload.agent),
        ("client_assertion_type", TYPE),
        ("client_assertion", &assertion),
    ];
    for endpoint in ["introspect", "revoke"] {
        let path = format!("/api/v1/token/{endpoint}");
        let answer = server.send(server.request(Method::POST, &path).form(&form)).await;
        assert_eq!(answer.status, StatusCode::OK, "{endpoint}: {}", answer.text);
    }
    let issued = server.events(&admin, "&action=token.issued").await;
    assert_eq!(issued[0]["metadata"]["issuerId"], json!(workload.platform.id));
    let path = format!("/api/v1/agents/{}/credentials", workload.agent);
    let listed = server.get(&admin, &path).await.json();
    assert!(listed["data"][0]["lastUsedAt"].is_string());
}

/// Presents each assertion, and compares status, error, the reason in the audit, and what `explain` says.
async fn each_check_fails_by_its_name(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let platform =
        Platform::trusted(&server, &admin, json!({ "requireJti": true, "algorithms": ["EdDSA"] })).await;
    // Each failure is in the audit in full only once a minute and client, or a few times.
    let agent = async || {
        let agent = server.agent(&admin, None, &["files:read"]).await;
        let identity = json!({
            "issuerId": platform.id, "subject": "repo:acme/site", "claims": { "ref": ["refs/heads/main"] },
        });
        federate(&server, &admin, &agent, identity).await;
        agent
    };
    let first = agent().await;
    let with = |name: &str, value: Value| {
        let mut claims = platform.claims(&server);
        claims[name] = value;
        platform.sign(&claims)
    };
    let now = NOON.as_seconds();
    let spent = platform.sign(&platform.claims(&server));
    assert_eq!(present(&server, Some(&first), TYPE, &spent).await.status, StatusCode::OK);
    let header = |header: Value| platform.sign_with(&header, &platform.claims(&server).to_string());
    let forged = Ed25519KeyPair::generate().expect("a key");
    let forger = Platform { issuer: platform.issuer.clone(), id: String::new(), key: forged };
    let rows = [
        ("format", header(json!({ "alg": "EdDSA", "kid": "1", "crit": ["b64"], "b64": true }))),
        ("algorithm", header(json!({ "alg": "ES256", "kid": "1" }))),
        ("algorithm", header(json!({ "alg": "none" }))),
        ("key", header(json!({ "alg": "EdDSA", "kid": "2" }))),
        ("signature", forger.sign(&platform.claims(&server))),
        ("audience", with("aud", json!([server.issuer(), "https://other.example.com"]))),
        ("expiry", with("exp", json!(now))),
        ("lifetime", with("exp", json!(now + 21_601))),
        ("not_before", with("nbf", json!(now + 61))),
        ("jti", with("jti", json!(""))),
        ("jti", spent),
        ("subject", with("sub", json!("repo:acme/other"))),
        ("claims", with("ref", json!("refs/heads/feature"))),
    ];
    let mut unsaid = Vec::new();
    for (check, assertion) in &rows {
        let agent = agent().await;
        let answer = present(&server, Some(&agent), TYPE, assertion).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{check}: {}", answer.text);
        let body = answer.json();
        assert_eq!(body["error"], "invalid_client");
        let description = body["error_description"].as_str().expect("a description");
        let is_before_signature = ["format", "algorithm", "key", "signature"].contains(check);
        assert_eq!(
            description.starts_with(&format!("{check}: ")),
            !is_before_signature,
            "{check}: {description}"
        );
        assert!(!description.contains("acme") && !description.contains("refs/"), "{description}");
        if is_before_signature {
            unsaid.push(answer.text.clone());
        }
        assert_eq!(reason(&server, &admin, &agent).await, json!(check));
        let explained = explain(&server, &admin, &platform, assertion, Some(&agent)).await;
        assert_eq!(explained["verdict"], "refused", "{check}");
        let failed: Vec<_> = explained["checks"]
            .as_array()
            .expect("checks")
            .iter()
            .filter(|row| row["passed"] == false)
            .map(|row| row["check"].clone())
            .collect();
        assert_eq!(failed, [json!(check)], "{check}: {explained}");
    }
    unsaid.dedup();
    assert_eq!(unsaid.len(), 1, "the same bytes: {unsaid:?}");
    // Explaining has spent and counted nothing.
    let fresh = platform.sign(&platform.claims(&server));
    for _ in 0..2 {
        let explained = explain(&server, &admin, &platform, &fresh, None).await;
        assert_eq!(explained["verdict"], "accepted", "{explained}");
        assert_eq!(explained["agents"].as_array().map(Vec::len), Some(1 + rows.len()));
        assert_eq!(explained["claims"]["sub"], "repo:acme/site");
    }
    assert_eq!(present(&server, Some(&first), TYPE, &fresh).await.status, StatusCode::OK);
}

/// Returns the reason of the last failed authentication under that client.
async fn reason(server: &TestServer, admin: &str, agent: &str) -> Value {
    let events = server.events(admin, &format!("&action=auth.failed&resourceId={agent}")).await;
    events[0]["metadata"]["reason"].clone()
}

async fn explain(
    server: &TestServer,
    admin: &str,
    platform: &Platform,
    assertion: &str,
    client: Option<&str>,
) -> Value {
    let mut body = json!({ "assertion": assertion });
    if let Some(client) = client {
        body["clientId"] = json!(client);
    }
    let answer = server.post(admin, &format!("{}/explain", platform.path()), body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    answer.json()
}

async fn a_suspended_issuer_stops_everything_that_rests_on_it_for_good(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let workload = Workload::new(&server, &admin, json!({})).await;
    let other = Workload::new(&server, &admin, json!({})).await;
    let path = workload.platform.path();
    let (token, kept) = (workload.token(&server).await, other.token(&server).await);
    let assertion = workload.platform.sign(&workload.platform.claims(&server));
    let set = async |status: &str| {
        let answer = server.patch(&admin, &path, json!({ "status": status })).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    };
    set("suspended").await;
    for _ in 0..2 {
        assert!(!server.is_active(&token).await);
        assert_eq!(workload.present(&server, &assertion).await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(reason(&server, &admin, &workload.agent).await, "issuer_status");
        assert!(server.is_active(&kept).await, "another issuer's");
    }
    set("active").await;
    assert!(!server.is_active(&token).await, "for good");
    assert!(server.is_active(&workload.token(&server).await).await);
    for action in ["issuer.suspended", "issuer.reactivated"] {
        let events = server.events(&admin, &format!("&action={action}")).await;
        assert_eq!(
            (events.len(), &events[0]["resource"]["id"]),
            (1, &json!(workload.platform.id)),
            "{action}"
        );
    }
}

async fn a_deleted_issuer_ends_the_tokens_that_rest_on_it(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let workload = Workload::new(&server, &admin, json!({})).await;
    let token = workload.token(&server).await;
    let path = workload.platform.path();
    let answer = server.delete(&admin, &path).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::CONFLICT, "ISSUER_IN_USE".to_owned()));
    let credential = format!("/api/v1/agents/{}/credentials/{}", workload.agent, workload.credential);
    assert_eq!(server.delete(&admin, &credential).await.status, StatusCode::NO_CONTENT);
    assert!(server.is_active(&token).await, "a revoked credential ends no token");
    assert_eq!(server.delete(&admin, &path).await.status, StatusCode::NO_CONTENT);
    assert!(!server.is_active(&token).await);
    assert_eq!(server.get(&admin, &path).await.code(), "ISSUER_NOT_FOUND");
    let listed = server.get(&admin, &format!("/api/v1/agents/{}/credentials", workload.agent)).await.json();
    assert_eq!(listed["data"][0]["issuerId"], json!(workload.platform.id), "its id is still shown");
    // The same issuer can be trusted again, as another one.
    let again = Platform::trusted_as(&server, &admin, &workload.platform.issuer, json!({})).await;
    assert_ne!(again.id, workload.platform.id);
    assert!(!server.is_active(&token).await);
}

async fn an_assertion_of_a_strict_issuer_is_used_once_anywhere(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let workload = Workload::new(&server, &admin, json!({ "requireJti": true })).await;
    // Another agent with the same identity.
    let other = server.agent(&admin, None, &["files:read"]).await;
    let identity = json!({ "issuerId": workload.platform.id, "subject": "repo:acme/site" });
    federate(&server, &admin, &other, identity).await;
    let assertion = workload.platform.sign(&workload.platform.claims(&server));
    for client in [None, Some(workload.agent.as_str())] {
        let explained = explain(&server, &admin, &workload.platform, &assertion, client).await;
        assert_eq!(explained["agents"].as_array().map(Vec::len), Some(2), "{explained}");
    }
    assert_eq!(workload.present(&server, &assertion).await.status, StatusCode::OK);
    assert_eq!(workload.present(&server, &assertion).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(present(&server, Some(&other), TYPE, &assertion).await.status, StatusCode::UNAUTHORIZED);
    let second = workload.platform.sign(&workload.platform.claims(&server));
    let form = [
        ("token", "unknown"),
        ("client_id", &workload.agent),
        ("client_assertion_type", TYPE),
        ("client_assertion", &second),
    ];
    let introspect = async || {
        server.send(server.request(Method::POST, "/api/v1/token/introspect").form(&form)).await.status
    };
    assert_eq!((introspect().await, introspect().await), (StatusCode::OK, StatusCode::UNAUTHORIZED));
    assert_eq!(workload.present(&server, &second).await.status, StatusCode::UNAUTHORIZED);
}

async fn a_federated_credential_is_listed_expires_and_is_revoked_like_others(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let workload = Workload::new(&server, &admin, json!({})).await;
    let path = format!("/api/v1/agents/{}/credentials", workload.agent);
    let listed = server.get(&admin, &path).await.json();
    let shown = &listed["data"][0];
    assert_eq!(shown["type"], "federated");
    assert_eq!(
        (&shown["issuerId"], &shown["subject"]),
        (&json!(workload.platform.id), &json!("repo:acme/site"))
    );
    assert!(shown.get("claims").is_none() && shown.get("clientSecret").is_none());
    let rotated = server.post(&admin, &format!("{path}/{}/rotate", workload.credential), json!({})).await;
    assert_eq!((rotated.status, rotated.code()), (StatusCode::CONFLICT, "CONFLICT".to_owned()));
    let assertion = workload.platform.sign(&workload.platform.claims(&server));
    assert_eq!(workload.present(&server, &assertion).await.status, StatusCode::OK);
    assert_eq!(
        server.delete(&admin, &format!("{path}/{}", workload.credential)).await.status,
        StatusCode::NO_CONTENT
    );
    for _ in 0..2 {
        assert_eq!(workload.present(&server, &assertion).await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(reason(&server, &admin, &workload.agent).await, "issuer", "none is live");
    }
    let expires = json!({
        "issuerId": workload.platform.id, "subject": "repo:acme/site", "expiresAt": "2026-01-15T12:10:00Z",
    });
    federate(&server, &admin, &workload.agent, expires).await;
    assert_eq!(workload.present(&server, &assertion).await.status, StatusCode::OK);
    server.advance(600);
    for _ in 0..2 {
        assert_eq!(workload.present(&server, &assertion).await.status, StatusCode::UNAUTHORIZED);
    }
    for _ in 0..10 {
        let body = json!({ "type": "federated", "issuerId": workload.platform.id, "subject": "a" });
        server.post(&admin, &path, body).await;
    }
    let body = json!({ "type": "federated", "issuerId": workload.platform.id, "subject": "a" });
    assert_eq!(server.post(&admin, &path, body).await.code(), "CREDENTIAL_LIMIT_REACHED");
}

async fn each_organization_has_issuers_of_its_own(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let ours = Workload::new(&server, &admin, json!({})).await;
    let organization = server.organization(&admin, json!({})).await;
    let theirs = Platform::trusted_as(
        &server,
        &admin,
        &ours.platform.issuer,
        json!({ "organizationId": organization }),
    )
    .await;
    let tenant =
        server.agent(&admin, Some(&organization), &["issuers:read", "issuers:write", "agents:write"]).await;
    let tenant = server.secret(&admin, &tenant).await;
    let tenant = server.token(&tenant, &[]).await;
    assert_eq!(server.get(&tenant, &ours.platform.path()).await.code(), "ISSUER_NOT_FOUND");
    assert_eq!(
        server.patch(&tenant, &ours.platform.path(), json!({ "name": "x1" })).await.code(),
        "ISSUER_NOT_FOUND"
    );
    assert_eq!(server.delete(&tenant, &ours.platform.path()).await.code(), "ISSUER_NOT_FOUND");
    let body = json!({ "assertion": "a.b.c" });
    let explained = server.post(&tenant, &format!("{}/explain", ours.platform.path()), body).await;
    assert_eq!(explained.code(), "ISSUER_NOT_FOUND");
    let body = json!({ "assertion": "a.b.c", "clientId": ours.agent });
    let explained = server.post(&tenant, &format!("{}/explain", theirs.path()), body).await;
    assert_eq!(explained.code(), "AGENT_NOT_FOUND");
    let listed = server.get(&tenant, "/api/v1/issuers").await.json();
    assert_eq!((&listed["total"], &listed["data"][0]["issuerId"]), (&json!(1), &json!(theirs.id)));
    // Their keys sign nothing for our agents, although the issuer has the same URL.
    let forged = Platform { issuer: ours.platform.issuer.clone(), id: String::new(), key: theirs.key };
    let answer = ours.present(&server, &forged.sign(&forged.claims(&server))).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    let path = format!("/api/v1/agents/{}/credentials", ours.agent);
    let body = json!({ "type": "federated", "issuerId": theirs.id, "subject": "repo:acme/site" });
    let refused = server.post(&admin, &path, body).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.text);
}

async fn the_form_of_an_issuer_is_checked_field_by_field(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let key = Ed25519KeyPair::generate().expect("a key");
    let valid = json!({ "name": "CI", "issuer": "https://ci.example.com", "keys": pinned(&key) });
    let issuer = server.issuer();
    let jwk = |change: Value| json!({ "type": "jwks", "jwks": { "keys": [change] } });
    for (field, value, at) in [
        ("name", json!("a"), "name"),
        ("issuer", json!("ci.example.com"), "issuer"),
        ("issuer", json!("https://ci.example.com?x"), "issuer"),
        ("issuer", json!("https://user@ci.example.com"), "issuer"),
        ("issuer", json!("http://ci.example.com"), "issuer"),
        ("issuer", json!("http://127.0.0.1:1"), "issuer"),
        ("issuer", json!("spiffe://a/b"), "issuer"),
        ("issuer", json!(issuer), "issuer"),
        ("issuer", json!(format!("{issuer}/")), "issuer"),
        ("issuer", json!(7), "issuer"),
        ("keys", json!({}), "keys.type"),
        ("keys", json!({ "type": "jwks" }), "keys.jwks"),
        ("keys", json!({ "type": "jwks_uri" }), "keys.uri"),
        ("keys", json!({ "type": "jwks_uri", "uri": "http://a.example.com" }), "keys.uri"),
        ("keys", json!({ "type": "jwks_uri", "uri": "file:///etc/passwd" }), "keys.uri"),
        ("keys", json!({ "type": "discovery", "uri": "https://a.example.com" }), "keys.uri"),
        ("keys", json!({ "type": "spiffe_bundle", "uri": "https://a.example.com" }), "keys"),
        ("keys", json!({ "type": "jwks", "jwks": { "keys": [] } }), "keys.jwks"),
        ("keys", jwk(json!({ "kty": "oct", "k": "AAAA" })), "keys.jwks.keys[0]"),
        (
            "keys",
            jwk(json!({ "kty": "OKP", "crv": "Ed25519", "x": "A".repeat(43), "d": "AAAA" })),
            "keys.jwks.keys[0]",
        ),
        (
            "keys",
            jwk(json!({ "kty": "EC", "crv": "P-384", "x": "A".repeat(64), "y": "A".repeat(64) })),
            "keys.jwks.keys[0]",
        ),
        ("audiences", json!([]), "audiences"),
        ("audiences", json!(["a", "a"]), "audiences[1]"),
        ("audiences", json!([""]), "audiences[0]"),
        ("algorithms", json!(["HS256"]), "algorithms[0]"),
        ("algorithms", json!(["EdDSA", "Ed25519"]), "algorithms[1]"),
        ("algorithms", json!([]), "algorithms"),
        ("maxLifetimeSeconds", json!(59), "maxLifetimeSeconds"),
        ("maxLifetimeSeconds", json!(90_001), "maxLifetimeSeconds"),
        ("requireJti", json!("true"), "requireJti"),
        ("subjects", json!({}), "subjects.audiences"),
        ("subjects", subjects(&["*", UNKNOWN_ID], &["a:b"]), "subjects.mayAct"),
        ("subjects", subjects(&["*"], &["agents:read"]), "subjects.scopes"),
        ("status", json!("active"), "status"),
        ("unknown", json!(1), "unknown"),
    ] {
        let mut body = valid.clone();
        body[field] = value.clone();
        let answer = server.post(&admin, "/api/v1/issuers", body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{field} {value}: {}", answer.text);
        let fields: Vec<_> = answer.json()["details"]["errors"]
            .as_array()
            .expect("errors")
            .iter()
            .map(|error| error["field"].as_str().expect("a field").to_owned())
            .collect();
        assert!(fields.contains(&at.to_owned()), "{field} {value}: {fields:?}");
    }
    let mut both = valid.clone();
    both["audiences"] = json!(["app"]);
    both["subjects"] = subjects(&["*"], &["a:b"]);
    let answer = server.post(&admin, "/api/v1/issuers", both).await;
    assert_eq!(answer.json()["details"]["errors"][0]["field"], "audiences", "{}", answer.text);
    let mut several = valid.clone();
    several["keys"] = json!({ "type": "jwks_uri", "uri": "https://10.0.0.1/keys" });
    several["subjects"] = subjects(&["*"], &["a:b"]);
    several["subjects"]["audiences"] = json!([issuer]);
    let answer = server.post(&admin, "/api/v1/issuers", several).await;
    assert_eq!(answer.faults(), ["keys.uri", "subjects.audiences"], "all at once");
    let mut own = valid.clone();
    own["subjects"] = subjects(&["*"], &["a:b"]);
    own["subjects"]["audiences"] = json!([issuer]);
    let answer = server.post(&admin, "/api/v1/issuers", own).await;
    assert_eq!(answer.faults(), ["subjects.audiences"], "{}", answer.text);
    let created = server.post(&admin, "/api/v1/issuers", valid.clone()).await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.text);
    let shown = created.json();
    assert_eq!(shown["audiences"], json!([issuer]));
    assert_eq!(shown["algorithms"], json!(["RS256", "PS256", "ES256", "EdDSA"]));
    assert_eq!((&shown["maxLifetimeSeconds"], &shown["subjects"]), (&json!(21_600), &Value::Null));
    assert_eq!((&shown["requireJti"], &shown["subjectOptional"]), (&json!(false), &json!(false)));
    assert_eq!((&shown["status"], &shown["keysStatus"]["state"]), (&json!("active"), &json!("ok")));
    assert_eq!(shown["keys"]["jwks"]["keys"][0]["kid"], "1");
    let location = created.headers["location"].to_str().expect("text").to_owned();
    assert_eq!(location, format!("/api/v1/issuers/{}", shown["issuerId"].as_str().expect("an id")));
    assert_eq!(server.post(&admin, "/api/v1/issuers", valid).await.code(), "ISSUER_ALREADY_EXISTS");
    // One from which nothing can be fetched is created nevertheless.
    let far = json!({ "name": "Far", "issuer": "https://unknown.invalid", "keys": { "type": "discovery" } });
    let answer = server.post(&admin, "/api/v1/issuers", far).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    assert_eq!(answer.json()["keysStatus"]["state"], "failing");
    assert!(answer.json()["keysStatus"]["error"].is_string());
}

fn subjects(may_act: &[&str], scopes: &[&str]) -> Value {
    json!({ "audiences": ["app"], "mayAct": may_act, "scopes": scopes, "maxAgeSeconds": 600 })
}

async fn the_form_of_a_federated_credential_is_checked_field_by_field(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let strict = Platform::trusted(&server, &admin, json!({})).await.id;
    let lax = Platform::trusted(&server, &admin, json!({ "subjectOptional": true })).await.id;
    let agent = server.agent(&admin, None, &["files:read"]).await;
    let path = format!("/api/v1/agents/{agent}/credentials");
    let many: serde_json::Map<String, Value> = (0..11).map(|n| (format!("c{n}"), json!(1))).collect();
    for (body, field) in [
        (json!({ "subject": "a" }), "issuerId"),
        (json!({ "issuerId": "x", "subject": "a" }), "issuerId"),
        (json!({ "issuerId": UNKNOWN_ID, "subject": "a" }), "issuerId"),
        (json!({ "issuerId": strict }), "subject"),
        (json!({ "issuerId": strict, "subject": "" }), "subject"),
        (json!({ "issuerId": strict, "subject": 7 }), "subject"),
        (json!({ "issuerId": strict, "subject": "x".repeat(513) }), "subject"),
        (json!({ "issuerId": strict, "claims": { "ref": "a" } }), "subject"),
        (json!({ "issuerId": lax, "claims": {} }), "claims"),
        (json!({ "issuerId": lax, "claims": [] }), "claims"),
        (json!({ "issuerId": lax, "claims": many }), "claims"),
        (json!({ "issuerId": lax, "claims": { "a": null } }), "claims.a"),
        (json!({ "issuerId": lax, "claims": { "a": { "b": 1 } } }), "claims.a"),
        (json!({ "issuerId": lax, "claims": { "/a~": 1 } }), "claims./a~"),
        (json!({ "issuerId": strict, "subject": "a", "publicKey": {} }), "publicKey"),
        (json!({ "type": "client_secret", "subject": "a" }), "subject"),
        (json!({ "type": "public_key", "issuerId": strict }), "issuerId"),
    ] {
        let mut body = body;
        if body.get("type").is_none() {
            body["type"] = json!("federated");
        }
        let answer = server.post(&admin, &path, body.clone()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}: {}", answer.text);
        let errors = answer.json()["details"]["errors"].clone();
        let is_named = errors.as_array().expect("errors").iter().any(|error| {
            error["field"]
                .as_str()
                .is_some_and(|name| name == field || name.starts_with(&format!("{field}.")))
        });
        assert!(is_named, "{body}: {errors}");
    }
    let claims = json!({ "ref": ["a", "b"], "/k/namespace": "prod", "run": 7, "fork": false });
    let body = json!({ "type": "federated", "issuerId": lax, "claims": claims });
    let answer = server.post(&admin, &path, body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    assert_eq!(answer.json()["claims"], claims);
    assert!(answer.json().get("subject").is_none());
}

async fn an_issuer_is_changed_field_by_field(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let platform = Platform::trusted(&server, &admin, json!({ "audiences": ["own"] })).await;
    let path = platform.path();
    let before = server.get(&admin, &path).await.json();
    assert_eq!(server.patch(&admin, &path, json!({})).await.json(), before, "nothing changes");
    assert_eq!(server.events(&admin, "&action=issuer.updated").await.len(), 0);
    for (name, value) in [
        ("name", json!("Other")),
        ("audiences", json!(["a", "b"])),
        ("algorithms", json!(["ES384"])),
        ("maxLifetimeSeconds", json!(60)),
        ("requireJti", json!(true)),
        ("subjectOptional", json!(true)),
        ("subjects", subjects(&["*"], &["a:b"])),
        ("subjects", Value::Null),
        ("status", json!("suspended")),
    ] {
        let answer = server.patch(&admin, &path, json!({ name: value })).await;
        assert_eq!(answer.status, StatusCode::OK, "{name}: {}", answer.text);
        if name != "subjects" || value.is_null() {
            assert_eq!(answer.json()[name], value);
        }
        assert_eq!(server.get(&admin, &path).await.json(), answer.json());
    }
    let fields: Vec<_> = server
        .events(&admin, "&action=issuer.updated")
        .await
        .iter()
        .map(|event| event["metadata"]["fields"][0].clone())
        .collect();
    assert_eq!(fields.len(), 8, "{fields:?}");
    let new = Ed25519KeyPair::generate().expect("a key");
    let answer = server.patch(&admin, &path, json!({ "keys": pinned(&new) })).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    for (body, field) in [
        (json!({ "keys": { "type": "discovery" } }), "keys"),
        (json!({ "issuer": "https://else.example.com" }), "issuer"),
        (json!({ "keysStatus": {} }), "keysStatus"),
        (
            json!({ "subjects": { "audiences": ["a"], "mayAct": ["*"], "scopes": ["a:b"], "maxAgeSeconds": 60 } }),
            "subjects.audiences",
        ),
    ] {
        let answer = server.patch(&admin, &path, body.clone()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}: {}", answer.text);
        assert_eq!(answer.json()["details"]["errors"][0]["field"], json!(field), "{}", answer.text);
    }
}

async fn scopes_are_required(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let workload = Workload::new(&server, &admin, json!({})).await;
    let path = workload.platform.path();
    let with = async |scopes: &[&str]| {
        let client = server.client(&admin, None, scopes).await;
        server.token(&client, &[]).await
    };
    let others: Vec<_> =
        MANAGEMENT_SCOPES.into_iter().filter(|scope| !scope.starts_with("issuers:")).collect();
    let none = with(&others).await;
    let reader = with(&["issuers:read"]).await;
    let writer = with(&["issuers:write"]).await;
    for token in [&none, &writer] {
        assert_eq!(server.get(token, "/api/v1/issuers").await.status, StatusCode::FORBIDDEN);
        assert_eq!(server.get(token, &path).await.status, StatusCode::FORBIDDEN);
        let body = json!({ "assertion": "a" });
        let answer = server.post(token, &format!("{path}/explain"), body).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
    }
    for token in [&none, &reader] {
        let body =
            json!({ "name": "CI", "issuer": "https://x.example.com", "keys": { "type": "discovery" } });
        assert_eq!(server.post(token, "/api/v1/issuers", body).await.status, StatusCode::FORBIDDEN);
        assert_eq!(server.patch(token, &path, json!({ "name": "AB" })).await.status, StatusCode::FORBIDDEN);
        assert_eq!(server.delete(token, &path).await.status, StatusCode::FORBIDDEN);
    }
    assert_eq!(server.get(&reader, &path).await.status, StatusCode::OK);
    assert_eq!(server.patch(&writer, &path, json!({ "name": "AB" })).await.status, StatusCode::OK);
    // The workload may read tokens, the caller may not.
    let answer = server.patch(&writer, &path, json!({ "requireJti": true })).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(answer.json()["details"]["missingScopes"], json!(["tokens:read"]), "{}", answer.text);
    let elsewhere = json!({
        "name": "CI", "issuer": "https://x.example.com", "keys": { "type": "discovery" },
        "organizationId": server.organization(&admin, json!({})).await,
    });
    let answer = server.post(&writer, "/api/v1/issuers", elsewhere).await;
    assert_eq!(answer.json()["details"]["missingScopes"], json!(["admin:orgs"]), "{}", answer.text);
}

async fn a_trust_domain_finds_its_issuer(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let domain = format!("td{}.example.org", unique());
    let platform = Platform::trusted_as(&server, &admin, &format!("spiffe://{domain}"), json!({})).await;
    let agent = server.agent(&admin, None, &["files:read"]).await;
    let subject = format!("spiffe://{domain}/ns/prod/sa/worker");
    federate(&server, &admin, &agent, json!({ "issuerId": platform.id, "subject": subject })).await;
    let now = NOON.as_seconds();
    let svid = json!({ "sub": subject, "aud": [server.issuer()], "exp": now + 300 });
    let mut with_issuer = svid.clone();
    with_issuer["iss"] = json!("https://oidc.example.org");
    let mut named = svid.clone();
    named["iss"] = json!(platform.issuer);
    for (kind, claims, status) in [
        (SPIFFE_TYPE, &svid, StatusCode::OK),
        (TYPE, &svid, StatusCode::OK),
        (SPIFFE_TYPE, &with_issuer, StatusCode::OK),
        (TYPE, &with_issuer, StatusCode::UNAUTHORIZED),
        (TYPE, &named, StatusCode::OK),
        (SPIFFE_TYPE, &named, StatusCode::OK),
    ] {
        let answer = present(&server, Some(&agent), kind, &platform.sign(claims)).await;
        assert_eq!(answer.status, status, "{kind} {claims}: {}", answer.text);
    }
    let mut foreign = named.clone();
    foreign["sub"] = json!("spiffe://evil.example.org/ns/prod/sa/worker");
    let answer = present(&server, Some(&agent), TYPE, &platform.sign(&foreign)).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    let answer = present(&server, Some(&agent), "urn:other", &platform.sign(&svid)).await;
    assert_eq!(
        (answer.status, &answer.json()["error"]),
        (StatusCode::BAD_REQUEST, &json!("invalid_request"))
    );
    let body = json!({ "subjects": subjects(&["*"], &["a:b"]) });
    assert_eq!(server.patch(&admin, &platform.path(), body).await.status, StatusCode::BAD_REQUEST);
}

async fn what_says_nothing_of_a_client_says_the_same(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let workload = Workload::new(&server, &admin, json!({})).await;
    let plain = server.agent(&admin, None, &["files:read"]).await;
    let assertion = workload.platform.sign(&workload.platform.claims(&server));
    let untrusted = Platform {
        issuer: "https://untrusted.example.com".to_owned(),
        id: String::new(),
        key: Ed25519KeyPair::generate().expect("a key"),
    };
    let mut bodies = Vec::new();
    for (client, assertion) in [
        (UNKNOWN_ID, assertion.clone()),
        ("not-an-id", assertion.clone()),
        (&plain, assertion.clone()),
        (&workload.agent, untrusted.sign(&untrusted.claims(&server))),
        (&workload.agent, untrusted.sign(&workload.platform.claims(&server))),
        (&workload.agent, "e30.e30.AA".to_owned()),
        (&workload.agent, "a.b.c".to_owned()),
        (&workload.agent, format!("{assertion}{}", "A".repeat(16 * 1024))),
    ] {
        let answer = present(&server, Some(client), TYPE, &assertion).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{client}: {}", answer.text);
        bodies.push(answer.text);
    }
    let other = Workload::new(&server, &admin, json!({})).await;
    bodies.push(present(&server, Some(&other.agent), SPIFFE_TYPE, "a.b.c").await.text);
    assert_eq!(reason(&server, &admin, &other.agent).await, "format");
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    let answer = present(&server, None, TYPE, &assertion).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let description = answer.json()["error_description"].as_str().expect("a description").to_owned();
    assert!(description.contains("client_id"), "{description}");
    // A script sends this if a variable of it is empty.
    let empty = present(&server, Some(&workload.agent), TYPE, "").await;
    empty.assert_error(400, "invalid_request");
    assert_eq!(empty.json()["error_description"], "client_assertion is missing or empty");
    let untyped = present(&server, Some(&workload.agent), "jwt-bearer", &assertion).await;
    untyped.assert_error(400, "invalid_request");
    assert!(untyped.text.contains("client-assertion-type:jwt-bearer"), "{}", untyped.text);
}
