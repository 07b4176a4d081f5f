use reqwest::{Method, StatusCode};
use serde_json::json;
use testing::{Answer, Client, TestServer, Wiring};

use crate::scenarios::scenarios;

scenarios!(every_wiring [
    a_revoked_token_is_dead_and_no_other,
    a_token_is_revoked_by_an_instance_whose_clock_is_an_hour_off,
    a_revoked_bearer_is_refused_at_once,
    what_is_no_token_of_ours_is_answered_alike_and_stores_nothing,
    another_agents_token_takes_agents_write_and_the_organization,
    nobody_revokes_the_tokens_of_an_agent_with_more_scopes,
]);

async fn revoke(server: &TestServer, caller: &str, token: &str) -> Answer {
    let request = server.request(Method::POST, "/api/v1/token/revoke").bearer_auth(caller);
    server.send(request.form(&[("token", token), ("token_type_hint", "refresh_token")])).await
}

async fn revoke_as(server: &TestServer, caller: &Client, token: &str) -> Answer {
    let request = server.request(Method::POST, "/api/v1/token/revoke").form(&[("token", token)]);
    server.send(request.basic_auth(&caller.id, Some(&caller.secret))).await
}

async fn a_revoked_token_is_dead_and_no_other(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let client = server.client(&admin, None, &["files:read"]).await;
    let (one, two) = (server.token(&client, &[]).await, server.token(&client, &[]).await);
    for _ in 0..2 {
        let answer = revoke_as(&server, &client, &one).await;
        assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, ""));
    }
    assert!(!server.is_active(&one).await && server.is_active(&two).await);
    let events = server.events(&admin, &format!("&action=token.revoked&agentId={}", client.id)).await;
    assert_eq!(events.len(), 1, "the second time changes nothing");
}

async fn a_token_is_revoked_by_an_instance_whose_clock_is_an_hour_off(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let client = server.client(&admin, None, &["files:read"]).await;
    // A token is valid for an hour. The first clock is an hour past its expiry, the second an hour before its
    // issuance.
    for off in [3_600 + 3_600, -3_600] {
        let token = server.token(&client, &[]).await;
        server.advance(off);
        assert_eq!(revoke_as(&server, &client, &token).await.status, StatusCode::OK);
        server.advance(-off);
        assert!(!server.is_active(&token).await, "{off}");
    }
    let long_ended = server.token(&client, &[]).await;
    server.advance(3_600 + 3_900);
    assert_eq!(revoke_as(&server, &client, &long_ended).await.status, StatusCode::OK);
    server.advance(-3_600 - 3_900);
    assert!(server.is_active(&long_ended).await, "what has ended by every clock is not remembered");
}

async fn a_revoked_bearer_is_refused_at_once(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let again = server.admin_token().await;
    assert_eq!(revoke(&server, &admin, &admin).await.status, StatusCode::OK, "a token may end itself");
    server.get(&admin, "/api/v1/agents").await.assert_error(401, "UNAUTHORIZED");
    assert_eq!(server.get(&again, "/api/v1/agents").await.status, StatusCode::OK);
}

async fn what_is_no_token_of_ours_is_answered_alike_and_stores_nothing(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let client = server.client(&admin, None, &["files:read"]).await;
    let token = server.token(&client, &[]).await;
    let mut forged = token.clone();
    forged.replace_range(
        token.len() - 20..token.len() - 19,
        if &token[token.len() - 20..token.len() - 19] == "A" { "B" } else { "A" },
    );
    for unknown in ["x", "a.b.c", &forged] {
        let answer = revoke(&server, &admin, unknown).await;
        assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, ""));
    }
    assert!(server.is_active(&token).await);
    assert!(server.events(&admin, "&action=token.revoked").await.is_empty());
}

async fn another_agents_token_takes_agents_write_and_the_organization(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let plain = server.client(&admin, None, &["files:read"]).await;
    let writer = server.client(&admin, None, &["agents:write"]).await;
    let victim = server.client(&admin, None, &["files:read"]).await;
    let organization = server.organization(&admin, json!({})).await;
    let stranger = server.client(&admin, Some(&organization), &["agents:write"]).await;
    let token = server.token(&victim, &[]).await;

    let refused = revoke_as(&server, &plain, &token).await;
    refused.assert_error(403, "FORBIDDEN");
    assert_eq!(refused.header("www-authenticate"), None, "it authenticated as a client");
    assert!(server.is_active(&token).await);
    assert_eq!(revoke_as(&server, &stranger, &token).await.status, StatusCode::OK, "foreign is as unknown");
    assert!(server.is_active(&token).await);
    assert_eq!(revoke_as(&server, &writer, &token).await.status, StatusCode::OK);
    assert!(!server.is_active(&token).await);
}

async fn nobody_revokes_the_tokens_of_an_agent_with_more_scopes(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let writer = server.client(&admin, None, &["agents:write"]).await;
    let answer = revoke_as(&server, &writer, &admin).await;
    answer.assert_error(403, "FORBIDDEN");
    assert!(answer.json()["details"]["missingScopes"].as_array().is_some_and(|missing| missing.len() == 7));
    assert!(server.is_active(&admin).await);
    let narrow = server.token(&server.administrator(), &[("scope", "agents:read")]).await;
    revoke(&server, &narrow, &admin).await.assert_error(403, "FORBIDDEN");
    assert_eq!(revoke(&server, &narrow, &narrow).await.status, StatusCode::OK);
}
