//! Reasons of failed authentications: in the audit log always, to the client only once its key has signed.

use agentidp::ports::clock::Clock as _;
use aws_lc_rs::signature::Ed25519KeyPair;
use reqwest::Method;
use serde_json::{Value, json};
use testing::{Answer, Client, TestServer, UNKNOWN_ID, Wiring};

use crate::client_assertions::{Signer, TYPE};
use crate::scenarios::scenarios;

scenarios!(every_wiring [
    the_audit_names_the_reason_that_a_secret_was_refused_for,
    the_audit_names_the_reason_that_a_token_was_refused_for,
    an_assertion_that_a_key_signed_is_refused_by_the_name_of_the_check,
]);

/// Twelve hours after [`NOON`](testing::NOON), when the tests begin.
const MIDNIGHT: &str = "2026-01-16T00:00:00Z";
/// Body of every refusal that must reveal nothing.
const NOTHING: &str = r#""error_description":"client authentication failed""#;

/// Returns the reason in the newest `auth.failed` event.
async fn reason(server: &TestServer, admin: &str) -> Value {
    server.advance(60);
    let events = server.events(admin, "&action=auth.failed").await;
    events[0]["metadata"]["reason"].clone()
}

async fn the_audit_names_the_reason_that_a_secret_was_refused_for(wiring: Wiring) {
    let server = TestServer::start_with(wiring, &["--token-ttl-seconds", "86400"]).await;
    let admin = server.admin_token().await;
    let client = async || server.client(&admin, None, &["files:read"]).await;
    let path = |client: &Client| format!("/api/v1/agents/{}/credentials/{}", client.id, client.credential);
    let refused = async |client: &Client| {
        let answer = server.ask_token(client, &[]).await;
        answer.assert_error(401, "invalid_client");
        assert!(answer.text.contains(NOTHING), "{}", answer.text);
        reason(&server, &admin).await
    };

    let known = client().await;
    let other = client().await;
    assert_eq!(refused(&Client { id: UNKNOWN_ID.into(), ..known.clone() }).await, "unknown_client");
    assert_eq!(refused(&Client { id: "x".into(), ..known.clone() }).await, "unknown_client");
    assert_eq!(refused(&Client { secret: "hunter2".into(), ..known.clone() }).await, "secret");
    assert_eq!(refused(&Client { secret: other.secret.clone(), ..known.clone() }).await, "secret");

    let revoked = client().await;
    server.delete(&admin, &path(&revoked)).await;
    assert_eq!(refused(&revoked).await, "revoked");
    let decommissioned = client().await;
    server.delete(&admin, &format!("/api/v1/agents/{}", decommissioned.id)).await;
    assert_eq!(refused(&decommissioned).await, "revoked");

    let at_once = client().await;
    server.post(&admin, &format!("{}/rotate", path(&at_once)), json!({})).await;
    assert_eq!(refused(&at_once).await, "secret");
    let graced = client().await;
    server.post(&admin, &format!("{}/rotate", path(&graced)), json!({ "graceSeconds": 60 })).await;
    server.advance(60);
    assert_eq!(refused(&graced).await, "expired");

    let agent = server.agent(&admin, None, &["files:read"]).await;
    let path = format!("/api/v1/agents/{agent}/credentials");
    let made = server.post(&admin, &path, json!({ "expiresAt": MIDNIGHT })).await.json();
    let text = |name: &str| made[name].as_str().expect("text").to_owned();
    let expiring = Client { id: agent, secret: text("clientSecret"), credential: text("credentialId") };
    server.advance(12 * 3600);
    assert_eq!(refused(&expiring).await, "expired");
}

async fn the_audit_names_the_reason_that_a_token_was_refused_for(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let organization = server.organization(&admin, json!({ "resources": ["https://api.example.com"] })).await;
    let client = server.client(&admin, Some(&organization), &["files:read", "agents:read"]).await;
    let refused = async |token: &str| {
        server.get(token, "/api/v1/agents").await.assert_error(401, "UNAUTHORIZED");
        reason(&server, &server.admin_token().await).await
    };

    let scope = [("scope", "agents:read")];
    let token = server.token(&client, &scope).await;
    assert_eq!(refused(&token[..token.len() - 4]).await, "signature");
    assert_eq!(refused("x").await, "signature");
    let elsewhere = server.token(&client, &[("resource", "https://api.example.com")]).await;
    assert_eq!(refused(&elsewhere).await, "audience");
    let revoked = server.token(&client, &scope).await;
    let form = [("token", revoked.as_str())];
    let request = server.request(Method::POST, "/api/v1/token/revoke").bearer_auth(&admin).form(&form);
    assert_eq!(server.send(request).await.status, 200);
    assert_eq!(refused(&revoked).await, "revoked");
    server.post(&admin, &format!("/api/v1/agents/{}/tokens/revoke", client.id), json!({})).await;
    assert_eq!(refused(&token).await, "inactive");
    let expired = server.token(&client, &scope).await;
    server.advance(3600);
    assert_eq!(refused(&expired).await, "expired");
}

/// Returns an assertion with this algorithm in its header and these claims instead of the right ones.
fn assertion(signer: &Signer, server: &TestServer, algorithm: &str, but: &Value) -> String {
    let now = server.clock.now().as_seconds();
    let mut claims = signer.claims(server);
    (claims["exp"], claims["iat"]) = (json!(now + 600), json!(now));
    for (name, value) in but.as_object().expect("an object") {
        claims[name] = value.clone();
    }
    claims.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
    signer.sign(&json!({ "alg": algorithm }), &claims)
}

/// Presents an assertion at an endpoint.
async fn present(server: &TestServer, path: &str, assertion: &str) -> Answer {
    let form = [
        ("grant_type", "client_credentials"),
        ("token", "x"),
        ("client_assertion_type", TYPE),
        ("client_assertion", assertion),
    ];
    server.send(server.request(Method::POST, path).form(&form)).await
}

async fn an_assertion_that_a_key_signed_is_refused_by_the_name_of_the_check(wiring: Wiring) {
    let server = TestServer::start_with(wiring, &["--token-ttl-seconds", "86400"]).await;
    let admin = server.admin_token().await;
    let signer = Signer::new(&server, &admin).await;
    let issuer = server.issuer();
    let refused = async |assertion: &str, reason: &str, words: &str| {
        for path in ["/api/v1/token", "/api/v1/token/introspect", "/api/v1/token/revoke"] {
            let answer = present(&server, path, assertion).await;
            answer.assert_error(401, "invalid_client");
            assert!(answer.text.contains(words), "{reason}: {}", answer.text);
            assert_eq!(self::reason(&server, &admin).await, reason);
        }
    };

    // A key has signed: the response names the check.
    for (but, reason, words) in [
        (json!({ "iss": UNKNOWN_ID }), "issuer", "the assertion's iss must be the client_id".to_owned()),
        (json!({ "aud": "https://x" }), "audience", format!("the assertion's aud must be {issuer}")),
        (
            json!({ "aud": [issuer] }),
            "audience",
            format!("the assertion's aud must be {issuer}, as one string"),
        ),
        (json!({ "aud": null }), "audience", format!("the assertion's aud must be {issuer}")),
        (json!({ "exp": null }), "lifetime", "the assertion's exp is missing".to_owned()),
        (json!({ "exp": 1_700_000_000 }), "expired", "the assertion's exp has passed".to_owned()),
        (json!({ "exp": 1_900_000_000 }), "lifetime", "exp must be at most 3600 s ahead".to_owned()),
        (json!({ "iat": 1_900_000_000 }), "not_before", "nbf and iat must be at most 10 s ahead".to_owned()),
        (json!({ "nbf": 1_900_000_000 }), "not_before", "nbf and iat must be at most 10 s ahead".to_owned()),
        (json!({ "jti": null }), "jti", "the assertion's jti is missing".to_owned()),
    ] {
        refused(&assertion(&signer, &server, "EdDSA", &but), reason, &words).await;
    }
    let exp = server.clock.now().as_seconds() + 3_000;
    let spent = self::assertion(&signer, &server, "EdDSA", &json!({ "exp": exp }));
    assert_eq!(present(&server, "/api/v1/token", &spent).await.status, 200);
    refused(&spent, "replayed", "the assertion's jti was used before").await;

    // Before that, every refusal is the same.
    let other =
        Signer { key: Ed25519KeyPair::generate().expect("a key"), agent: signer.agent.clone(), ..signer };
    for (assertion, reason) in [
        (assertion(&other, &server, "EdDSA", &json!({})), "signature"),
        (assertion(&other, &server, "EdDSA", &json!({ "aud": "https://x" })), "signature"),
        (assertion(&other, &server, "ES256", &json!({})), "algorithm"),
        (assertion(&other, &server, "EdDSA", &json!({ "sub": UNKNOWN_ID })), "unknown_client"),
        (assertion(&other, &server, "EdDSA", &json!({ "sub": "me" })), "format"),
        (assertion(&other, &server, "EdDSA", &json!({ "exp": "soon" })), "format"),
        (assertion(&other, &server, "EdDSA", &json!({ "jti": "a\u{1}b" })), "format"),
        ("x".to_owned(), "format"),
    ] {
        refused(&assertion, reason, NOTHING).await;
    }
    let keyless = server.agent(&admin, None, &["files:read"]).await;
    let keyless = assertion(&other, &server, "EdDSA", &json!({ "iss": keyless, "sub": keyless }));
    refused(&keyless, "unknown_key", NOTHING).await;
    let path = format!("/api/v1/agents/{}/credentials/{}", other.agent, other.credential);
    server.delete(&admin, &path).await;
    refused(&assertion(&other, &server, "EdDSA", &json!({})), "unknown_key", NOTHING).await;
    let expiring = json!({ "type": "public_key", "publicKey": other.jwk(), "expiresAt": MIDNIGHT });
    let path = format!("/api/v1/agents/{}/credentials", other.agent);
    assert_eq!(server.post(&admin, &path, expiring).await.status, 201);
    server.advance(12 * 3600);
    refused(&assertion(&other, &server, "EdDSA", &json!({})), "expired", NOTHING).await;
}
