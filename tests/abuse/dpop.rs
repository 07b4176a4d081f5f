//! Proofs of possession, as an attacker would use them.

use Expected::{Done, Refused};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use testing::{Client, ISSUER, NOON, ProofKey, basic_auth, proof_claims, unique};

use crate::fixtures::Fixtures;
use crate::wire::{Expected, FORM, Row, ask, request, try_all};

const PATH: &str = "/api/v1/token";
const AT_TOKEN: Expected = Refused(400, "invalid_dpop_proof");
const AT_API: Expected = Refused(401, "UNAUTHORIZED");

fn row(name: &str, request: Vec<u8>, expected: Expected) -> Row {
    Row { name: name.to_owned(), request, expected }
}

/// Returns a token request with these proofs.
fn token_request(client: &Client, proofs: &[&str]) -> Vec<u8> {
    let basic = basic_auth(&client.id, &client.secret);
    let mut headers = vec![("Authorization", basic.as_str()), FORM];
    headers.extend(proofs.iter().map(|proof| ("DPoP", *proof)));
    request("POST /api/v1/token", &headers, b"grant_type=client_credentials")
}

/// Returns a request of the API with this authorization and these proofs.
fn read(path: &str, authorization: &str, proofs: &[&str]) -> Vec<u8> {
    let mut headers = vec![("Authorization", authorization)];
    headers.extend(proofs.iter().map(|proof| ("DPoP", *proof)));
    request(&format!("GET {path}"), &headers, b"")
}

/// Obtains a token that is bound to the key.
async fn bound(fixtures: &Fixtures, client: &Client, key: &ProofKey) -> String {
    let proof = key.proof(ISSUER, "POST", PATH, None);
    let answer = ask(fixtures.address(), &token_request(client, &[&proof])).await;
    answer.json()["access_token"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

/// Proofs that no endpoint accepts, each by what is wrong: made of the right claims for a request, with a key of its own.
fn faults(key: &ProofKey, right: &Value) -> Vec<(&'static str, String)> {
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
        ("another key", header("jwk", ProofKey::es256().jwk)),
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
        ("another path", with("htu", json!(format!("{ISSUER}/api/v1/other")))),
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

#[tokio::test]
async fn no_faulty_proof_gets_a_token() {
    let fixtures = Fixtures::in_memory().await;
    let client = fixtures.client(&["files:read"], None).await;
    let key = ProofKey::es256();
    let right = proof_claims(ISSUER, "POST", PATH, None);
    let rows = faults(&key, &right).into_iter();
    let mut rows: Vec<Row> =
        rows.map(|(fault, proof)| row(fault, token_request(&client, &[&proof]), AT_TOKEN)).collect();
    let fine = || key.proof(ISSUER, "POST", PATH, None);
    let used = fine();
    let wrong = Client { secret: "wrong".to_owned(), ..client.clone() };
    rows.extend([
        row("a sound proof", token_request(&client, &[&used]), Done),
        row("the same proof again", token_request(&client, &[&used]), AT_TOKEN),
        row("two headers", token_request(&client, &[&fine(), &fine()]), AT_TOKEN),
        row("two headers with one proof", token_request(&client, &[&used, &used]), AT_TOKEN),
        row("an empty header", token_request(&client, &[""]), AT_TOKEN),
        row("a wrong secret", token_request(&wrong, &["x"]), Refused(401, "invalid_client")),
    ]);
    for (name, iat) in [("60 seconds old", -60), ("60 seconds ahead", 60)] {
        let mut claims = proof_claims(ISSUER, "POST", PATH, None);
        claims["iat"] = json!(NOON.as_seconds() + iat);
        rows.push(row(name, token_request(&client, &[&key.sign(&key.header(), &claims)]), Done));
    }
    try_all(&fixtures, rows).await;
}

#[tokio::test]
async fn no_faulty_proof_lets_a_bound_token_be_used() {
    for fixtures in [Fixtures::in_memory().await, Fixtures::on_stores().await] {
        let client = fixtures.client(&["agents:read"], None).await;
        let (key, other) = (ProofKey::es256(), ProofKey::es256());
        let token = bound(&fixtures, &client, &key).await;
        let another = bound(&fixtures, &client, &other).await;
        let plain = fixtures.token_of(&client, "agents:read").await;
        let path = format!("/api/v1/agents/{}", client.id);
        let authorization = format!("DPoP {token}");
        let with = |proofs: &[&str]| read(&path, &authorization, proofs);
        let right = proof_claims(ISSUER, "GET", &path, Some(&token));
        let rows = faults(&key, &right).into_iter();
        let mut rows: Vec<Row> = rows.map(|(fault, proof)| row(fault, with(&[&proof]), AT_API)).collect();
        let proof = |key: &ProofKey, method: &str, path: &str, token: Option<&str>| {
            key.proof(ISSUER, method, path, token)
        };
        let fine = || proof(&key, "GET", &path, Some(&token));
        let used = fine();
        let bearer = format!("Bearer {token}");
        let of_plain = format!("DPoP {plain}");
        rows.extend([
            row("a sound proof", with(&[&used]), Done),
            row("the same proof again, perhaps at another instance", with(&[&used]), AT_API),
            row("the same proof a third time", with(&[&used]), AT_API),
            row("no proof", with(&[]), AT_API),
            row("two headers", with(&[&fine(), &fine()]), AT_API),
            row("a proof without a token", with(&[&proof(&key, "GET", &path, None)]), AT_API),
            row("a proof for another token", with(&[&proof(&key, "GET", &path, Some(&another))]), AT_API),
            row("a proof by another key", with(&[&proof(&other, "GET", &path, Some(&token))]), AT_API),
            row("a proof for another method", with(&[&proof(&key, "POST", &path, Some(&token))]), AT_API),
            row(
                "a proof for another path",
                with(&[&proof(&key, "GET", "/api/v1/agents", Some(&token))]),
                AT_API,
            ),
            row("a bound token as a bearer token", read(&path, &bearer, &[]), AT_API),
            row("the same with a proof", read(&path, &bearer, &[&fine()]), AT_API),
            row(
                "a bearer token with a proof by any key",
                read(&path, &of_plain, &[&proof(&other, "GET", &path, Some(&plain))]),
                AT_API,
            ),
            row("a bearer token as a bound one", read(&path, &of_plain, &[]), AT_API),
        ]);
        try_all(&fixtures, rows).await;
    }
}
