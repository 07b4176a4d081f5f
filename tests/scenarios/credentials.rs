use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testing::{Client, TestServer, Wiring};

use crate::scenarios::scenarios;

scenarios!(every_wiring [
    a_secret_is_shown_once_and_kept_as_a_hash,
    use_is_noted_to_the_minute,
    an_agent_has_ten_live_credentials_and_no_more,
    a_suspended_agent_gets_no_credential,
    a_credential_ends_when_it_says,
    a_rotated_secret_dies_at_once_or_after_its_grace,
    a_rotation_kills_tokens_when_it_is_told_to,
    of_two_rotations_at_once_one_succeeds,
    a_rotation_keeps_the_end_unless_it_names_another,
    a_public_key_is_listed_and_not_rotated,
    credentials_that_expire_are_listed_for_all_agents_of_the_caller,
]);
scenarios!(stateless [
    a_rotation_is_read_strictly,
    what_is_no_public_key_of_ours_is_refused_by_name,
    a_key_of_rfc_9864_is_kept_under_its_older_name,
]);

async fn a_secret_is_shown_once_and_kept_as_a_hash(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let client = server.client(&admin, None, &["files:read"]).await;
    assert!(client.secret.starts_with("aidp_sk_") && client.secret.len() == 64);
    let listed = server.get(&admin, &format!("/api/v1/agents/{}/credentials", client.id)).await;
    assert!(!listed.text.contains(&client.secret) && !listed.text.contains("$2"));
    let credential = &listed.json()["data"][0];
    assert_eq!(credential["credentialId"], client.credential.as_str());
    assert_eq!((&credential["type"], &credential["status"]), (&json!("client_secret"), &json!("active")));
    assert!(server.events(&admin, "").await.iter().all(|event| !event.to_string().contains("aidp_sk_")));
}

async fn credentials_that_expire_are_listed_for_all_agents_of_the_caller(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let organization = server.organization(&admin, json!({})).await;
    let reader = server.client(&admin, Some(&organization), &["agents:read"]).await;
    let reader_token = server.token(&reader, &[]).await;
    let own = server.agent(&admin, None, &["files:read"]).await;
    for (agent, end) in
        [(&own, "2026-02-20"), (&reader.id, "2026-02-01"), (&own, "2026-01-16"), (&own, "2026-01-20")]
    {
        let path = format!("/api/v1/agents/{agent}/credentials");
        let body = json!({ "expiresAt": format!("{end}T12:00:00Z") });
        assert_eq!(server.post(&admin, &path, body).await.status, StatusCode::CREATED);
    }
    let list = async |token: &str, query: &str| {
        let page = server.get(token, &format!("/api/v1/credentials{query}")).await.json();
        let day = |one: &Value| one["expiresAt"].as_str().expect("a time")[..10].to_owned();
        (page["data"].as_array().expect("a list").iter().map(day).collect::<Vec<_>>(), page["total"].clone())
    };
    let days =
        |days: &[&str]| (days.iter().map(|day| (*day).to_owned()).collect::<Vec<_>>(), json!(days.len()));
    assert_eq!(list(&admin, "").await, days(&["2026-01-16", "2026-01-20", "2026-02-01"]), "within 30 days");
    assert_eq!(list(&admin, "?expiresBefore=2026-01-18T00:00:00Z").await, days(&["2026-01-16"]));
    assert_eq!(list(&admin, &format!("?organizationId={organization}")).await, days(&["2026-02-01"]));
    assert_eq!(list(&reader_token, "").await, days(&["2026-02-01"]), "only those of its organization");
    let far = server.get(&admin, "/api/v1/credentials?expiresBefore=2027-01-17T00:00:00Z").await;
    far.assert_error(400, "VALIDATION_ERROR");
    let default = server.get(&admin, "/api/v1/usage").await.json();
    let foreign = format!("?organizationId={}", default["organizationId"].as_str().expect("an ID"));
    assert_eq!(list(&reader_token, &foreign).await, days(&[]));
    server.advance(2 * 24 * 60 * 60);
    let admin = server.admin_token().await;
    let (expiring, total) = list(&admin, "?limit=1&page=2").await;
    assert_eq!((expiring, total), (vec!["2026-02-01".to_owned()], json!(2)), "one has expired");
}

async fn use_is_noted_to_the_minute(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let client = server.client(&admin, None, &["files:read"]).await;
    server.advance(90);
    server.token(&client, &[]).await;
    let path = format!("/api/v1/agents/{}/credentials", client.id);
    let listed = server.get(&admin, &path).await.json();
    assert_eq!(listed["data"][0]["lastUsedAt"], "2026-01-15T12:01:00.000Z");
    server.advance(60);
    let revocation = server.request(Method::POST, "/api/v1/token/revoke").form(&[("token", "x")]);
    server.send(revocation.basic_auth(&client.id, Some(&client.secret))).await;
    let listed = server.get(&admin, &path).await.json();
    assert_eq!(
        listed["data"][0]["lastUsedAt"], "2026-01-15T12:02:00.000Z",
        "by a client without a token too"
    );
}

async fn an_agent_has_ten_live_credentials_and_no_more(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let agent = server.agent(&admin, None, &["files:read"]).await;
    let path = format!("/api/v1/agents/{agent}/credentials");
    let mut first = None;
    for _ in 0..10 {
        first.get_or_insert(server.secret(&admin, &agent).await);
    }
    server.post(&admin, &path, json!({})).await.assert_error(409, "CREDENTIAL_LIMIT_REACHED");
    let first = first.expect("ten");
    let revoked = server.delete(&admin, &format!("{path}/{}", first.credential)).await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT);
    server.secret(&admin, &agent).await;
    let again = server.delete(&admin, &format!("{path}/{}", first.credential)).await;
    again.assert_error(409, "CREDENTIAL_ALREADY_REVOKED");
    let revoked = server.get(&admin, &format!("{path}?status=revoked")).await.json();
    assert_eq!(revoked["total"], 1);
}

async fn a_suspended_agent_gets_no_credential(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let agent = server.agent(&admin, None, &["files:read"]).await;
    server.patch(&admin, &format!("/api/v1/agents/{agent}"), json!({ "status": "suspended" })).await;
    let answer = server.post(&admin, &format!("/api/v1/agents/{agent}/credentials"), json!({})).await;
    answer.assert_error(409, "AGENT_NOT_ACTIVE");
}

async fn a_credential_ends_when_it_says(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let agent = server.agent(&admin, None, &["files:read"]).await;
    let path = format!("/api/v1/agents/{agent}/credentials");
    for past in ["2026-01-15T12:00:00Z", "2020-01-01T00:00:00Z", "soon", "2026-02-01T00:00:00"] {
        assert_eq!(
            server.post(&admin, &path, json!({ "expiresAt": past })).await.faults(),
            ["expiresAt"],
            "{past}"
        );
    }
    let made = server.post(&admin, &path, json!({ "expiresAt": "2026-01-15T13:00:30+01:00" })).await.json();
    assert_eq!(made["expiresAt"], "2026-01-15T12:00:30.000Z");
    let client = Client {
        id: agent,
        secret: made["clientSecret"].as_str().expect("a secret").to_owned(),
        credential: String::new(),
    };
    server.token(&client, &[]).await;
    server.advance(30);
    server.ask_token(&client, &[]).await.assert_error(401, "invalid_client");
}

async fn rotate(server: &TestServer, admin: &str, client: &Client, body: Value) -> Client {
    let path = format!("/api/v1/agents/{}/credentials/{}/rotate", client.id, client.credential);
    let answer = server.post(admin, &path, body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.json()["credentialId"], client.credential.as_str(), "the same id");
    let secret = answer.json()["clientSecret"].as_str().expect("a secret").to_owned();
    Client { secret, ..client.clone() }
}

async fn a_rotated_secret_dies_at_once_or_after_its_grace(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let first = server.client(&admin, None, &["files:read"]).await;
    let token = server.token(&first, &[]).await;
    let second = rotate(&server, &admin, &first, json!({})).await;
    server.ask_token(&first, &[]).await.assert_error(401, "invalid_client");
    assert!(server.is_active(&token).await, "tokens outlive the secret, unless the caller says otherwise");
    let third = rotate(&server, &admin, &second, json!({ "graceSeconds": 60 })).await;
    server.token(&second, &[]).await;
    server.advance(60);
    server.ask_token(&second, &[]).await.assert_error(401, "invalid_client");
    server.token(&third, &[]).await;
}

async fn a_rotation_kills_tokens_when_it_is_told_to(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let client = server.client(&admin, None, &["files:read"]).await;
    let token = server.token(&client, &[]).await;
    let client = rotate(&server, &admin, &client, json!({ "revokeTokens": true })).await;
    assert!(!server.is_active(&token).await);
    assert!(server.is_active(&server.token(&client, &[]).await).await);
}

async fn a_rotation_is_read_strictly(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let client = server.client(&admin, None, &["files:read"]).await;
    let path = format!("/api/v1/agents/{}/credentials/{}/rotate", client.id, client.credential);
    let body = json!({ "graceSeconds": 604_801, "revokeTokens": "yes", "expiresAt": "2020-01-01T00:00:00Z", "x": 1 });
    let mut faults = server.post(&admin, &path, body).await.faults();
    faults.sort();
    assert_eq!(faults, ["expiresAt", "graceSeconds", "revokeTokens", "x"]);
}

async fn of_two_rotations_at_once_one_succeeds(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    for round in 0..8 {
        let client = server.client(&admin, None, &["files:read"]).await;
        let path = format!("/api/v1/agents/{}/credentials/{}/rotate", client.id, client.credential);
        let (one, two) =
            tokio::join!(server.post(&admin, &path, json!({})), server.post(&admin, &path, json!({})));
        let mut working = 0;
        for answer in [one, two] {
            match answer.status {
                StatusCode::OK => {
                    let secret = answer.json()["clientSecret"].as_str().expect("a secret").to_owned();
                    let rotated = Client { secret, ..client.clone() };
                    working += u32::from(server.ask_token(&rotated, &[]).await.status == StatusCode::OK);
                }
                _ => answer.assert_error(409, "CONFLICT"),
            }
        }
        // If the two rotations happen not to overlap, both are answered 200, one after the other.
        assert_eq!(working, 1, "one secret works, in round {round}");
        server.ask_token(&client, &[]).await.assert_error(401, "invalid_client");
    }
}

async fn a_rotation_keeps_the_end_unless_it_names_another(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let agent = server.agent(&admin, None, &["files:read"]).await;
    let path = format!("/api/v1/agents/{agent}/credentials");
    let made = server.post(&admin, &path, json!({ "expiresAt": "2026-01-15T12:10:00Z" })).await.json();
    let id = made["credentialId"].as_str().expect("an id").to_owned();
    let rotate = async |body: Value| server.post(&admin, &format!("{path}/{id}/rotate"), body).await;
    assert_eq!(rotate(json!({})).await.json()["expiresAt"], "2026-01-15T12:10:00.000Z");
    let old = rotate(json!({})).await.json()["clientSecret"].as_str().expect("a secret").to_owned();
    let old = Client { id: agent.clone(), secret: old, credential: id.clone() };
    server.advance(600);
    assert_eq!(rotate(json!({})).await.faults(), ["expiresAt"], "it would expire at once");
    let new_end = json!({ "expiresAt": "2026-01-15T13:00:00Z", "graceSeconds": 600 });
    assert_eq!(rotate(new_end).await.json()["expiresAt"], "2026-01-15T13:00:00.000Z");
    server.ask_token(&old, &[]).await.assert_error(401, "invalid_client");
}

async fn a_public_key_is_listed_and_not_rotated(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let agent = server.agent(&admin, None, &["files:read"]).await;
    let path = format!("/api/v1/agents/{agent}/credentials");
    let key = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
    let made = server.post(&admin, &path, json!({ "type": "public_key", "publicKey": key })).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let made = made.json();
    assert_eq!((&made["type"], &made["publicKey"]["x"]), (&json!("public_key"), &key["x"]));
    assert!(made.get("clientSecret").is_none());
    let id = made["credentialId"].as_str().expect("an id");
    server.post(&admin, &format!("{path}/{id}/rotate"), json!({})).await.assert_error(409, "CONFLICT");
}

async fn a_key_of_rfc_9864_is_kept_under_its_older_name(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let agent = server.agent(&admin, None, &["files:read"]).await;
    let path = format!("/api/v1/agents/{agent}/credentials");
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    for name in ["Ed25519", "EdDSA"] {
        let key = json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "alg": name });
        let answer = server.post(&admin, &path, json!({ "type": "public_key", "publicKey": key })).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        assert_eq!(answer.json()["publicKey"]["alg"], "EdDSA");
    }
}

async fn what_is_no_public_key_of_ours_is_refused_by_name(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let agent = server.agent(&admin, None, &["files:read"]).await;
    let path = format!("/api/v1/agents/{agent}/credentials");
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let zero = "A".repeat(43);
    for (key, fault) in [
        (json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "d": x }), "publicKey.d"),
        (json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "x5u": "https://example.com" }), "publicKey.x5u"),
        (json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "use": "enc" }), "publicKey.use"),
        (json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "key_ops": ["encrypt"] }), "publicKey.key_ops"),
        (json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "alg": "none" }), "publicKey.alg"),
        (json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "alg": "RS256" }), "publicKey.alg"),
        (json!({ "kty": "OKP", "crv": "X25519", "x": x }), "publicKey.crv"),
        (json!({ "kty": "OKP", "crv": "Ed25519", "x": "AA" }), "publicKey"),
        (json!({ "kty": "oct", "k": x }), "publicKey.kty"),
        (json!({ "kty": "EC", "crv": "P-256", "x": zero, "y": zero }), "publicKey"),
        (json!({ "kty": "EC", "crv": "P-256", "x": zero }), "publicKey.y"),
        (json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB" }), "publicKey"),
        (json!({ "kty": "RSA", "n": "w".repeat(342), "e": "Aw" }), "publicKey"),
        (json!({ "kty": "RSA", "n": "w".repeat(2731), "e": "AQAB" }), "publicKey.n"),
        (json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA" }), "publicKey.x"),
        (json!("key"), "publicKey"),
    ] {
        let answer = server.post(&admin, &path, json!({ "type": "public_key", "publicKey": key })).await;
        assert!(answer.faults().contains(&fault.to_owned()), "{key}: {}", answer.text);
        let unknown = r#""publicKey.alg","message":"is not a known field""#;
        assert!(!answer.text.contains(unknown), "{key}: {}", answer.text);
    }
    let missing = server.post(&admin, &path, json!({ "type": "public_key" })).await;
    assert_eq!(missing.faults(), ["publicKey"]);
    let without_type = json!({ "publicKey": { "kty": "OKP", "crv": "Ed25519", "x": x } });
    assert_eq!(server.post(&admin, &path, without_type).await.faults(), ["publicKey"]);
}
