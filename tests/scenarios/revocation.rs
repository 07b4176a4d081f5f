use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::world::{Answer, Client, Wiring, World, scenarios};

scenarios!(every_wiring [
    a_revoked_token_is_dead_and_no_other,
    a_token_is_revoked_by_an_instance_whose_clock_is_an_hour_off,
    a_revoked_bearer_is_refused_at_once,
    what_is_no_token_of_ours_is_answered_alike_and_stores_nothing,
    another_agents_token_takes_agents_write_and_the_organization,
    nobody_revokes_the_tokens_of_an_agent_with_more_scopes,
]);

async fn revoke(world: &World, caller: &str, token: &str) -> Answer {
    let request = world.request(Method::POST, "/api/v1/token/revoke").bearer_auth(caller);
    world.send(request.form(&[("token", token), ("token_type_hint", "refresh_token")])).await
}

async fn revoke_as(world: &World, caller: &Client, token: &str) -> Answer {
    let request = world.request(Method::POST, "/api/v1/token/revoke").form(&[("token", token)]);
    world.send(request.basic_auth(&caller.id, Some(&caller.secret))).await
}

async fn a_revoked_token_is_dead_and_no_other(wiring: Wiring) {
    let world = World::start(wiring).await;
    let admin = world.admin_token().await;
    let client = world.client(&admin, None, &["files:read"]).await;
    let (one, two) = (world.token(&client, &[]).await, world.token(&client, &[]).await);
    for _ in 0..2 {
        let answer = revoke_as(&world, &client, &one).await;
        assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, ""));
    }
    assert!(!world.is_active(&one).await && world.is_active(&two).await);
    let events = world.events(&admin, &format!("&action=token.revoked&agentId={}", client.id)).await;
    assert_eq!(events.len(), 1, "the second time changes nothing");
}

async fn a_token_is_revoked_by_an_instance_whose_clock_is_an_hour_off(wiring: Wiring) {
    let world = World::start(wiring).await;
    let admin = world.admin_token().await;
    let client = world.client(&admin, None, &["files:read"]).await;
    // They live for an hour. It counts from the one's end, and from the other's beginning.
    for off in [3_600 + 3_600, -3_600] {
        let token = world.token(&client, &[]).await;
        world.advance(off);
        assert_eq!(revoke_as(&world, &client, &token).await.status, StatusCode::OK);
        world.advance(-off);
        assert!(!world.is_active(&token).await, "{off}");
    }
    let long_ended = world.token(&client, &[]).await;
    world.advance(3_600 + 3_900);
    assert_eq!(revoke_as(&world, &client, &long_ended).await.status, StatusCode::OK);
    world.advance(-3_600 - 3_900);
    assert!(world.is_active(&long_ended).await, "what has ended by every clock is not remembered");
}

async fn a_revoked_bearer_is_refused_at_once(wiring: Wiring) {
    let world = World::start(wiring).await;
    let admin = world.admin_token().await;
    let again = world.admin_token().await;
    assert_eq!(revoke(&world, &admin, &admin).await.status, StatusCode::OK, "a token may end itself");
    world.get(&admin, "/api/v1/agents").await.assert_error(401, "UNAUTHORIZED");
    assert_eq!(world.get(&again, "/api/v1/agents").await.status, StatusCode::OK);
}

async fn what_is_no_token_of_ours_is_answered_alike_and_stores_nothing(wiring: Wiring) {
    let world = World::start(wiring).await;
    let admin = world.admin_token().await;
    let client = world.client(&admin, None, &["files:read"]).await;
    let token = world.token(&client, &[]).await;
    let mut forged = token.clone();
    forged.replace_range(
        token.len() - 20..token.len() - 19,
        if &token[token.len() - 20..token.len() - 19] == "A" { "B" } else { "A" },
    );
    for unknown in ["x", "a.b.c", &forged] {
        let answer = revoke(&world, &admin, unknown).await;
        assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, ""));
    }
    assert!(world.is_active(&token).await);
    assert!(world.events(&admin, "&action=token.revoked").await.is_empty());
}

async fn another_agents_token_takes_agents_write_and_the_organization(wiring: Wiring) {
    let world = World::start(wiring).await;
    let admin = world.admin_token().await;
    let plain = world.client(&admin, None, &["files:read"]).await;
    let writer = world.client(&admin, None, &["agents:write"]).await;
    let victim = world.client(&admin, None, &["files:read"]).await;
    let organization = world.organization(&admin, json!({})).await;
    let stranger = world.client(&admin, Some(&organization), &["agents:write"]).await;
    let token = world.token(&victim, &[]).await;

    let refused = revoke_as(&world, &plain, &token).await;
    refused.assert_error(403, "FORBIDDEN");
    assert_eq!(refused.header("www-authenticate"), Some("Bearer error=\"insufficient_scope\""));
    assert!(world.is_active(&token).await);
    assert_eq!(revoke_as(&world, &stranger, &token).await.status, StatusCode::OK, "foreign is as unknown");
    assert!(world.is_active(&token).await);
    assert_eq!(revoke_as(&world, &writer, &token).await.status, StatusCode::OK);
    assert!(!world.is_active(&token).await);
}

async fn nobody_revokes_the_tokens_of_an_agent_with_more_scopes(wiring: Wiring) {
    let world = World::start(wiring).await;
    let admin = world.admin_token().await;
    let writer = world.client(&admin, None, &["agents:write"]).await;
    let answer = revoke_as(&world, &writer, &admin).await;
    answer.assert_error(403, "FORBIDDEN");
    assert!(answer.json()["details"]["missingScopes"].as_array().is_some_and(|missing| missing.len() == 5));
    assert!(world.is_active(&admin).await);
    let narrow = world.token(&world.administrator(), &[("scope", "agents:read")]).await;
    revoke(&world, &narrow, &admin).await.assert_error(403, "FORBIDDEN");
    assert_eq!(revoke(&world, &narrow, &narrow).await.status, StatusCode::OK);
}
