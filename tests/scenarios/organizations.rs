use reqwest::StatusCode;
use serde_json::json;
use testing::{TestServer, Wiring};

use crate::scenarios::scenarios;

scenarios!(every_wiring [
    an_organization_reads_back_and_has_a_place,
    suspending_an_organization_kills_the_tokens_of_all_its_agents_for_good,
    a_plan_limits_agents_and_says_how_many,
    an_organization_is_found_by_its_slug_and_named_by_a_conflict,
]);
scenarios!(stateless [
    limits_are_positive_whole_numbers_or_null,
    every_fault_is_named,
]);

async fn an_organization_reads_back_and_has_a_place(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let body = json!({ "name": "Acme", "slug": "acme", "resources": ["urn:a"], "limits": { "maxAgents": 5, "requestsPerMinute": null } });
    let answer = server.post(&admin, "/api/v1/organizations", body.clone()).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    let organization = answer.json();
    assert_eq!((&organization["plan"], &organization["status"]), (&json!("free"), &json!("active")));
    assert_eq!(organization["limits"], body["limits"]);
    let found = server.get(&admin, answer.header("location").expect("a place")).await;
    assert_eq!(found.json(), organization);
    server.post(&admin, "/api/v1/organizations", body).await.assert_error(409, "ORGANIZATION_ALREADY_EXISTS");
    let page = server.get(&admin, "/api/v1/organizations?limit=1").await.json();
    assert_eq!((&page["total"], &page["data"][0]), (&json!(2), &organization));
}

async fn limits_are_positive_whole_numbers_or_null(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let path = format!("/api/v1/organizations/{}", server.organization(&admin, json!({})).await);
    for wrong in
        [json!(0), json!(-1), json!(2_147_483_648_u64), json!(1.5), json!("1"), json!(true), json!(1e300)]
    {
        for name in ["maxAgents", "maxTokensPerMonth", "requestsPerMinute", "auditRetentionDays"] {
            let answer = server.patch(&admin, &path, json!({ "limits": { name: wrong } })).await;
            assert_eq!(answer.faults(), [format!("limits.{name}")], "{wrong}");
        }
    }
    assert_eq!(server.patch(&admin, &path, json!({ "limits": { "x": 1 } })).await.faults(), ["limits.x"]);
    assert_eq!(server.patch(&admin, &path, json!({ "limits": null })).await.faults(), ["limits"]);
    let set = server.patch(&admin, &path, json!({ "limits": { "maxAgents": 2_147_483_647 } })).await.json();
    assert_eq!(set["limits"], json!({ "maxAgents": 2_147_483_647 }));
    let cleared = server.patch(&admin, &path, json!({ "limits": {} })).await.json();
    assert!(cleared.get("limits").is_none(), "replaced whole");
}

async fn every_fault_is_named(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let body = json!({
        "name": "x", "slug": "No Slug", "plan": "gold", "limits": { "maxAgents": 0, "y": 1 }, "z": 1,
        "resources": ["/relative", "https://example.com/#f", "urn:a", "urn:a", "HTTPS://x", "https://X/", ".name", "kafka", "kafka"],
    });
    let mut faults = server.post(&admin, "/api/v1/organizations", body).await.faults();
    faults.sort();
    assert_eq!(
        faults,
        [
            "limits.maxAgents",
            "limits.y",
            "name",
            "plan",
            "resources[0]",
            "resources[1]",
            "resources[3]",
            "resources[5]",
            "resources[6]",
            "resources[8]",
            "slug",
            "z"
        ]
    );
    let twice = json!({ "name": "Acme", "slug": "acme", "resources": ["urn:a", "urn:a"] });
    assert_eq!(server.post(&admin, "/api/v1/organizations", twice).await.faults(), ["resources[1]"]);
}

async fn suspending_an_organization_kills_the_tokens_of_all_its_agents_for_good(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let organization = server.organization(&admin, json!({})).await;
    let path = format!("/api/v1/organizations/{organization}");
    let one = server.client(&admin, Some(&organization), &["files:read"]).await;
    let two = server.client(&admin, Some(&organization), &["files:read"]).await;
    let tokens = [server.token(&one, &[]).await, server.token(&two, &[]).await];
    server.patch(&admin, &path, json!({ "status": "suspended" })).await;
    for token in &tokens {
        assert!(!server.is_active(token).await);
    }
    server.ask_token(&one, &[]).await.assert_error(400, "unauthorized_client");
    server.patch(&admin, &path, json!({ "status": "active" })).await;
    for token in &tokens {
        assert!(!server.is_active(token).await, "reactivation makes no revoked token active");
    }
    assert!(server.is_active(&server.token(&one, &[]).await).await);
    let events = server.events(&admin, &format!("&resourceId={organization}")).await;
    let actions: Vec<_> = events.iter().map(|event| event["action"].as_str().expect("a name")).collect();
    assert_eq!(actions, ["organization.reactivated", "organization.suspended", "organization.created"]);
    assert!(
        events.iter().all(|event| event["organizationId"] == organization.as_str()),
        "about which they are"
    );
}

async fn a_plan_limits_agents_and_says_how_many(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let organization = server.organization(&admin, json!({ "limits": { "maxAgents": 2 } })).await;
    let first = server.agent(&admin, Some(&organization), &["files:read"]).await;
    server.agent(&admin, Some(&organization), &["files:read"]).await;
    let mut body = testing::new_agent(&["files:read"]);
    body["organizationId"] = json!(organization);
    let refused = server.post(&admin, "/api/v1/agents", body.clone()).await;
    refused.assert_error(403, "FREE_TIER_LIMIT_EXCEEDED");
    assert_eq!(refused.json()["details"]["limit"], 2);
    server.delete(&admin, &format!("/api/v1/agents/{first}")).await;
    assert_eq!(server.post(&admin, "/api/v1/agents", body).await.status, StatusCode::CREATED);
}

async fn an_organization_is_found_by_its_slug_and_named_by_a_conflict(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let id = server.organization(&admin, json!({ "slug": "natural-key" })).await;
    server.organization(&admin, json!({})).await;
    let list = async |query: &str| {
        let list = server.get(&admin, &format!("/api/v1/organizations?{query}")).await.json();
        let ids = list["data"].as_array().expect("a list").iter().map(|one| one["organizationId"].clone());
        (list["total"].clone(), ids.collect::<Vec<_>>())
    };
    assert_eq!(list("slug=natural-key").await, (json!(1), vec![json!(id)]));
    assert_eq!(list("slug=natural-key&page=2").await, (json!(1), Vec::new()));
    assert_eq!(list("slug=unknown").await, (json!(0), Vec::new()));
    assert_eq!(server.get(&admin, "/api/v1/organizations?slug=No%20Slug").await.faults(), ["slug"]);
    let body = json!({ "name": "Example", "slug": "natural-key", "plan": "free" });
    let taken = server.post(&admin, "/api/v1/organizations", body).await;
    taken.assert_error(409, "ORGANIZATION_ALREADY_EXISTS");
    assert_eq!(taken.json()["details"], json!({ "organizationId": id }));
}
