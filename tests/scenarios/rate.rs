use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::json;
use testing::{Client, TestServer, Wiring};

use crate::scenarios::scenarios;

scenarios!(every_wiring [
    a_client_is_held_to_its_plan_and_told_when_one_more_passes,
    a_stranger_spends_its_addresss_allowance_and_never_a_clients,
    two_methods_of_client_authentication_count_once_against_the_address,
    unlimited_is_told_by_saying_nothing,
    forwarded_addresses_count_from_trusted_proxies_only,
]);

async fn a_client_is_held_to_its_plan_and_told_when_one_more_passes(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let organization = server.organization(&admin, json!({ "limits": { "requestsPerMinute": 5 } })).await;
    let client = server.client(&admin, Some(&organization), &["agents:read"]).await;
    let token = server.token(&client, &[]).await;
    let answers = join_all((0..10).map(|_| server.get(&token, "/api/v1/agents"))).await;
    let passed = answers.iter().filter(|answer| answer.status == StatusCode::OK).count();
    assert_eq!(passed, 4, "the token itself was the first");
    for answer in &answers {
        assert_eq!(answer.number("x-ratelimit-limit"), 5);
        assert!((0..=5).contains(&answer.number("x-ratelimit-remaining")));
        assert!(answer.number("x-ratelimit-reset") > testing::NOON.as_seconds());
    }
    let refused = server.get(&token, "/api/v1/agents").await;
    refused.assert_error(429, "RATE_LIMIT_EXCEEDED");
    server.advance(refused.number("retry-after"));
    assert_eq!(server.get(&token, "/api/v1/agents").await.status, StatusCode::OK, "obeyed, it passes");

    let at_token = join_all((0..10).map(|_| server.ask_token(&client, &[]))).await;
    let refused = at_token.iter().find(|answer| answer.status == StatusCode::TOO_MANY_REQUESTS).expect("one");
    assert_eq!(refused.code(), "RATE_LIMIT_EXCEEDED");
    assert!(refused.header("retry-after").is_some());
}

async fn two_methods_of_client_authentication_count_once_against_the_address(wiring: Wiring) {
    let server = TestServer::start_with(wiring, &["--address-requests-per-minute", "10"]).await;
    let both = [
        ("grant_type", "client_credentials"),
        ("token", "x"),
        ("client_secret", "x"),
        ("client_assertion", "x"),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
    ];
    for (left, path) in [(9, "/api/v1/token"), (8, "/api/v1/token/introspect"), (7, "/api/v1/token/revoke")] {
        let answer = server.send(server.request(Method::POST, path).form(&both)).await;
        answer.assert_error(400, "invalid_request");
        assert_eq!(answer.number("x-ratelimit-remaining"), left, "{path}");
    }
}

async fn a_stranger_spends_its_addresss_allowance_and_never_a_clients(wiring: Wiring) {
    let server = TestServer::start_with(wiring, &["--address-requests-per-minute", "10"]).await;
    let admin = server.admin_token().await;
    let client = server.client(&admin, None, &["files:read"]).await;
    let remaining = server.ask_token(&client, &[]).await.number("x-ratelimit-remaining");
    let stranger = Client { secret: "x".into(), ..client.clone() };
    for left in (0..10).rev() {
        let answer = server.ask_token(&stranger, &[]).await;
        answer.assert_error(401, "invalid_client");
        assert_eq!(answer.number("x-ratelimit-limit"), 10, "the address's, not the client's");
        assert_eq!(answer.number("x-ratelimit-remaining"), left);
    }
    server.ask_token(&stranger, &[]).await.assert_error(429, "RATE_LIMIT_EXCEEDED");
    server.get("x", "/api/v1/agents").await.assert_error(429, "RATE_LIMIT_EXCEEDED");
    let nobody = server.send(server.request(Method::GET, "/api/v1/agents")).await;
    nobody.assert_error(429, "RATE_LIMIT_EXCEEDED");
    let malformed = server.send(server.request(Method::POST, "/api/v1/token").form(&[("scope", "x")])).await;
    malformed.assert_error(429, "RATE_LIMIT_EXCEEDED");
    assert_eq!(malformed.json()["error"], "temporarily_unavailable", "for clients of OAuth's own kind");

    let own = server.ask_token(&client, &[]).await;
    assert_eq!(own.status, StatusCode::OK, "a right secret from the same address passes");
    assert_eq!(own.number("x-ratelimit-remaining"), remaining - 1, "and its allowance is untouched");
}

async fn unlimited_is_told_by_saying_nothing(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let organization = server.organization(&admin, json!({ "limits": { "requestsPerMinute": null } })).await;
    let client = server.client(&admin, Some(&organization), &["files:read"]).await;
    let answer = server.ask_token(&client, &[]).await;
    assert_eq!((answer.status, answer.header("x-ratelimit-limit")), (StatusCode::OK, None));
}

async fn forwarded_addresses_count_from_trusted_proxies_only(wiring: Wiring) {
    let trusting = TestServer::start_with(
        wiring,
        &["--address-requests-per-minute", "1", "--trusted-proxies", "127.0.0.0/8"],
    )
    .await;
    let from = |server: &TestServer, address: &str| {
        server.request(Method::GET, "/api/v1/agents").header("x-forwarded-for", address)
    };
    for address in ["192.0.2.1", "192.0.2.2"] {
        trusting.send(from(&trusting, address)).await.assert_error(401, "UNAUTHORIZED");
        trusting.send(from(&trusting, address)).await.assert_error(429, "RATE_LIMIT_EXCEEDED");
    }
    let strict = TestServer::start_with(wiring, &["--address-requests-per-minute", "1"]).await;
    strict.send(from(&strict, "192.0.2.1")).await.assert_error(401, "UNAUTHORIZED");
    strict.send(from(&strict, "192.0.2.2")).await.assert_error(429, "RATE_LIMIT_EXCEEDED");
}
