//! Client authentication by assertions (`private_key_jwt`).

use Expected::{AnyOf, Done, Refused};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use testing::{ISSUER, NOON, UNKNOWN_ID, unique};
use tokio::net::TcpListener;

use crate::fixtures::{Fixtures, claims_of, part, part_of};
use crate::wire::{Answer, Expected, FORM, JSON, Row, ask, request, try_all};

const CLIENT: Expected = Refused(401, "invalid_client");
const REQUEST: Expected = Refused(400, "invalid_request");
const TYPE: &str = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";

/// An agent with its own key.
pub struct Signer {
    pub agent: String,
    key: Ed25519KeyPair,
}

impl Signer {
    pub async fn of(fixtures: &Fixtures) -> Self {
        let agent = fixtures.client(&["files:read"], None).await.id;
        let key = Ed25519KeyPair::generate().expect("a key");
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": part_of(key.public_key().as_ref()) });
        let body = json!({ "type": "public_key", "publicKey": jwk }).to_string();
        let made = fixtures.call("POST", &format!("/agents/{agent}/credentials"), &body).await;
        assert_eq!(made.status, 201, "{made:?}");
        Self { agent, key }
    }

    /// Returns the claims of a valid assertion, changed by `but`.
    /// A `null` in `but` removes the claim.
    fn claims(&self, but: &Value) -> Value {
        let mut claims = json!({ "iss": self.agent, "sub": self.agent, "aud": ISSUER, "iat": NOON.as_seconds(),
            "exp": NOON.as_seconds() + 60, "jti": format!("jti-{}", unique()) });
        for (name, value) in but.as_object().expect("an object") {
            match value {
                Value::Null => drop(claims.as_object_mut().expect("an object").remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        claims
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", part(header), part(claims));
        let signature = part_of(self.key.sign(message.as_bytes()).as_ref());
        format!("{message}.{signature}")
    }

    pub fn assertion(&self, but: &Value) -> String {
        self.sign(&json!({ "alg": "EdDSA" }), &self.claims(but))
    }
}

fn sent(assertion: &str) -> Vec<u8> {
    let body =
        format!("grant_type=client_credentials&client_assertion_type={TYPE}&client_assertion={assertion}");
    request("POST /api/v1/token", &[FORM], body.as_bytes())
}

#[tokio::test]
async fn an_assertion_is_believed_only_if_all_of_it_is_right() {
    let fixtures = Fixtures::in_memory().await;
    let signer = Signer::of(&fixtures).await;
    let other = Signer::of(&fixtures).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/jwks", listener.local_addr().expect("bound"));
    let now = NOON.as_seconds();
    let claims: Vec<(&str, Value, Expected)> = vec![
        ("all right", json!({}), Done),
        ("no audience", json!({ "aud": null }), CLIENT),
        ("an empty audience", json!({ "aud": "" }), CLIENT),
        ("no audiences", json!({ "aud": [] }), CLIENT),
        ("the issuer in a list", json!({ "aud": [ISSUER] }), CLIENT),
        ("the issuer and another", json!({ "aud": [ISSUER, "https://evil.example.com"] }), CLIENT),
        ("the issuer and a slash", json!({ "aud": format!("{ISSUER}/") }), CLIENT),
        ("the token endpoint", json!({ "aud": format!("{ISSUER}/api/v1/token") }), CLIENT),
        ("another audience", json!({ "aud": "https://evil.example.com" }), CLIENT),
        ("the audience a number", json!({ "aud": 1 }), CLIENT),
        ("issued by another", json!({ "iss": other.agent }), CLIENT),
        ("about another", json!({ "sub": other.agent }), CLIENT),
        ("by and about another", json!({ "iss": other.agent, "sub": other.agent }), CLIENT),
        ("by and about an unknown client", json!({ "iss": UNKNOWN_ID, "sub": UNKNOWN_ID }), CLIENT),
        ("no issuer", json!({ "iss": null }), REQUEST),
        ("no subject", json!({ "sub": null }), CLIENT),
        ("no end", json!({ "exp": null }), CLIENT),
        ("past its end", json!({ "exp": now - 1 }), CLIENT),
        ("an end too far ahead", json!({ "exp": now + 3_700 }), CLIENT),
        ("an end beyond all numbers", json!({ "exp": u64::MAX }), CLIENT),
        ("an end before all time", json!({ "exp": -1 }), CLIENT),
        ("an end that is text", json!({ "exp": "tomorrow" }), CLIENT),
        ("an end that is a fraction", json!({ "exp": now as f64 + 30.5 }), AnyOf(&[200, 401])),
        ("issued a minute ahead", json!({ "iat": now + 60 }), CLIENT),
        ("not before a minute from now", json!({ "nbf": now + 60 }), CLIENT),
        ("issued some seconds ahead", json!({ "iat": now + 5 }), Done),
        ("no id", json!({ "jti": null }), CLIENT),
        ("an empty id", json!({ "jti": "" }), CLIENT),
        ("an id that is a number", json!({ "jti": 7 }), CLIENT),
        ("an id with a NUL", json!({ "jti": "a\u{0}b" }), AnyOf(&[200, 401])),
        ("an id of ten thousand bytes", json!({ "jti": "a".repeat(10_000) }), CLIENT),
        ("unknown claims", json!({ "admin": true, "scope": "admin:orgs" }), Done),
    ];
    let mut rows: Vec<Row> = claims
        .into_iter()
        .map(|(name, but, expected)| Row {
            name: name.to_owned(),
            request: sent(&signer.assertion(&but)),
            expected,
        })
        .collect();
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": part_of(other.key.public_key().as_ref()) });
    for (name, header, expected) in [
        ("typ JWT", json!({ "alg": "EdDSA", "typ": "JWT" }), Done),
        ("its own typ", json!({ "alg": "EdDSA", "typ": "client-authentication+jwt" }), Done),
        ("typ of an access token", json!({ "alg": "EdDSA", "typ": "at+jwt" }), CLIENT),
        ("another typ", json!({ "alg": "EdDSA", "typ": "logout+jwt" }), CLIENT),
        ("the algorithm as RFC 9864 names it", json!({ "alg": "Ed25519" }), Done),
        ("no algorithm", json!({}), CLIENT),
        ("the algorithm none", json!({ "alg": "none" }), CLIENT),
        ("the algorithm None", json!({ "alg": "None" }), CLIENT),
        ("an empty algorithm", json!({ "alg": "" }), CLIENT),
        ("another algorithm", json!({ "alg": "ES256" }), CLIENT),
        ("the algorithm in small letters", json!({ "alg": "eddsa" }), CLIENT),
        ("the algorithm of RFC 9864 in small letters", json!({ "alg": "ed25519" }), CLIENT),
        ("another algorithm of RFC 9864", json!({ "alg": "Ed448" }), CLIENT),
        ("a key that comes along", json!({ "alg": "EdDSA", "jwk": jwk }), CLIENT),
        ("keys that are to be fetched", json!({ "alg": "EdDSA", "jku": url }), CLIENT),
        ("a certificate that is to be fetched", json!({ "alg": "EdDSA", "x5u": url }), CLIENT),
        ("a certificate that comes along", json!({ "alg": "EdDSA", "x5c": ["MIIB"] }), CLIENT),
        ("something critical", json!({ "alg": "EdDSA", "crit": ["exp"] }), CLIENT),
        ("a payload that is not encoded", json!({ "alg": "EdDSA", "b64": false, "crit": ["b64"] }), CLIENT),
        ("a payload that is packed", json!({ "alg": "EdDSA", "zip": "DEF" }), AnyOf(&[200, 401])),
        ("a token in a token", json!({ "alg": "EdDSA", "cty": "JWT" }), AnyOf(&[200, 401])),
        ("a header of eight thousand bytes", json!({ "alg": "EdDSA", "x": "a".repeat(8_000) }), CLIENT),
    ] {
        let assertion = signer.sign(&header, &signer.claims(&json!({})));
        rows.push(Row { name: name.to_owned(), request: sent(&assertion), expected });
    }
    let good = signer.assertion(&json!({}));
    let (message, _) = good.rsplit_once('.').expect("three parts");
    let by_hmac = |key: &[u8]| {
        let message = format!("{}.{}", part(&json!({ "alg": "HS256" })), part(&signer.claims(&json!({}))));
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        format!("{message}.{}", part_of(hmac::sign(&key, message.as_bytes()).as_ref()))
    };
    let public = signer.key.public_key().as_ref().to_vec();
    let as_jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": part_of(&public) }).to_string();
    for (name, assertion, expected) in [
        ("no signature", format!("{message}."), CLIENT),
        ("two parts", message.to_owned(), CLIENT),
        ("four parts", format!("{good}.x"), CLIENT),
        ("five parts", format!("{good}.x.y"), CLIENT),
        ("dots", "....".to_owned(), CLIENT),
        ("nothing", String::new(), AnyOf(&[400, 401])),
        (
            "a signature of another key",
            format!("{message}.{}", part_of(other.key.sign(message.as_bytes()).as_ref())),
            CLIENT,
        ),
        ("an HMAC by the public key", by_hmac(&public), CLIENT),
        ("an HMAC by the JWK", by_hmac(as_jwk.as_bytes()), CLIENT),
        ("an HMAC by the empty key", by_hmac(b""), CLIENT),
        ("padding", format!("{good}%3D"), CLIENT),
        ("a space before it", format!("+{good}"), CLIENT),
        ("a line end after it", format!("{good}%0A"), CLIENT),
        ("JSON serialization", "%7B%22payload%22%3A%22x%22%7D".to_owned(), CLIENT),
        ("a megabyte", "a".repeat(1_000_000), CLIENT),
        ("one of our own access tokens", fixtures.admin.clone(), REQUEST),
    ] {
        rows.push(Row { name: name.to_owned(), request: sent(&assertion), expected });
    }
    let typed = |kind: &str| {
        let assertion = signer.assertion(&json!({}));
        let body = format!("grant_type=client_credentials&client_assertion={assertion}{kind}");
        request("POST /api/v1/token", &[FORM], body.as_bytes())
    };
    let invalid = Refused(400, "invalid_request");
    for (name, kind, expected) in [
        ("no type", String::new(), invalid),
        (
            "the type of SAML",
            "&client_assertion_type=urn:ietf:params:oauth:client-assertion-type:saml2-bearer".to_owned(),
            invalid,
        ),
        ("an empty type", "&client_assertion_type=".to_owned(), invalid),
        (
            "another's id in the body",
            format!("&client_assertion_type={TYPE}&client_id={}", other.agent),
            AnyOf(&[400, 401]),
        ),
        ("its own id in the body", format!("&client_assertion_type={TYPE}&client_id={}", signer.agent), Done),
        ("a secret as well", format!("&client_assertion_type={TYPE}&client_secret=x"), invalid),
    ] {
        rows.push(Row { name: name.to_owned(), request: typed(&kind), expected });
    }
    try_all(&fixtures, rows).await;
    let fetched = tokio::time::timeout(std::time::Duration::from_millis(50), listener.accept()).await;
    assert!(fetched.is_err(), "something was fetched");
}

#[tokio::test]
async fn no_key_is_registered_that_is_not_a_good_public_one() {
    let fixtures = Fixtures::in_memory().await;
    let agent = fixtures.client(&["files:read"], None).await.id;
    let path = format!("POST /api/v1/agents/{agent}/credentials");
    let bearer = format!("Bearer {}", fixtures.admin);
    let x = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    let y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
    let odd = |bytes: usize| part_of(&vec![0xc5; bytes]);
    let rsa = |n: String, e: &str| json!({ "kty": "RSA", "n": n, "e": e });
    let even = part_of(&[&[0xc5; 255][..], &[0xc4]].concat());
    let ec = json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y });
    let with = |name: &str, value: Value| {
        let mut key = ec.clone();
        key[name] = value;
        key
    };
    let wrong = Refused(400, "VALIDATION_ERROR");
    let rows = vec![
        ("a good one", ec.clone(), Done),
        ("a private one", with("d", json!(x)), wrong),
        ("a secret", json!({ "kty": "oct", "k": "AAAA" }), wrong),
        ("no type", json!({}), wrong),
        ("an unknown type", json!({ "kty": "none" }), wrong),
        ("RSA of 1024 bits", rsa(odd(128), "AQAB"), wrong),
        ("RSA of 16384 bits", rsa(odd(2048), "AQAB"), wrong),
        ("RSA with the exponent 1", rsa(odd(256), "AQ"), wrong),
        ("RSA with an even modulus", rsa(even, "AQAB"), wrong),
        ("RSA with nothing", rsa(String::new(), ""), wrong),
        ("a point off the curve", json!({ "kty": "EC", "crv": "P-256", "x": x, "y": x }), wrong),
        (
            "the point at infinity",
            json!({ "kty": "EC", "crv": "P-256", "x": part_of(&[0; 32]), "y": part_of(&[0; 32]) }),
            wrong,
        ),
        ("another curve", with("crv", json!("P-521")), wrong),
        ("a coordinate too short", with("x", json!("AAAA")), wrong),
        ("no base64url", with("x", json!("!!!")), wrong),
        ("for encryption", with("use", json!("enc")), wrong),
        ("operations of encryption", with("key_ops", json!(["encrypt"])), wrong),
        ("the algorithm none", with("alg", json!("none")), wrong),
        ("the algorithm of another type", with("alg", json!("RS256")), wrong),
        ("a certificate that is to be fetched", with("x5u", json!("https://evil.example.com")), wrong),
        ("a member of 900 KB", with("note", json!("a".repeat(900_000))), wrong),
        ("a list", json!([]), wrong),
        ("text", json!("key"), wrong),
        ("null", Value::Null, wrong),
    ];
    let rows = rows
        .into_iter()
        .map(|(name, key, expected)| {
            let body = json!({ "type": "public_key", "publicKey": key }).to_string();
            let headers = [("Authorization", bearer.as_str()), JSON];
            Row { name: name.to_owned(), request: request(&path, &headers, body.as_bytes()), expected }
        })
        .collect();
    try_all(&fixtures, rows).await;
}

/// Sends the same assertion many times at once to both instances, and once more afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_assertion_that_was_used_is_used_up_everywhere() {
    let fixtures = std::sync::Arc::new(Fixtures::on_stores().await);
    let signer = Signer::of(&fixtures).await;
    for round in 0..20 {
        let assertion = signer.assertion(&json!({}));
        let racers: tokio::task::JoinSet<Answer> = (0..12)
            .map(|_| {
                let (fixtures, request) = (fixtures.clone(), sent(&assertion));
                async move { ask(fixtures.address(), &request).await }
            })
            .collect();
        let answers = racers.join_all().await;
        let passed = answers.iter().filter(|answer| answer.status == 200).count();
        assert_eq!(passed, 1, "round {round}: {answers:?}");
        let again = ask(fixtures.address(), &sent(&assertion)).await;
        assert_eq!(again.status, 401, "{again:?}");
        let token = answers.iter().find(|answer| answer.status == 200).expect("one").json();
        assert_eq!(claims_of(token["access_token"].as_str().expect("a token"))["sub"], signer.agent);
    }
}
