use serde_json::json;

use crate::world::{Wiring, World, scenarios};

scenarios!(every_wiring [
    usage_stands_beside_the_limits_it_is_held_to,
]);

async fn usage_stands_beside_the_limits_it_is_held_to(wiring: Wiring) {
    let world = World::start(wiring).await;
    let admin = world.admin_token().await;
    let organization = world.organization(&admin, json!({ "plan": "free" })).await;
    let quiet = world.client(&admin, Some(&organization), &["files:read"]).await;
    let busy = world.client(&admin, Some(&organization), &["agents:read"]).await;
    let token = world.token(&busy, &[]).await;
    world.token(&busy, &[]).await;
    world.token(&quiet, &[]).await;
    let usage = world.get(&token, "/api/v1/usage").await.json();
    assert_eq!(
        usage,
        json!({
            "organizationId": organization,
            "plan": "free",
            "month": "2026-01",
            "agents": { "used": 2, "limit": 100 },
            "tokens": { "used": 3, "byClient": [
                { "clientId": busy.id, "used": 2, "limit": 10_000 },
                { "clientId": quiet.id, "used": 1, "limit": 10_000 },
            ] },
        })
    );
    let one = world.get(&token, &format!("/api/v1/usage?clientId={}", quiet.id)).await.json();
    assert_eq!(one["tokens"]["byClient"], json!([{ "clientId": quiet.id, "used": 1, "limit": 10_000 }]));
    let unlimited = json!({ "limits": { "maxAgents": null, "maxTokensPerMonth": null } });
    world.patch(&admin, &format!("/api/v1/organizations/{organization}"), unlimited).await;
    let usage = world.get(&token, "/api/v1/usage").await.json();
    assert_eq!(
        (&usage["agents"]["limit"], &usage["tokens"]["byClient"][0]["limit"]),
        (&json!(null), &json!(null))
    );

    let foreign = world.administrator().id;
    for id in [foreign.as_str(), "x", "01920000-0000-7000-8000-000000000000"] {
        let answer = world.get(&token, &format!("/api/v1/usage?clientId={id}")).await;
        answer.assert_error(404, "AGENT_NOT_FOUND");
    }
    let by_admin = world.get(&admin, &format!("/api/v1/usage?clientId={}", quiet.id)).await.json();
    assert_eq!(by_admin["organizationId"], organization.as_str(), "the client's own organization");
}
