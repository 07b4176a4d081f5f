//! Proofs of possession (RFC 9449): tokens that are bound to a key.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testing::{Answer, Client, NOON, ProofKey as Key, TestServer, Wiring, proof_claims};

use crate::delegation::{ACCESS_TOKEN, JWT};
use crate::federation::Platform;
use crate::scenarios::scenarios;

scenarios!(every_wiring [
    a_token_is_bound_to_the_key_of_its_proof_and_works_with_proofs_only,
    a_proof_is_used_once_at_the_token_endpoint_however_many_race,
    a_proof_is_used_once_at_the_api_however_many_race,
    an_agent_that_requires_proofs_has_no_bearer_tokens,
]);
scenarios!(stateless [
    a_bound_token_never_becomes_a_bearer_token,
    every_algorithm_that_is_listed_makes_proofs,
    a_request_without_a_token_is_offered_both_schemes,
]);

const TOKEN: &str = "/api/v1/token";

/// Requests a token with this proof, and with these parameters in addition to the credentials.
async fn ask(server: &TestServer, client: &Client, proofs: &[&str], form: &[(&str, &str)]) -> Answer {
    let mut request = server.request(Method::POST, TOKEN).form(form);
    for proof in proofs {
        request = request.header("DPoP", *proof);
    }
    server.send(request.basic_auth(&client.id, Some(&client.secret))).await
}

const PLAIN: [(&str, &str); 1] = [("grant_type", "client_credentials")];

/// Issues a token that is bound to the key.
async fn bound(server: &TestServer, client: &Client, key: &Key) -> String {
    let answer = ask(server, client, &[&key.proof(&server.issuer(), "POST", TOKEN, None)], &PLAIN).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.json()["token_type"], "DPoP");
    answer.json()["access_token"].as_str().expect("a token").to_owned()
}

/// Sends a GET request with this scheme, token and proof.
async fn get(server: &TestServer, path: &str, (scheme, token): (&str, &str), proofs: &[&str]) -> Answer {
    let mut request = server.request(Method::GET, path).header("Authorization", format!("{scheme} {token}"));
    for proof in proofs {
        request = request.header("DPoP", *proof);
    }
    server.send(request).await
}

fn assert_challenge(answer: &Answer, error: &str) {
    answer.assert_error(401, "UNAUTHORIZED");
    let expected = format!(r#"DPoP error="{error}", algs="ES256 EdDSA RS256 PS256""#);
    assert_eq!(answer.header("www-authenticate"), Some(expected.as_str()), "{}", answer.text);
}

async fn a_token_is_bound_to_the_key_of_its_proof_and_works_with_proofs_only(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.unlimited_admin_token().await;
    let reader = server.client(&admin, None, &["agents:read"]).await;
    let key = Key::es256();
    let token = bound(&server, &reader, &key).await;
    let part = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).expect("a payload")).expect("base64");
    let payload: Value = serde_json::from_slice(&part).expect("JSON");
    assert_eq!(payload["cnf"], json!({ "jkt": key.thumbprint() }));
    let shown = server.introspect(&token).await;
    assert_eq!((&shown["cnf"], &shown["token_type"]), (&payload["cnf"], &json!("DPoP")));
    assert_eq!(server.introspect(&server.token(&reader, &[]).await).await["cnf"], Value::Null);

    let path = format!("/api/v1/agents/{}", reader.id);
    let proof = || key.proof(&server.issuer(), "GET", &path, Some(&token));
    for scheme in ["DPoP", "dpop"] {
        let answer = get(&server, &path, (scheme, &token), &[&proof()]).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    }
    // Query and fragment are not part of what is proved.
    let list = "/api/v1/agents";
    let proof_of_list = key.proof(&server.issuer(), "GET", list, Some(&token));
    let answer = get(&server, &format!("{list}?limit=1"), ("DPoP", &token), &[&proof_of_list]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_challenge(&get(&server, &path, ("Bearer", &token), &[&proof()]).await, "invalid_token");
    assert_challenge(&get(&server, &path, ("Bearer", &token), &[]).await, "invalid_token");
    let plain = server.token(&reader, &[]).await;
    let proof_of_plain = key.proof(&server.issuer(), "GET", &path, Some(&plain));
    assert_challenge(&get(&server, &path, ("DPoP", &plain), &[&proof_of_plain]).await, "invalid_token");
    assert_challenge(&get(&server, &path, ("DPoP", "x"), &[&proof()]).await, "invalid_token");
    assert_challenge(&get(&server, &path, ("DPoP", &token), &[]).await, "invalid_dpop_proof");
    // The token can be revoked with a proof, and by its client.
    let revoke = "/api/v1/token/revoke";
    let proof = key.proof(&server.issuer(), "POST", revoke, Some(&token));
    let request = server.request(Method::POST, revoke).form(&[("token", &token)]);
    let request = request.header("Authorization", format!("DPoP {token}")).header("DPoP", proof);
    assert_eq!(server.send(request).await.status, StatusCode::OK);
    assert!(!server.is_active(&token).await);
}

async fn a_proof_is_used_once_at_the_token_endpoint_however_many_race(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.unlimited_admin_token().await;
    let client = server.client(&admin, None, &["files:read"]).await;
    let key = Key::es256();
    for _ in 0..5 {
        let proof = key.proof(&server.issuer(), "POST", TOKEN, None);
        let proofs = [proof.as_str()];
        let answers = join_all((0..6).map(|_| ask(&server, &client, &proofs, &PLAIN))).await;
        let issued = answers.iter().filter(|answer| answer.status == StatusCode::OK).count();
        assert_eq!(issued, 1);
        for refused in answers.iter().filter(|answer| answer.status != StatusCode::OK) {
            refused.assert_error(400, "invalid_dpop_proof");
        }
    }
    let issued = server.events(&admin, &format!("&action=token.issued&agentId={}", client.id)).await;
    assert_eq!(issued.len(), 5, "no token without its own proof");
    // A jti is the key's own.
    let claims = proof_claims(&server.issuer(), "POST", TOKEN, None);
    for key in [Key::es256(), Key::es256()] {
        let answer = ask(&server, &client, &[&key.sign(&key.header(), &claims)], &PLAIN).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    }
}

async fn a_proof_is_used_once_at_the_api_however_many_race(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.unlimited_admin_token().await;
    let organization = server.organization(&admin, json!({ "plan": "pro" })).await;
    let key = Key::es256();
    for unlimited in [false, true] {
        let limits = if unlimited { json!({ "requestsPerMinute": null }) } else { json!({}) };
        let path = format!("/api/v1/organizations/{organization}");
        assert_eq!(server.patch(&admin, &path, json!({ "limits": limits })).await.status, StatusCode::OK);
        let reader = server.client(&admin, Some(&organization), &["agents:read"]).await;
        let token = bound(&server, &reader, &key).await;
        let path = format!("/api/v1/agents/{}", reader.id);
        for _ in 0..5 {
            let proof = key.proof(&server.issuer(), "GET", &path, Some(&token));
            let proofs = [proof.as_str()];
            let answers = join_all((0..6).map(|_| get(&server, &path, ("DPoP", &token), &proofs))).await;
            let (passed, refused): (Vec<_>, Vec<_>) =
                answers.iter().partition(|answer| answer.status == StatusCode::OK);
            // Without Redis, each instance remembers its own.
            assert_eq!(passed.len(), 1, "{}", refused.first().map_or("", |answer| &answer.text));
            for refused in refused {
                assert_challenge(refused, "invalid_dpop_proof");
            }
        }
    }
}

async fn an_agent_that_requires_proofs_has_no_bearer_tokens(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.unlimited_admin_token().await;
    let client = server.client(&admin, None, &["files:read"]).await;
    let path = format!("/api/v1/agents/{}", client.id);
    let bearer = server.token(&client, &[]).await;
    let set = async |value: &str| {
        let answer = server.patch(&admin, &path, json!({ "dpop": value })).await;
        assert_eq!((answer.status, &answer.json()["dpop"]), (StatusCode::OK, &json!(value)));
    };
    assert_eq!(server.get(&admin, &path).await.json()["dpop"], "optional");
    assert!(server.is_active(&bearer).await);
    set("required").await;
    assert!(!server.is_active(&bearer).await);
    server.ask_token(&client, &[]).await.assert_error(400, "invalid_dpop_proof");
    let token = bound(&server, &client, &Key::es256()).await;
    assert!(server.is_active(&token).await);
    set("optional").await;
    assert!(server.is_active(&bearer).await && server.is_active(&token).await);
    assert_eq!(server.patch(&admin, &path, json!({ "dpop": "never" })).await.faults(), ["dpop"]);
}

async fn a_bound_token_never_becomes_a_bearer_token(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.unlimited_admin_token().await;
    let boss = server.client(&admin, None, &["files:read", "files:write"]).await;
    let worker = server.client(&admin, None, &["files:read"]).await;
    let path = format!("/api/v1/agents/{}", boss.id);
    server.patch(&admin, &path, json!({ "mayAct": [worker.id] })).await.json();
    let (of_boss, of_worker) = (Key::es256(), Key::es256());
    let token = bound(&server, &boss, &of_boss).await;
    let form = |token: &str| {
        [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange".to_owned()),
            ("subject_token_type", ACCESS_TOKEN.to_owned()),
            ("subject_token", token.to_owned()),
        ]
    };
    let exchange = async |client: &Client, key: Option<&Key>, token: &str| {
        let form = form(token);
        let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let proof = key.map(|key| key.proof(&server.issuer(), "POST", TOKEN, None));
        let proofs: Vec<&str> = proof.iter().map(String::as_str).collect();
        ask(&server, client, &proofs, &form).await
    };
    exchange(&worker, None, &token).await.assert_error(400, "invalid_dpop_proof");
    exchange(&boss, None, &token).await.assert_error(400, "invalid_dpop_proof");
    exchange(&boss, Some(&of_worker), &token).await.assert_error(400, "invalid_dpop_proof");
    let narrowed = exchange(&boss, Some(&of_boss), &token).await.json();
    assert_eq!(narrowed["token_type"], "DPoP", "{narrowed}");
    let delegated = exchange(&worker, Some(&of_worker), &token).await.json();
    assert_eq!(delegated["token_type"], "DPoP", "{delegated}");
    let delegated = delegated["access_token"].as_str().expect("a token").to_owned();
    assert_eq!(server.introspect(&delegated).await["cnf"]["jkt"], of_worker.thumbprint());
    exchange(&worker, None, &delegated).await.assert_error(400, "invalid_dpop_proof");
    exchange(&worker, Some(&of_boss), &delegated).await.assert_error(400, "invalid_dpop_proof");
    // A bearer token may become a bound one, and a person's token as well.
    let bearer = server.token(&boss, &[]).await;
    let answer = exchange(&worker, Some(&of_worker), &bearer).await.json();
    assert_eq!(answer["token_type"], "DPoP", "{answer}");
    let subjects =
        json!({ "audiences": ["app"], "mayAct": ["*"], "scopes": ["files:read"], "maxAgeSeconds": 600 });
    let platform = Platform::trusted(&server, &admin, json!({ "subjects": subjects })).await;
    let person = json!({
        "iss": platform.issuer, "sub": "alice", "aud": "app", "iat": NOON.as_seconds(),
        "exp": NOON.as_seconds() + 600,
    });
    let token = platform.sign(&person);
    let form = [
        ("grant_type", form("")[0].1.as_str()),
        ("subject_token_type", JWT),
        ("subject_token", token.as_str()),
    ]
    .map(|(name, value)| (name, value.to_owned()));
    let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer =
        ask(&server, &worker, &[&of_worker.proof(&server.issuer(), "POST", TOKEN, None)], &form).await;
    assert_eq!(answer.json()["token_type"], "DPoP", "{}", answer.text);
}

async fn every_algorithm_that_is_listed_makes_proofs(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.unlimited_admin_token().await;
    let reader = server.client(&admin, None, &["agents:read"]).await;
    let path = format!("/api/v1/agents/{}", reader.id);
    for document in ["oauth-authorization-server", "openid-configuration", "oauth-protected-resource"] {
        let request = server.request(Method::GET, &format!("/.well-known/{document}"));
        let listed = server.send(request).await.json()["dpop_signing_alg_values_supported"].clone();
        assert_eq!(listed, json!(["ES256", "EdDSA", "RS256", "PS256"]), "{document}");
    }
    for algorithm in ["ES256", "EdDSA", "RS256", "PS256"] {
        let key = Key::of(algorithm);
        let token = bound(&server, &reader, &key).await;
        let proof = key.proof(&server.issuer(), "GET", &path, Some(&token));
        let answer = get(&server, &path, ("DPoP", &token), &[&proof]).await;
        assert_eq!(answer.status, StatusCode::OK, "{algorithm}: {}", answer.text);
    }
}

async fn a_request_without_a_token_is_offered_both_schemes(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let answer = server.send(server.request(Method::GET, "/api/v1/agents")).await;
    answer.assert_error(401, "UNAUTHORIZED");
    let expected = r#"Bearer, DPoP algs="ES256 EdDSA RS256 PS256""#;
    assert_eq!(answer.header("www-authenticate"), Some(expected));
}
