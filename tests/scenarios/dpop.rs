//! Proofs of possession (RFC 9449): tokens that are bound to a key.

use agentidp::adapters::crypto::generate_pem;
use agentidp::domain::jwk::KeyType;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testing::{Answer, Client, NOON, TestServer, Wiring, public_jwk, unique};

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
    each_fault_of_a_proof_is_refused_by_the_token_endpoint,
    each_fault_of_a_proof_is_refused_by_the_api,
    a_bound_token_never_becomes_a_bearer_token,
    every_algorithm_that_is_listed_makes_proofs,
    a_request_without_a_token_is_offered_both_schemes,
]);

/// A key that makes proofs.
pub struct Key {
    algorithm: &'static str,
    jwk: Value,
    pair: Pair,
}

enum Pair {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl Key {
    pub fn new() -> Self {
        Self::of("ES256")
    }

    fn of(algorithm: &'static str) -> Self {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (pair, jwk) = match algorithm {
            "ES256" => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
                let point = pair.public_key().as_ref().to_vec();
                let jwk =
                    json!({ "kty": "EC", "crv": "P-256", "x": text(&point[1..33]), "y": text(&point[33..]) });
                (Pair::Ec(pair), jwk)
            }
            "EdDSA" => {
                let pair = Ed25519KeyPair::generate().expect("a key");
                let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref()) });
                (Pair::Ed(pair), jwk)
            }
            _ => {
                let pem = generate_pem(KeyType::Rsa).expect("a key");
                let lines: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
                let pair = RsaKeyPair::from_pkcs8(&STANDARD.decode(lines).expect("base64")).expect("a key");
                let jwk = public_jwk(&pem);
                (Pair::Rsa(pair), jwk)
            }
        };
        Self { algorithm, jwk, pair }
    }

    /// Returns the thumbprint of a P-256 key (RFC 7638).
    fn thumbprint(&self) -> String {
        let (x, y) = (&self.jwk["x"], &self.jwk["y"]);
        sha256(&format!(r#"{{"crv":"P-256","kty":"EC","x":{x},"y":{y}}}"#))
    }

    fn header(&self) -> Value {
        json!({ "typ": "dpop+jwt", "alg": self.algorithm, "jwk": self.jwk })
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Ec(pair) => pair.sign(&random, message.as_bytes()).expect("signed").as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let padding: &'static dyn aws_lc_rs::signature::RsaEncoding =
                    if self.algorithm == "PS256" { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                pair.sign(padding, &random, message.as_bytes(), &mut signature).expect("signed");
                signature
            }
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Returns a proof for a request, and for this access token if it has one.
    pub fn proof(&self, server: &TestServer, method: &str, path: &str, token: Option<&str>) -> String {
        self.sign(&self.header(), &claims(server, method, path, token))
    }
}

/// Returns the SHA-256 of a text in base64url.
fn sha256(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()))
}

/// Returns the claims of a proof.
fn claims(server: &TestServer, method: &str, path: &str, token: Option<&str>) -> Value {
    let mut claims = json!({
        "htm": method, "htu": format!("{}{path}", server.issuer()), "iat": NOON.as_seconds(),
        "jti": unique().to_string(),
    });
    if let Some(token) = token {
        claims["ath"] = json!(sha256(token));
    }
    claims
}

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
    let answer = ask(server, client, &[&key.proof(server, "POST", TOKEN, None)], &PLAIN).await;
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
    let key = Key::new();
    let token = bound(&server, &reader, &key).await;
    let part = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).expect("a payload")).expect("base64");
    let payload: Value = serde_json::from_slice(&part).expect("JSON");
    assert_eq!(payload["cnf"], json!({ "jkt": key.thumbprint() }));
    let shown = server.introspect(&token).await;
    assert_eq!((&shown["cnf"], &shown["token_type"]), (&payload["cnf"], &json!("DPoP")));
    assert_eq!(server.introspect(&server.token(&reader, &[]).await).await["cnf"], Value::Null);

    let path = format!("/api/v1/agents/{}", reader.id);
    let proof = || key.proof(&server, "GET", &path, Some(&token));
    for scheme in ["DPoP", "dpop"] {
        let answer = get(&server, &path, (scheme, &token), &[&proof()]).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    }
    // Query and fragment are not part of what is proved.
    let list = "/api/v1/agents";
    let proof_of_list = key.proof(&server, "GET", list, Some(&token));
    let answer = get(&server, &format!("{list}?limit=1"), ("DPoP", &token), &[&proof_of_list]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_challenge(&get(&server, &path, ("Bearer", &token), &[&proof()]).await, "invalid_token");
    assert_challenge(&get(&server, &path, ("Bearer", &token), &[]).await, "invalid_token");
    let plain = server.token(&reader, &[]).await;
    let proof_of_plain = key.proof(&server, "GET", &path, Some(&plain));
    assert_challenge(&get(&server, &path, ("DPoP", &plain), &[&proof_of_plain]).await, "invalid_token");
    assert_challenge(&get(&server, &path, ("DPoP", "x"), &[&proof()]).await, "invalid_token");
    assert_challenge(&get(&server, &path, ("DPoP", &token), &[]).await, "invalid_dpop_proof");
    // The token can be revoked with a proof, and by its client.
    let revoke = "/api/v1/token/revoke";
    let proof = key.proof(&server, "POST", revoke, Some(&token));
    let request = server.request(Method::POST, revoke).form(&[("token", &token)]);
    let request = request.header("Authorization", format!("DPoP {token}")).header("DPoP", proof);
    assert_eq!(server.send(request).await.status, StatusCode::OK);
    assert!(!server.is_active(&token).await);
}

/// Proofs that no endpoint accepts, each by what is wrong: made of the right claims for a request, with a key of its own.
fn faults(server: &TestServer, key: &Key, right: &Value) -> Vec<(&'static str, String)> {
    let with = |name: &str, value: Value| {
        let mut claims = right.clone();
        claims["jti"] = json!(unique().to_string());
        claims[name] = value;
        key.sign(&key.header(), &claims)
    };
    let header = |name: &str, value: Value| {
        let mut header = key.header();
        header[name] = value;
        let mut claims = right.clone();
        claims["jti"] = json!(unique().to_string());
        key.sign(&header, &claims)
    };
    let mut private = key.jwk.clone();
    private["d"] = json!("AAAA");
    let fine = with("jti", json!(unique().to_string()));
    let (message, _) = fine.rsplit_once('.').expect("a signature");
    let now = NOON.as_seconds();
    vec![
        ("no JWT", "x".to_owned()),
        ("no JWT", "a.b.c".to_owned()),
        ("too long", "a".repeat(9_000)),
        ("no signature", format!("{message}.")),
        ("another signature", format!("{message}.{}", URL_SAFE_NO_PAD.encode([1; 64]))),
        ("another type", header("typ", json!("JWT"))),
        ("another type", header("typ", json!("at+jwt"))),
        ("no algorithm", header("alg", json!("none"))),
        ("a symmetric algorithm", header("alg", json!("HS256"))),
        ("the algorithm of another key", header("alg", json!("EdDSA"))),
        ("another key", header("jwk", Key::new().jwk)),
        ("a private key", header("jwk", private)),
        ("no key", header("jwk", Value::Null)),
        ("a short key", header("jwk", json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB" }))),
        (
            "a point off the curve",
            header("jwk", json!({ "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA" })),
        ),
        ("a critical header", header("crit", json!(["x"]))),
        ("another method", with("htm", json!("PUT"))),
        ("the method in lower case", with("htm", json!("post"))),
        ("another path", with("htu", json!(format!("{}/api/v1/other", server.issuer())))),
        ("another host", with("htu", json!("https://evil.example.com/api/v1/token"))),
        ("a path alone", with("htu", json!("/api/v1/token"))),
        ("61 seconds old", with("iat", json!(now - 61))),
        ("61 seconds ahead", with("iat", json!(now + 61))),
        ("no time", with("iat", Value::Null)),
        ("an empty jti", with("jti", json!(""))),
        ("a long jti", with("jti", json!("a".repeat(257)))),
        ("a malformed hash", with("ath", json!("x"))),
    ]
}

async fn each_fault_of_a_proof_is_refused_by_the_token_endpoint(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.unlimited_admin_token().await;
    let client = server.client(&admin, None, &["files:read"]).await;
    let key = Key::new();
    let right = claims(&server, "POST", TOKEN, None);
    for (fault, proof) in faults(&server, &key, &right) {
        let answer = ask(&server, &client, &[&proof], &PLAIN).await;
        answer.assert_error(400, "invalid_dpop_proof");
        let description = answer.json()["error_description"].as_str().expect("a text").to_owned();
        assert!(description.starts_with("the DPoP proof is not accepted: "), "{fault}: {description}");
    }
    let fine = || key.proof(&server, "POST", TOKEN, None);
    ask(&server, &client, &[&fine(), &fine()], &PLAIN).await.assert_error(400, "invalid_dpop_proof");
    // A client that is not authenticated gets the same answer as without a proof.
    let request = server.request(Method::POST, TOKEN).form(&PLAIN).header("DPoP", "x");
    let refused = server.send(request.basic_auth(&client.id, Some("wrong"))).await;
    refused.assert_error(401, "invalid_client");
    for iat in [-60, 60] {
        let mut claims = claims(&server, "POST", TOKEN, None);
        claims["iat"] = json!(NOON.as_seconds() + iat);
        let answer = ask(&server, &client, &[&key.sign(&key.header(), &claims)], &PLAIN).await;
        assert_eq!(answer.status, StatusCode::OK, "{iat}: {}", answer.text);
    }
}

async fn each_fault_of_a_proof_is_refused_by_the_api(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.unlimited_admin_token().await;
    let reader = server.client(&admin, None, &["agents:read"]).await;
    let key = Key::new();
    let token = bound(&server, &reader, &key).await;
    let path = format!("/api/v1/agents/{}", reader.id);
    let right = claims(&server, "GET", &path, Some(&token));
    for (fault, proof) in faults(&server, &key, &right) {
        let answer = get(&server, &path, ("DPoP", &token), &[&proof]).await;
        assert_challenge(&answer, "invalid_dpop_proof");
        assert!(answer.text.contains("the DPoP proof is not accepted"), "{fault}: {}", answer.text);
    }
    let fine = || key.proof(&server, "GET", &path, Some(&token));
    let other = bound(&server, &reader, &Key::new()).await;
    for proofs in [
        vec![fine(), fine()],
        vec![key.proof(&server, "GET", &path, None)],
        vec![key.proof(&server, "GET", &path, Some(&other))],
        vec![Key::new().proof(&server, "GET", &path, Some(&token))],
        vec![key.proof(&server, "POST", &path, Some(&token))],
        vec![key.proof(&server, "GET", "/api/v1/agents", Some(&token))],
    ] {
        let proofs: Vec<&str> = proofs.iter().map(String::as_str).collect();
        assert_challenge(&get(&server, &path, ("DPoP", &token), &proofs).await, "invalid_dpop_proof");
    }
    assert_eq!(get(&server, &path, ("DPoP", &token), &[&fine()]).await.status, StatusCode::OK);
    let reasons = server.events(&admin, &format!("&action=auth.failed&resourceId={}", reader.id)).await;
    assert!(reasons.iter().any(|event| event["metadata"]["reason"] == "proof"), "{reasons:?}");
}

async fn a_proof_is_used_once_at_the_token_endpoint_however_many_race(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.unlimited_admin_token().await;
    let client = server.client(&admin, None, &["files:read"]).await;
    let key = Key::new();
    for _ in 0..5 {
        let proof = key.proof(&server, "POST", TOKEN, None);
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
    let claims = claims(&server, "POST", TOKEN, None);
    for key in [Key::new(), Key::new()] {
        let answer = ask(&server, &client, &[&key.sign(&key.header(), &claims)], &PLAIN).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    }
}

async fn a_proof_is_used_once_at_the_api_however_many_race(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.unlimited_admin_token().await;
    let organization = server.organization(&admin, json!({ "plan": "pro" })).await;
    let key = Key::new();
    for unlimited in [false, true] {
        let limits = if unlimited { json!({ "requestsPerMinute": null }) } else { json!({}) };
        let path = format!("/api/v1/organizations/{organization}");
        assert_eq!(server.patch(&admin, &path, json!({ "limits": limits })).await.status, StatusCode::OK);
        let reader = server.client(&admin, Some(&organization), &["agents:read"]).await;
        let token = bound(&server, &reader, &key).await;
        let path = format!("/api/v1/agents/{}", reader.id);
        for _ in 0..5 {
            let proof = key.proof(&server, "GET", &path, Some(&token));
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
    let token = bound(&server, &client, &Key::new()).await;
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
    let (of_boss, of_worker) = (Key::new(), Key::new());
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
        let proof = key.map(|key| key.proof(&server, "POST", TOKEN, None));
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
    let answer = ask(&server, &worker, &[&of_worker.proof(&server, "POST", TOKEN, None)], &form).await;
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
        let proof = key.proof(&server, "GET", &path, Some(&token));
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
