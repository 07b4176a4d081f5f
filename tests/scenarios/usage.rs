use serde_json::json;
use testing::{TestServer, Wiring};

use crate::scenarios::scenarios;

scenarios!(every_wiring [
    usage_stands_beside_the_limits_it_is_held_to,
]);

async fn usage_stands_beside_the_limits_it_is_held_to(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let organization = server.organization(&admin, json!({ "plan": "free" })).await;
    let quiet = server.client(&admin, Some(&organization), &["files:read"]).await;
    let busy = server.client(&admin, Some(&organization), &["agents:read"]).await;
    let token = server.token(&busy, &[]).await;
    server.token(&busy, &[]).await;
    server.token(&quiet, &[]).await;
    let usage = server.get(&token, "/api/v1/usage").await.json();
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
    let one = server.get(&token, &format!("/api/v1/usage?clientId={}", quiet.id)).await.json();
    assert_eq!(one["tokens"]["byClient"], json!([{ "clientId": quiet.id, "used": 1, "limit": 10_000 }]));
    let unlimited = json!({ "limits": { "maxAgents": null, "maxTokensPerMonth": null } });
    server.patch(&admin, &format!("/api/v1/organizations/{organization}"), unlimited).await;
    let usage = server.get(&token, "/api/v1/usage").await.json();
    assert_eq!(
        (&usage["agents"]["limit"], &usage["tokens"]["byClient"][0]["limit"]),
        (&json!(null), &json!(null))
    );

    let foreign = server.administrator().id;
    for id in [foreign.as_str(), "x", "01920000-0000-7000-8000-000000000000"] {
        let answer = server.get(&token, &format!("/api/v1/usage?clientId={id}")).await;
        answer.assert_error(404, "AGENT_NOT_FOUND");
    }
    let by_admin = server.get(&admin, &format!("/api/v1/usage?clientId={}", quiet.id)).await.json();
    assert_eq!(by_admin["organizationId"], organization.as_str(), "the client's own organization");

    let empty = server.organization(&admin, json!({ "plan": "pro" })).await;
    let of_empty = server.get(&admin, &format!("/api/v1/usage?organizationId={empty}")).await.json();
    assert_eq!((&of_empty["organizationId"], &of_empty["plan"]), (&json!(empty), &json!("pro")));
    assert_eq!((&of_empty["agents"]["used"], &of_empty["tokens"]["used"]), (&json!(0), &json!(0)));
    let own = server.get(&token, &format!("/api/v1/usage?organizationId={organization}")).await.json();
    assert_eq!(own["tokens"]["used"], 3);
    let refused = server.get(&token, &format!("/api/v1/usage?organizationId={empty}")).await;
    refused.assert_error(404, "ORGANIZATION_NOT_FOUND");
    let both = |id: &str| format!("/api/v1/usage?organizationId={id}&clientId={}", quiet.id);
    assert_eq!(server.get(&admin, &both(&organization)).await.json()["tokens"]["byClient"][0]["used"], 1);
    server.get(&admin, &both(&empty)).await.assert_error(404, "AGENT_NOT_FOUND");
}
