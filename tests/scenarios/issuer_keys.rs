//! Keys of trusted issuers that are fetched from a server.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use agentidp::ports::clock::Clock as _;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};
use testing::{TestServer, Wiring};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::client_assertions::TYPE;
use crate::federation::{federate, present};
use crate::scenarios::scenarios;

scenarios!(every_wiring [
    a_new_key_counts_once_it_is_fetched_and_an_old_one_no_longer,
    a_corrected_location_of_the_keys_counts_at_once,
]);
scenarios!(stateless [
    an_issuer_that_cannot_be_asked_makes_clients_wait,
    unknown_keys_cost_the_issuer_one_request,
    no_keys_come_from_a_network_that_is_not_allowed,
]);

/// An OpenID issuer on a loopback address.
struct Issuer {
    url: String,
    keys: Arc<Mutex<Option<Vec<Ed25519KeyPair>>>>,
    requests: Arc<AtomicUsize>,
}

impl Issuer {
    /// Starts an issuer with one key.
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
        let url = format!("http://{}/tenant/", listener.local_addr().expect("an address"));
        let keys = Arc::new(Mutex::new(Some(vec![Ed25519KeyPair::generate().expect("a key")])));
        let requests = Arc::new(AtomicUsize::new(0));
        let (base, shared, counted) = (url.clone(), keys.clone(), requests.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let published = shared.lock().expect("no panic").as_deref().map(jwks);
                // A connection that breaks is one that the service has given up.
                let _ = answer(stream, &base, published).await;
            }
        });
        Self { url, keys, requests }
    }

    /// Replaces the keys; the issuer fails while it has none.
    fn publish(&self, keys: Option<Vec<Ed25519KeyPair>>) {
        *self.keys.lock().expect("no panic") = keys;
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Signs an assertion with the key at this place, or with that `kid`.
    fn assertion(&self, server: &TestServer, place: usize, key_id: Option<&str>) -> String {
        let keys = self.keys.lock().expect("no panic");
        let key = &keys.as_deref().expect("keys")[place];
        let id = key_id.map_or_else(|| id_of(key), str::to_owned);
        let now = server.clock.now().as_seconds();
        let claims = json!({ "iss": self.url, "sub": "job", "aud": server.issuer(), "exp": now + 600 });
        sign(key, &id, &claims)
    }
}

fn sign(key: &Ed25519KeyPair, id: &str, claims: &Value) -> String {
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let message = format!("{}.{}", part(&json!({ "alg": "EdDSA", "kid": id })), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(message.as_bytes()).as_ref());
    format!("{message}.{signature}")
}

fn id_of(key: &Ed25519KeyPair) -> String {
    URL_SAFE_NO_PAD.encode(&key.public_key().as_ref()[..6])
}

fn jwks(keys: &[Ed25519KeyPair]) -> Value {
    let jwk = |key: &Ed25519KeyPair| {
        let x = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
        json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": id_of(key), "x5t": "ignored" })
    };
    json!({ "keys": keys.iter().map(jwk).collect::<Vec<_>>() })
}

async fn answer(stream: TcpStream, base: &str, keys: Option<Value>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    while stream.read_line(&mut line).await? > 2 {}
    let configuration = json!({ "issuer": base, "jwks_uri": format!("{base}keys") });
    let (status, body) = match (path.as_str(), keys) {
        ("/tenant/.well-known/openid-configuration", Some(_)) => ("200 OK", configuration.to_string()),
        ("/tenant/keys", Some(keys)) => ("200 OK", keys.to_string()),
        _ => ("503 Service Unavailable", String::new()),
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes()).await
}

/// Starts a service that may fetch from loopback addresses.
async fn start(wiring: Wiring) -> TestServer {
    TestServer::start_with(wiring, &["--issuer-private-networks", "127.0.0.0/8"]).await
}

/// Lets the administrator's organization trust the issuer, and returns an agent that authenticates by it, with the path
/// of the issuer.
async fn trust(server: &TestServer, admin: &str, issuer: &Issuer) -> (String, String) {
    trust_by(server, admin, issuer, json!({ "type": "discovery" })).await
}

async fn trust_by(server: &TestServer, admin: &str, issuer: &Issuer, keys: Value) -> (String, String) {
    let body = json!({ "name": "CI", "issuer": issuer.url, "keys": keys });
    let answer = server.post(admin, "/api/v1/issuers", body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    let id = answer.json()["issuerId"].as_str().expect("an id").to_owned();
    let agent = server.agent(admin, None, &["files:read"]).await;
    federate(server, admin, &agent, json!({ "issuerId": id, "subject": "job" })).await;
    (agent, format!("/api/v1/issuers/{id}"))
}

async fn a_new_key_counts_once_it_is_fetched_and_an_old_one_no_longer(wiring: Wiring) {
    let server = start(wiring).await;
    let admin = server.admin_token().await;
    let issuer = Issuer::start().await;
    let (agent, path) = trust(&server, &admin, &issuer).await;
    // Two requests each, one for each instance where there are two.
    let assert_all = async |assertion: &str, status: StatusCode, why: &str| {
        for _ in 0..2 {
            let answer = present(&server, Some(&agent), TYPE, assertion).await;
            assert_eq!(answer.status, status, "{why}: {}", answer.text);
        }
    };
    let old = issuer.assertion(&server, 0, None);
    assert_all(&old, StatusCode::OK, "the first key").await;
    for _ in 0..2 {
        assert_eq!(server.get(&admin, &path).await.json()["keysStatus"]["state"], "ok");
    }
    issuer.publish(Some(vec![Ed25519KeyPair::generate().expect("a key")]));
    let new = issuer.assertion(&server, 0, None);
    assert_all(&new, StatusCode::UNAUTHORIZED, "asked less than 30 seconds ago").await;
    assert_all(&old, StatusCode::OK, "cached").await;
    server.advance(30);
    assert_all(&new, StatusCode::OK, "an unknown kid fetches").await;
    assert_all(&old, StatusCode::UNAUTHORIZED, "the issuer no longer publishes it").await;
    issuer.publish(None);
    server.advance(400);
    let new = {
        let answer = present(&server, Some(&agent), TYPE, &new).await;
        assert_eq!(answer.status, StatusCode::OK, "the last good keys are used: {}", answer.text);
        new
    };
    assert_all(&new, StatusCode::OK, "the last good keys are used").await;
}

async fn a_corrected_location_of_the_keys_counts_at_once(wiring: Wiring) {
    let server = start(wiring).await;
    let admin = server.admin_token().await;
    let issuer = Issuer::start().await;
    let keys = |name: &str| json!({ "type": "jwks_uri", "uri": format!("{}{name}", issuer.url) });
    let (agent, path) = trust_by(&server, &admin, &issuer, keys("missing")).await;
    let assertion = issuer.assertion(&server, 0, None);
    for _ in 0..2 {
        let answer = present(&server, Some(&agent), TYPE, &assertion).await;
        answer.assert_error(503, "temporarily_unavailable");
    }
    let answer = server.patch(&admin, &path, json!({ "keys": keys("keys") })).await;
    assert_eq!(answer.json()["keysStatus"]["state"], "ok", "{}", answer.text);
    for _ in 0..2 {
        let answer = present(&server, Some(&agent), TYPE, &assertion).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    }
}

async fn an_issuer_that_cannot_be_asked_makes_clients_wait(wiring: Wiring) {
    let server = start(wiring).await;
    let admin = server.admin_token().await;
    let issuer = Issuer::start().await;
    let key = Ed25519KeyPair::generate().expect("a key");
    issuer.publish(None);
    let (agent, path) = trust(&server, &admin, &issuer).await;
    let shown = server.get(&admin, &path).await.json()["keysStatus"].clone();
    assert_eq!(shown["state"], "failing", "{shown}");
    assert!(shown["error"].is_string() && shown["checkedAt"].is_string(), "{shown}");
    let now = server.clock.now().as_seconds();
    let claims = json!({ "iss": issuer.url, "sub": "job", "aud": server.issuer(), "exp": now + 600 });
    let assertion = sign(&key, &id_of(&key), &claims);
    for _ in 0..3 {
        let answer = present(&server, Some(&agent), TYPE, &assertion).await;
        answer.assert_error(503, "temporarily_unavailable");
        assert!((1..=30).contains(&answer.number("retry-after")), "{:?}", answer.headers);
    }
    let explained = server.post(&admin, &format!("{path}/explain"), json!({ "assertion": assertion })).await;
    let explained = explained.json();
    let key_row = explained["checks"].as_array().expect("checks").iter().find(|row| row["check"] == "key");
    assert_eq!(key_row.expect("a row")["passed"], false, "{explained}");
    // A client without a credential of the issuer learns nothing of that.
    let other = server.agent(&admin, None, &["files:read"]).await;
    present(&server, Some(&other), TYPE, &assertion).await.assert_error(401, "invalid_client");
    issuer.publish(Some(vec![key]));
    server.advance(30);
    let answer = present(&server, Some(&agent), TYPE, &assertion).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(server.get(&admin, &path).await.json()["keysStatus"]["state"], "ok");
}

/// Unauthenticated callers name keys that do not exist.
async fn unknown_keys_cost_the_issuer_one_request(wiring: Wiring) {
    let server = start(wiring).await;
    let admin = server.admin_token().await;
    let issuer = Issuer::start().await;
    let (agent, _) = trust(&server, &admin, &issuer).await;
    let before = issuer.requests();
    let forged: Vec<String> =
        (0..100).map(|place| issuer.assertion(&server, 0, Some(&format!("unknown {place}")))).collect();
    server.advance(31);
    let answers = join_all(forged.iter().map(|forged| present(&server, Some(&agent), TYPE, forged))).await;
    for answer in answers {
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", answer.text);
    }
    assert_eq!(issuer.requests() - before, 2, "one attempt: the configuration and the keys");
    let answer = present(&server, Some(&agent), TYPE, &issuer.assertion(&server, 0, None)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
}

async fn no_keys_come_from_a_network_that_is_not_allowed(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let issuer = Issuer::start().await;
    let port = issuer.url.split(':').nth(2).and_then(|rest| rest.split('/').next()).expect("a port");
    for (place, host) in
        ["127.0.0.1", "localhost", "2130706433", "0177.0.0.1", "[::ffff:127.0.0.1]", "169.254.169.254"]
            .into_iter()
            .enumerate()
    {
        let body = json!({
            "name": "CI", "issuer": format!("https://ci{place}.example.com"),
            "keys": { "type": "jwks_uri", "uri": format!("https://{host}:{port}/tenant/keys") },
        });
        let answer = server.post(&admin, "/api/v1/issuers", body).await;
        match answer.status {
            // Refused by its spelling.
            StatusCode::BAD_REQUEST => assert_eq!(answer.faults(), ["keys.uri"]),
            _ => assert_eq!(answer.json()["keysStatus"]["state"], "failing", "{host}: {}", answer.text),
        }
    }
    assert_eq!(issuer.requests(), 0, "nothing was connected to");
}
