//! `private_key_jwt`: RFC 7523 with the rules of RFC 9700.

use agentidp::adapters::crypto::generate_pem;
use agentidp::domain::jwk::KeyType;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testing::{Answer, NOON, TestServer, Wiring, public_jwk, unique};

use crate::scenarios::scenarios;

scenarios!(every_wiring [
    each_kind_of_key_gets_a_token,
    the_body_may_name_the_client_that_the_assertion_names_and_no_other,
    no_key_and_no_algorithm_that_comes_along_is_believed,
    an_assertion_works_once_wherever_it_is_used,
    a_refused_request_does_not_spend_the_assertion,
    a_key_counts_from_its_registration_to_its_revocation_on_every_instance,
    a_key_that_is_revoked_or_whose_agent_is_suspended_proves_nothing_more,
    the_token_endpoint_is_an_audience_only_where_that_is_set,
]);
scenarios!(stateless [
    the_types_of_an_assertion_pass_and_no_other,
    what_is_said_wrongly_is_an_invalid_client,
]);

pub const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// An agent with its own Ed25519 key.
pub struct Signer {
    pub agent: String,
    pub credential: String,
    pub key: Ed25519KeyPair,
}

impl Signer {
    pub async fn new(server: &TestServer, admin: &str) -> Self {
        let agent = server.agent(admin, None, &["files:read", "tokens:read"]).await;
        let key = Ed25519KeyPair::generate().expect("a key");
        let mut signer = Self { agent, credential: String::new(), key };
        signer.credential = register(server, admin, &signer.agent, signer.jwk()).await;
        signer
    }

    /// Returns the public key.
    pub fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.key.public_key().as_ref());
        json!({ "kty": "OKP", "crv": "Ed25519", "x": x })
    }

    pub fn claims(&self, server: &TestServer) -> Value {
        json!({
            "iss": self.agent, "sub": self.agent, "aud": server.issuer(),
            "exp": NOON.as_seconds() + 60, "iat": NOON.as_seconds(), "jti": format!("jti-{}", unique()),
        })
    }

    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(message.as_bytes()).as_ref());
        format!("{message}.{signature}")
    }

    fn assertion(&self, claims: &Value) -> String {
        self.sign(&json!({ "alg": "EdDSA" }), claims)
    }
}

async fn register(server: &TestServer, admin: &str, agent: &str, jwk: Value) -> String {
    let path = format!("/api/v1/agents/{agent}/credentials");
    let answer = server.post(admin, &path, json!({ "type": "public_key", "publicKey": jwk })).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    answer.json()["credentialId"].as_str().expect("an id").to_owned()
}

async fn present(server: &TestServer, assertion: &str) -> Answer {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", TYPE),
        ("client_assertion", assertion),
    ];
    server.send(server.request(Method::POST, "/api/v1/token").form(&form)).await
}

async fn each_kind_of_key_gets_a_token(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    for (kind, algorithm) in [
        (KeyType::Rsa, Algorithm::RS256),
        (KeyType::P256, Algorithm::ES256),
        (KeyType::Ed25519, Algorithm::EdDSA),
    ] {
        let pem = generate_pem(kind).expect("a key");
        let (mut jwk, pem) = (public_jwk(&pem), pem.as_bytes());
        let key = match kind {
            KeyType::Rsa => {
                jwk["alg"] = json!("RS256");
                EncodingKey::from_rsa_pem(pem)
            }
            KeyType::P256 => EncodingKey::from_ec_pem(pem),
            KeyType::Ed25519 => EncodingKey::from_ed_pem(pem),
        };
        let agent = server.agent(&admin, None, &["files:read"]).await;
        register(&server, &admin, &agent, jwk).await;
        let claims = json!({
            "iss": agent, "sub": agent, "aud": server.issuer(), "exp": NOON.as_seconds() + 60, "jti": "first",
        });
        let assertion = jsonwebtoken::encode(&Header::new(algorithm), &claims, &key.expect("a key"));
        let answer = present(&server, &assertion.expect("signed")).await;
        assert_eq!(answer.status, StatusCode::OK, "{algorithm:?}: {}", answer.text);
    }
}

async fn a_key_counts_from_its_registration_to_its_revocation_on_every_instance(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let first = Signer::new(&server, &admin).await;
    let mut second = Signer {
        agent: first.agent.clone(),
        credential: String::new(),
        key: Ed25519KeyPair::generate().expect("a key"),
    };
    // Two requests each, one for each instance where there are two.
    let assert_tokens = async |signer: &Signer, status| {
        for _ in 0..2 {
            let answer = present(&server, &signer.assertion(&signer.claims(&server))).await;
            assert_eq!(answer.status, status, "{}", answer.text);
        }
    };
    assert_tokens(&first, StatusCode::OK).await;
    assert_tokens(&second, StatusCode::UNAUTHORIZED).await;
    second.credential = register(&server, &admin, &second.agent, second.jwk()).await;
    assert_tokens(&second, StatusCode::OK).await;
    let path = format!("/api/v1/agents/{}/credentials/{}", second.agent, second.credential);
    assert_eq!(server.delete(&admin, &path).await.status, StatusCode::NO_CONTENT);
    assert_tokens(&second, StatusCode::UNAUTHORIZED).await;
    assert_tokens(&first, StatusCode::OK).await;
}

async fn the_types_of_an_assertion_pass_and_no_other(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let signer = Signer::new(&server, &admin).await;
    for (typ, passes) in
        [("JWT", true), ("client-authentication+jwt", true), ("at+jwt", false), ("x", false), ("", false)]
    {
        let assertion = signer.sign(&json!({ "alg": "EdDSA", "typ": typ }), &signer.claims(&server));
        assert_eq!(present(&server, &assertion).await.status.is_success(), passes, "{typ}");
    }
}

async fn what_is_said_wrongly_is_an_invalid_client(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let signer = Signer::new(&server, &admin).await;
    let other = Signer::new(&server, &admin).await;
    let issuer = server.issuer();
    let wrong = [
        ("aud", json!(null)),
        ("aud", json!("")),
        ("aud", json!([])),
        ("aud", json!([issuer])),
        ("aud", json!([issuer, "https://other.example"])),
        ("aud", json!(format!("{issuer}/"))),
        ("aud", json!(format!("{issuer}/api/v1/token"))),
        ("iss", json!(other.agent)),
        ("sub", json!(other.agent)),
        ("sub", json!(null)),
        ("exp", json!(null)),
        ("exp", json!(NOON.as_seconds())),
        ("exp", json!(NOON.as_seconds() - 300)),
        ("exp", json!(NOON.as_seconds() + 3_601)),
        ("exp", json!("soon")),
        ("nbf", json!(NOON.as_seconds() + 11)),
        ("iat", json!(NOON.as_seconds() + 11)),
        ("jti", json!(null)),
        ("jti", json!("")),
        ("jti", json!(7)),
        ("jti", json!("x".repeat(10_000))),
    ];
    for (claim, value) in wrong {
        let mut claims = signer.claims(&server);
        match &value {
            Value::Null => claims.as_object_mut().expect("an object").remove(claim).map_or((), drop),
            value => claims[claim] = value.clone(),
        }
        let answer = present(&server, &signer.assertion(&claims)).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{claim}: {value}");
    }
    let mut early = signer.claims(&server);
    (early["nbf"], early["iat"], early["exp"]) =
        (json!(NOON.as_seconds() + 10), json!(NOON.as_seconds() + 10), json!(NOON.as_seconds() + 3_600));
    assert_eq!(present(&server, &signer.assertion(&early)).await.status, StatusCode::OK, "within the leeway");
    let mut long = signer.claims(&server);
    long["jti"] = json!("x".repeat(5_000));
    assert_eq!(present(&server, &signer.assertion(&long)).await.status, StatusCode::OK, "less than 8 KB");
}

async fn the_body_may_name_the_client_that_the_assertion_names_and_no_other(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let signer = Signer::new(&server, &admin).await;
    let other = Signer::new(&server, &admin).await;
    for (named, passes) in [(&*signer.agent, true), (&*other.agent, false), ("x", false)] {
        let assertion = signer.assertion(&signer.claims(&server));
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", named),
            ("client_assertion_type", TYPE),
            ("client_assertion", &assertion),
        ];
        let answer = server.send(server.request(Method::POST, "/api/v1/token").form(&form)).await;
        assert_eq!(answer.status.is_success(), passes, "{named}: {}", answer.text);
    }
}

async fn no_key_and_no_algorithm_that_comes_along_is_believed(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let signer = Signer::new(&server, &admin).await;
    let attacker = Ed25519KeyPair::generate().expect("a key");
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(attacker.public_key().as_ref()) });
    let forged = Signer { agent: signer.agent.clone(), credential: String::new(), key: attacker };
    let headers = [
        json!({ "alg": "EdDSA" }),
        json!({ "alg": "EdDSA", "jwk": jwk }),
        json!({ "alg": "EdDSA", "jku": format!("http://{}/jwks", server.service.address) }),
        json!({ "alg": "EdDSA", "x5u": "https://example.com" }),
        json!({ "alg": "EdDSA", "x5c": ["x"] }),
        json!({ "alg": "none" }),
        json!({ "alg": "HS256" }),
    ];
    for header in headers {
        let assertion = forged.sign(&header, &forged.claims(&server));
        present(&server, &assertion).await.assert_error(401, "invalid_client");
        if header != json!({ "alg": "EdDSA" }) {
            let own = signer.sign(&header, &signer.claims(&server));
            present(&server, &own).await.assert_error(401, "invalid_client");
        }
    }
    for header in [
        json!({ "alg": "EdDSA", "crit": ["exp"] }),
        json!({ "alg": "EdDSA", "crit": [] }),
        json!({ "alg": "EdDSA", "b64": false }),
        json!({ "alg": "EdDSA", "zip": "DEF" }),
        json!({ "alg": "eddsa" }),
        json!({ "alg": "ES256" }),
        json!({}),
    ] {
        let assertion = signer.sign(&header, &signer.claims(&server));
        present(&server, &assertion).await.assert_error(401, "invalid_client");
    }
    let unsigned = signer.assertion(&signer.claims(&server));
    let unsigned = &unsigned[..=unsigned.rfind('.').expect("a signature")];
    for garbage in ["x", "a.b.c", "....", unsigned, &"x".repeat(1_000_000 / 2)] {
        present(&server, garbage).await.assert_error(401, "invalid_client");
    }
}

async fn an_assertion_works_once_wherever_it_is_used(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let signer = Signer::new(&server, &admin).await;
    for _ in 0..8 {
        let assertion = signer.assertion(&signer.claims(&server));
        let answers = join_all((0..10).map(|_| present(&server, &assertion))).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == StatusCode::OK).count(), 1);
    }
    let assertion = signer.assertion(&signer.claims(&server));
    let introspect = || {
        let form = [("token", "x"), ("client_assertion_type", TYPE), ("client_assertion", &assertion)];
        server.request(Method::POST, "/api/v1/token/introspect").form(&form)
    };
    assert_eq!(server.send(introspect()).await.status, StatusCode::OK);
    server.send(introspect()).await.assert_error(401, "invalid_client");
    present(&server, &assertion).await.assert_error(401, "invalid_client");
}

async fn a_refused_request_does_not_spend_the_assertion(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let signer = Signer::new(&server, &admin).await;
    let assertion = signer.assertion(&signer.claims(&server));
    let form = [
        ("grant_type", "client_credentials"),
        ("scope", "mail:send"),
        ("client_assertion_type", TYPE),
        ("client_assertion", &assertion),
    ];
    let answer = server.send(server.request(Method::POST, "/api/v1/token").form(&form)).await;
    answer.assert_error(400, "invalid_scope");
    assert_eq!(present(&server, &assertion).await.status, StatusCode::OK);
}

async fn a_key_that_is_revoked_or_whose_agent_is_suspended_proves_nothing_more(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let signer = Signer::new(&server, &admin).await;
    let path = format!("/api/v1/agents/{}", signer.agent);
    server.patch(&admin, &path, json!({ "status": "suspended" })).await;
    let assertion = signer.assertion(&signer.claims(&server));
    present(&server, &assertion).await.assert_error(400, "unauthorized_client");
    server.patch(&admin, &path, json!({ "status": "active" })).await;
    server.delete(&admin, &format!("{path}/credentials/{}", signer.credential)).await;
    let assertion = signer.assertion(&signer.claims(&server));
    present(&server, &assertion).await.assert_error(401, "invalid_client");
}

async fn the_token_endpoint_is_an_audience_only_where_that_is_set(wiring: Wiring) {
    let server = TestServer::start_with(wiring, &["--client-assertion-audience", "token-endpoint"]).await;
    let admin = server.admin_token().await;
    let signer = Signer::new(&server, &admin).await;
    let mut claims = signer.claims(&server);
    claims["aud"] = json!(format!("{}/api/v1/token", server.issuer()));
    assert_eq!(present(&server, &signer.assertion(&claims)).await.status, StatusCode::OK);
    let assertion = signer.assertion(&signer.claims(&server));
    assert_eq!(present(&server, &assertion).await.status, StatusCode::OK);
}
