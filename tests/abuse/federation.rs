//! Assertions of trusted issuers, as an attacker would make them.

use Expected::{AnyOf, Done, Refused};
use agentidp::domain::jwk::KeyType;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use testing::{ISSUER, NOON, UNKNOWN_ID, public_jwk, unique};
use tokio::net::TcpListener;

use crate::fixtures::{Fixtures, part, part_of};
use crate::wire::{Expected, FORM, Row, request, try_all};

const CLIENT: Expected = Refused(401, "invalid_client");
pub const TYPE: &str = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
const SPIFFE: &str = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-spiffe";

/// A trusted issuer, and an agent with a credential of it.
pub struct Federation {
    pub issuer: String,
    pub id: String,
    pub key: Ed25519KeyPair,
    pub agent: String,
}

impl Federation {
    async fn of(fixtures: &Fixtures) -> Self {
        let issuer = format!("https://ci{}.example.com", unique());
        Self::trusting(fixtures, issuer, json!({})).await
    }

    pub async fn trusting(fixtures: &Fixtures, issuer: String, fields: Value) -> Self {
        let key = Ed25519KeyPair::generate().expect("a key");
        let mut body = json!({ "name": "CI", "issuer": issuer, "keys": pinned(&[jwk(&key, "1")]) });
        body.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        let made = fixtures.call("POST", "/issuers", &body.to_string()).await;
        assert_eq!(made.status, 201, "{made:?}");
        let id = made.json()["issuerId"].as_str().expect("an id").to_owned();
        let organization = fields["organizationId"].as_str();
        let agent = fixtures.client(&["files:read"], organization).await.id;
        let body = json!({ "type": "federated", "issuerId": id, "subject": "job" }).to_string();
        let made = fixtures.call("POST", &format!("/agents/{agent}/credentials"), &body).await;
        assert_eq!(made.status, 201, "{made:?}");
        Self { issuer, id, key, agent }
    }

    /// Returns the claims of a valid assertion, changed by `but`.
    /// A `null` in `but` removes the claim.
    pub fn claims(&self, but: &Value) -> Value {
        let now = NOON.as_seconds();
        let mut claims =
            json!({ "iss": self.issuer, "sub": "job", "aud": ISSUER, "iat": now, "exp": now + 600 });
        for (name, value) in but.as_object().expect("an object") {
            match value {
                Value::Null => drop(claims.as_object_mut().expect("an object").remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        claims
    }

    pub fn sign(&self, header: &Value, claims: &str) -> String {
        let message = format!("{}.{}", part(header), part_of(claims.as_bytes()));
        format!("{message}.{}", part_of(self.key.sign(message.as_bytes()).as_ref()))
    }

    pub fn assertion(&self, but: &Value) -> String {
        self.sign(&json!({ "alg": "EdDSA", "kid": "1" }), &self.claims(but).to_string())
    }

    fn headed(&self, header: &Value) -> String {
        self.sign(header, &self.claims(&json!({})).to_string())
    }

    fn row(&self, name: &str, assertion: &str, expected: Expected) -> Row {
        Row { name: name.to_owned(), request: sent(Some(&self.agent), TYPE, assertion), expected }
    }
}

pub fn jwk(key: &Ed25519KeyPair, id: &str) -> Value {
    json!({ "kty": "OKP", "crv": "Ed25519", "x": part_of(key.public_key().as_ref()), "kid": id })
}

fn pinned(keys: &[Value]) -> Value {
    json!({ "type": "jwks", "jwks": { "keys": keys } })
}

pub fn sent(client: Option<&str>, kind: &str, assertion: &str) -> Vec<u8> {
    let client = client.map_or(String::new(), |client| format!("&client_id={client}"));
    let body = format!(
        "grant_type=client_credentials{client}&client_assertion_type={kind}&client_assertion={assertion}"
    );
    request("POST /api/v1/token", &[FORM], body.as_bytes())
}

#[tokio::test]
async fn an_assertion_of_an_issuer_is_believed_only_if_all_of_it_is_right() {
    let fixtures = Fixtures::in_memory().await;
    let own = Federation::of(&fixtures).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/jwks", listener.local_addr().expect("bound"));
    let now = NOON.as_seconds();
    let claims = |but: &Value| own.claims(but).to_string();
    let header = json!({ "alg": "EdDSA", "kid": "1" });
    let evil = Ed25519KeyPair::generate().expect("a key");
    let forged = |header: &Value| {
        let message = format!("{}.{}", part(header), part(&own.claims(&json!({}))));
        format!("{message}.{}", part_of(evil.sign(message.as_bytes()).as_ref()))
    };
    let by_hmac = |algorithm: &str, secret: &[u8]| {
        let message =
            format!("{}.{}", part(&json!({ "alg": algorithm, "kid": "1" })), part(&own.claims(&json!({}))));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
        format!("{message}.{}", part_of(tag.as_ref()))
    };
    let (valid, empty) = (own.assertion(&json!({})), String::new());
    let unsigned = format!("{}.{}.", part(&json!({ "alg": "none" })), part(&own.claims(&json!({}))));
    let parts: Vec<&str> = valid.split('.').collect();
    let deep = format!("{}1{}", "[".repeat(2_000), "]".repeat(2_000));
    let spliced = |more: &str| format!("{{{more},{}", &claims(&json!({}))[1..]);
    let mut rows = vec![
        own.row("all right", &valid, Done),
        own.row("again", &valid, Done),
        own.row("an audience in a list", &own.assertion(&json!({ "aud": [ISSUER] })), Done),
        own.row("exp as a fraction", &own.assertion(&json!({ "exp": 1.5 + now as f64 })), Done),
        own.row("a long claim", &own.assertion(&json!({ "x": "y".repeat(8_000) })), Done),
        own.row("no algorithm", &unsigned, CLIENT),
        own.row("alg none with a signature", &own.headed(&json!({ "alg": "none", "kid": "1" })), CLIENT),
        own.row("no alg", &own.headed(&json!({ "kid": "1" })), CLIENT),
        own.row("alg in other letters", &own.headed(&json!({ "alg": "eddsa", "kid": "1" })), CLIENT),
        own.row("alg as a list", &own.headed(&json!({ "alg": ["EdDSA"], "kid": "1" })), CLIENT),
        own.row("alg of another key", &own.headed(&json!({ "alg": "RS256", "kid": "1" })), CLIENT),
        own.row("HS256 by the public key", &by_hmac("HS256", own.key.public_key().as_ref()), CLIENT),
        own.row("EdDSA that is an HMAC", &by_hmac("EdDSA", own.key.public_key().as_ref()), CLIENT),
        own.row("another kid", &own.headed(&json!({ "alg": "EdDSA", "kid": "2" })), CLIENT),
        own.row("kid as a number", &own.headed(&json!({ "alg": "EdDSA", "kid": 1 })), CLIENT),
        own.row("no kid", &own.headed(&json!({ "alg": "EdDSA" })), Done),
        own.row("another key", &forged(&header), CLIENT),
        own.row("a key in the header", &forged(&json!({ "alg": "EdDSA", "jwk": jwk(&evil, "1") })), CLIENT),
        own.row("a URL in the header", &forged(&json!({ "alg": "EdDSA", "kid": "1", "jku": url })), CLIENT),
        own.row("a certificate URL", &forged(&json!({ "alg": "EdDSA", "kid": "1", "x5u": url })), CLIENT),
        own.row("an ignored URL", &own.headed(&json!({ "alg": "EdDSA", "kid": "1", "jku": url })), Done),
        own.row("crit", &own.headed(&json!({ "alg": "EdDSA", "kid": "1", "crit": ["exp"] })), CLIENT),
        own.row(
            "an unencoded payload",
            &own.headed(&json!({ "alg": "EdDSA", "kid": "1", "b64": false })),
            CLIENT,
        ),
        own.row("two parts", &format!("{}.{}", parts[0], parts[1]), CLIENT),
        own.row("four parts", &format!("{valid}.{}", parts[2]), CLIENT),
        own.row("five parts, as a JWE", &format!("{valid}.a.b"), CLIENT),
        own.row("no signature", &format!("{}.{}.", parts[0], parts[1]), CLIENT),
        own.row("a signature cut off", &valid[..valid.len() - 2], CLIENT),
        own.row("a signature with a padding", &format!("{valid}%3D%3D"), CLIENT),
        own.row("a repeated claim", &own.sign(&header, &spliced(r#""sub":"other""#)), CLIENT),
        own.row("a repeated claim, escaped", &own.sign(&header, &spliced(r#""\u0073ub":"job""#)), CLIENT),
        own.row("a repeated member below", &own.sign(&header, &spliced(r#""a":{"b":1,"b":2}"#)), CLIENT),
        own.row("a NUL", &own.sign(&header, &spliced(r#""a":"\u0000""#)), CLIENT),
        own.row("deep claims", &own.sign(&header, &spliced(&format!(r#""a":{deep}"#))), CLIENT),
        own.row("a lone surrogate", &own.sign(&header, &spliced(r#""a":"\ud800""#)), CLIENT),
        own.row("claims that are a list", &own.sign(&header, "[]"), AnyOf(&[400, 401])),
        own.row("claims that are not JSON", &own.sign(&header, "{"), AnyOf(&[400, 401])),
        own.row("more than 16 KB", &own.assertion(&json!({ "x": "y".repeat(16_384) })), CLIENT),
        Row {
            name: "nothing".to_owned(),
            request: sent(Some(&own.agent), TYPE, &empty),
            expected: AnyOf(&[400, 401]),
        },
    ];
    for (name, but) in [
        ("iss of another", json!({ "iss": "https://other.example.com" })),
        ("iss with a slash", json!({ "iss": format!("{}/", own.issuer) })),
        ("iss in capitals", json!({ "iss": own.issuer.to_uppercase() })),
        ("iss as a list", json!({ "iss": [own.issuer] })),
        ("no iss", json!({ "iss": null })),
        ("iss of this service", json!({ "iss": ISSUER })),
        ("no sub", json!({ "sub": null })),
        ("sub as a list", json!({ "sub": ["job"] })),
        ("sub as an object", json!({ "sub": { "job": 1 } })),
        ("sub of another", json!({ "sub": "job2" })),
        ("sub that begins alike", json!({ "sub": "job\n" })),
        ("no aud", json!({ "aud": null })),
        ("aud and another", json!({ "aud": [ISSUER, "x"] })),
        ("aud in a list in a list", json!({ "aud": [[ISSUER]] })),
        ("aud as an object", json!({ "aud": { ISSUER: 1 } })),
        ("no exp", json!({ "exp": null })),
        ("exp as text", json!({ "exp": (now + 600).to_string() })),
        ("exp now", json!({ "exp": now })),
        ("exp in ten years", json!({ "exp": now + 315_360_000 })),
        ("exp beyond all years", json!({ "exp": 1e300 })),
        ("exp below all years", json!({ "exp": -1e300 })),
        ("exp as true", json!({ "exp": true })),
        ("iat in an hour", json!({ "iat": now + 3_600 })),
        ("iat long ago", json!({ "iat": 0 })),
        ("iat as text", json!({ "iat": "now" })),
        ("nbf in an hour", json!({ "nbf": now + 3_600 })),
        ("nbf as a list", json!({ "nbf": [] })),
    ] {
        rows.push(own.row(name, &own.assertion(&but), CLIENT));
    }
    try_all(&fixtures, rows).await;
    let fetched = tokio::time::timeout(std::time::Duration::from_millis(50), listener.accept()).await;
    assert!(fetched.is_err(), "something was fetched");
}

/// The two ways of authentication by an assertion, each with what is made for the other.
#[tokio::test]
async fn an_assertion_made_for_one_path_is_not_believed_on_the_other() {
    let fixtures = Fixtures::in_memory().await;
    let own = Federation::of(&fixtures).await;
    let by_key = fixtures.client(&["files:read"], None).await.id;
    let body = json!({ "type": "public_key", "publicKey": {
        "kty": "OKP", "crv": "Ed25519", "x": part_of(own.key.public_key().as_ref()),
    } });
    // The agent has registered the very key that the issuer signs with.
    let made = fixtures.call("POST", &format!("/agents/{by_key}/credentials"), &body.to_string()).await;
    assert_eq!(made.status, 201, "{made:?}");
    let as_agent = |agent: &str| {
        own.assertion(&json!({ "iss": agent, "sub": agent, "jti": format!("{}", unique()), "exp": NOON.as_seconds() + 60 }))
    };
    let row = |name: &str, client: Option<&str>, kind, assertion: &str, expected| Row {
        name: name.to_owned(),
        request: sent(client, kind, assertion),
        expected,
    };
    let issued = own.assertion(&json!({}));
    let agent_as_subject = own.assertion(&json!({ "sub": by_key }));
    let rows = vec![
        row(
            "by the agent's key",
            None,
            TYPE,
            &own.sign(
                &json!({ "alg": "EdDSA" }),
                &own.claims(&json!({
                    "iss": by_key, "sub": by_key, "jti": "a", "exp": NOON.as_seconds() + 60,
                }))
                .to_string(),
            ),
            Done,
        ),
        row(
            "by the agent itself, in the name of an agent without a key",
            Some(&own.agent),
            TYPE,
            &as_agent(&own.agent),
            CLIENT,
        ),
        row("an unknown agent's ID as iss", Some(&own.agent), TYPE, &as_agent(UNKNOWN_ID), CLIENT),
        row("the issuer's, for an agent with a key", Some(&by_key), TYPE, &issued, CLIENT),
        row("the issuer's, with that agent as its subject", Some(&by_key), TYPE, &agent_as_subject, CLIENT),
        row(
            "the issuer's, with that agent as its subject, unnamed",
            None,
            TYPE,
            &agent_as_subject,
            Refused(400, "invalid_request"),
        ),
        row("the issuer's, of no client", None, TYPE, &issued, Refused(400, "invalid_request")),
        row("the issuer's, of an unknown client", Some(UNKNOWN_ID), TYPE, &issued, CLIENT),
        row("the issuer's, of a malformed client", Some("x"), TYPE, &issued, CLIENT),
        row("the issuer's, as a JWT-SVID", Some(&own.agent), SPIFFE, &issued, CLIENT),
        row("one of our own access tokens", Some(&own.agent), TYPE, &fixtures.admin, CLIENT),
        row("one of our own access tokens, as a JWT-SVID", Some(&own.agent), SPIFFE, &fixtures.admin, CLIENT),
    ];
    try_all(&fixtures, rows).await;
    let ours = json!({ "name": "Us", "issuer": ISSUER, "keys": pinned(&[jwk(&own.key, "1")]) });
    for issuer in [ISSUER.to_owned(), format!("{ISSUER}/"), ISSUER.replace("agentidp", "AGENTIDP")] {
        let mut body = ours.clone();
        body["issuer"] = json!(issuer);
        let made = fixtures.call("POST", "/issuers", &body.to_string()).await;
        assert_eq!(made.status, 400, "{issuer}: {made:?}");
    }
}

/// Keys of two issuers, and of two organizations that trust the same one, have the same `kid`.
#[tokio::test]
async fn a_key_counts_for_its_own_issuer_and_organization_only() {
    let fixtures = Fixtures::in_memory().await;
    let one = Federation::of(&fixtures).await;
    let other = Federation::of(&fixtures).await;
    let organization = fixtures.organization(json!({ "requestsPerMinute": null })).await;
    let fields = json!({ "organizationId": organization });
    let tenant = Federation::trusting(&fixtures, one.issuer.clone(), fields).await;
    let mut rows = Vec::new();
    for (name, signer, names, client, expected) in [
        ("its own", &one, &one, &one, Done),
        ("another issuer's key in its name", &other, &one, &one, CLIENT),
        ("another issuer's own assertion", &other, &other, &one, CLIENT),
        ("the same issuer's key of another organization", &tenant, &one, &one, CLIENT),
        ("the key of the first organization in the second", &one, &one, &tenant, CLIENT),
        ("the second organization's own", &tenant, &tenant, &tenant, Done),
    ] {
        let claims = names.claims(&json!({})).to_string();
        let assertion = signer.sign(&json!({ "alg": "EdDSA", "kid": "1" }), &claims);
        rows.push(client.row(name, &assertion, expected));
    }
    try_all(&fixtures, rows).await;
    // Suspending it in one organization leaves the other alone.
    let suspended =
        fixtures.call("PATCH", &format!("/issuers/{}", one.id), r#"{"status":"suspended"}"#).await;
    assert_eq!(suspended.status, 200, "{suspended:?}");
    let rows = vec![
        one.row("in the organization that suspended it", &one.assertion(&json!({})), CLIENT),
        tenant.row("in the other", &tenant.assertion(&json!({})), Done),
    ];
    try_all(&fixtures, rows).await;
}

/// Each algorithm that an issuer may have, and each that it may not.
#[tokio::test]
async fn each_algorithm_is_used_with_its_own_type_of_key_only() {
    let fixtures = Fixtures::in_memory().await;
    let pems = [KeyType::Rsa, KeyType::P256, KeyType::Ed25519]
        .map(|kind| (kind, agentidp::adapters::crypto::generate_pem(kind).expect("a key")));
    let random = SystemRandom::new();
    let p384 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random).expect("a key");
    let p384 = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, p384.as_ref()).expect("a key");
    let point = p384.public_key().as_ref();
    let p384_jwk =
        json!({ "kty": "EC", "crv": "P-384", "x": part_of(&point[1..49]), "y": part_of(&point[49..]) });
    let mut keys: Vec<Value> = pems.iter().map(|(_, pem)| public_jwk(pem)).collect();
    keys.push(p384_jwk);
    let all = json!(["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"]);
    let issuer = format!("https://ci{}.example.com", unique());
    let fields = json!({ "keys": pinned(&keys), "algorithms": all });
    let own = Federation::trusting(&fixtures, issuer, fields).await;
    let encoding = |kind: &str| {
        use jsonwebtoken::EncodingKey as E;
        let pem = |wanted| pems.iter().find(|(kind, _)| *kind == wanted).expect("a key").1.as_bytes();
        match kind {
            "EC" => E::from_ec_pem(pem(KeyType::P256)),
            "OKP" => E::from_ed_pem(pem(KeyType::Ed25519)),
            _ => E::from_rsa_pem(pem(KeyType::Rsa)),
        }
        .expect("a key")
    };
    use jsonwebtoken::Algorithm as A;
    let mut rows = Vec::new();
    for (algorithm, key, expected) in [
        (A::RS256, "RSA", Done),
        (A::RS384, "RSA", Done),
        (A::RS512, "RSA", Done),
        (A::PS256, "RSA", Done),
        (A::PS384, "RSA", CLIENT),
        (A::PS512, "RSA", CLIENT),
        (A::ES256, "EC", Done),
        (A::EdDSA, "OKP", Done),
    ] {
        let header = jsonwebtoken::Header::new(algorithm);
        let assertion =
            jsonwebtoken::encode(&header, &own.claims(&json!({})), &encoding(key)).expect("signed");
        rows.push(own.row(&format!("{algorithm:?} by {key}"), &assertion, expected));
    }
    for (name, expected) in [("ES384", Done), ("ES256", CLIENT), ("ES512", CLIENT)] {
        let message = format!("{}.{}", part(&json!({ "alg": name })), part(&own.claims(&json!({}))));
        let signature = p384.sign(&random, message.as_bytes()).expect("signed");
        let assertion = format!("{message}.{}", part_of(signature.as_ref()));
        rows.push(own.row(&format!("{name} by P-384"), &assertion, expected));
    }
    try_all(&fixtures, rows).await;
}
