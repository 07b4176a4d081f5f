use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testing::{TestServer, Wiring, new_agent};

use crate::scenarios::scenarios;

scenarios!(every_wiring [
    a_registered_agent_reads_back_and_has_a_place,
    an_address_is_taken_for_ever_in_every_spelling,
    a_change_replaces_what_it_names_and_an_empty_one_changes_nothing,
    the_event_of_a_change_names_the_fields_that_it_changed_and_no_others,
    an_agent_names_the_agents_that_may_act_for_it,
    what_may_not_be_changed_is_refused,
    an_agent_and_an_issuer_keep_the_name_of_what_manages_them,
    leaving_active_kills_tokens_for_good,
    the_kill_switch_kills_what_there_is_and_nothing_that_comes,
    a_decommissioned_agent_stays_and_takes_no_change,
    the_last_administrator_cannot_go_in_any_way,
    a_list_is_newest_first_paged_and_filtered,
    an_agent_is_found_by_its_address_and_named_by_a_conflict,
]);
scenarios!(stateless [
    every_fault_of_a_body_is_named_at_once,
    a_field_of_a_wrong_type_is_never_taken_for_a_right_one,
    a_query_is_read_as_strictly_as_a_body,
]);

async fn a_registered_agent_reads_back_and_has_a_place(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let mut body = new_agent(&["files:read"]);
    body["email"] = json!("  Agent@Example.COM ");
    let answer = server.post(&admin, "/api/v1/agents", body).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    let agent = answer.json();
    assert_eq!(agent["email"], "agent@example.com");
    assert_eq!(agent["status"], "active");
    assert_eq!(agent["createdAt"], "2026-01-15T12:00:00.000Z");
    let found = server.get(&admin, answer.header("location").expect("a place")).await;
    assert_eq!(found.json(), agent);
}

async fn every_fault_of_a_body_is_named_at_once(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let body = json!({
        "email": "a@b", "agentType": "robot", "version": 1, "capabilities": ["A", "a:b", "a:b", "agents:*", 5],
        "owner": "", "one": 1, "two": null, "three": [],
    });
    let mut faults = server.post(&admin, "/api/v1/agents", body).await.faults();
    faults.sort();
    assert_eq!(
        faults,
        [
            "agentType",
            "capabilities[0]",
            "capabilities[2]",
            "capabilities[3]",
            "capabilities[4]",
            "deploymentEnv",
            "email",
            "one",
            "owner",
            "three",
            "two",
            "version",
        ]
    );
}

async fn a_field_of_a_wrong_type_is_never_taken_for_a_right_one(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    for field in ["email", "agentType", "version", "owner", "deploymentEnv", "organizationId"] {
        for wrong in [json!(null), json!(1), json!(true), json!({}), json!([]), json!(["a"])] {
            let mut body = new_agent(&["files:read"]);
            body[field] = wrong.clone();
            assert_eq!(server.post(&admin, "/api/v1/agents", body).await.faults(), [field], "{wrong}");
        }
    }
    for wrong in [json!(null), json!("a:b"), json!({}), json!([]), json!(vec!["a:b"; 65])] {
        let mut body = new_agent(&["files:read"]);
        body["capabilities"] = wrong.clone();
        assert!(!server.post(&admin, "/api/v1/agents", body).await.faults().is_empty(), "{wrong}");
    }
}

async fn an_address_is_taken_for_ever_in_every_spelling(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let with = |email: &str| {
        let mut body = new_agent(&["files:read"]);
        body["email"] = json!(email);
        body
    };
    let first = server.post(&admin, "/api/v1/agents", with("kelvin@example.com")).await.json();
    let path = format!("/api/v1/agents/{}", first["agentId"].as_str().expect("an id"));
    assert_eq!(server.delete(&admin, &path).await.status, StatusCode::NO_CONTENT);
    for spelling in ["kelvin@example.com", "KELVIN@EXAMPLE.COM", "\u{212a}elvin@example.com"] {
        let answer = server.post(&admin, "/api/v1/agents", with(spelling)).await;
        answer.assert_error(409, "AGENT_ALREADY_EXISTS");
    }
}

async fn a_change_replaces_what_it_names_and_an_empty_one_changes_nothing(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let agent = server.agent(&admin, None, &["files:read", "files:write"]).await;
    let path = format!("/api/v1/agents/{agent}");
    let before = server.get(&admin, &path).await.json();
    server.advance(1);
    assert_eq!(server.patch(&admin, &path, json!({})).await.json(), before);
    let same = json!({ "version": "1.0.0", "status": "active" });
    assert_eq!(server.patch(&admin, &path, same).await.json(), before);
    let after = server
        .patch(&admin, &path, json!({ "capabilities": ["mail:send"], "version": "1.1.0" }))
        .await
        .json();
    let mut expected = before;
    expected["capabilities"] = json!(["mail:send"]);
    expected["version"] = json!("1.1.0");
    expected["updatedAt"] = json!("2026-01-15T12:00:01.000Z");
    assert_eq!(after, expected);
    let actions = server.events(&admin, &format!("&resourceId={agent}")).await;
    let actions: Vec<_> = actions.iter().map(|event| event["action"].as_str().expect("a name")).collect();
    assert_eq!(actions, ["agent.updated", "agent.created"], "what changes nothing leaves no event");
}

async fn the_event_of_a_change_names_the_fields_that_it_changed_and_no_others(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let agent = server.agent(&admin, None, &["files:read"]).await;
    let changes = [
        ("agentType", json!("router")),
        ("version", json!("1.1.0")),
        ("capabilities", json!(["mail:send"])),
        ("owner", json!("another-team")),
        ("deploymentEnv", json!("production")),
        ("mayAct", json!(["*"])),
        ("redelegation", json!(true)),
    ];
    for (field, value) in changes {
        let body = json!({ field: value });
        server.advance(1);
        server.patch(&admin, &format!("/api/v1/agents/{agent}"), body).await.json();
        let events = server.events(&admin, &format!("&action=agent.updated&resourceId={agent}")).await;
        assert_eq!(events[0]["metadata"]["fields"], json!([field]));
    }
}

async fn an_agent_names_the_agents_that_may_act_for_it(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let agent = server.agent(&admin, None, &["files:read"]).await;
    let other = server.agent(&admin, None, &["files:read"]).await;
    let organization = server.organization(&admin, json!({})).await;
    let foreign = server.agent(&admin, Some(&organization), &["files:read"]).await;
    let gone = server.agent(&admin, None, &["files:read"]).await;
    server.delete(&admin, &format!("/api/v1/agents/{gone}")).await;
    let path = format!("/api/v1/agents/{agent}");
    let shown = server.get(&admin, &path).await.json();
    assert_eq!((&shown["mayAct"], &shown["redelegation"]), (&json!([]), &json!(false)));
    let unknown = "01920000-0000-7000-8000-000000000000";
    for (may_act, faults) in [
        (json!([other, unknown]), vec!["mayAct[1]"]),
        (json!([agent]), vec!["mayAct[0]"]),
        (json!([foreign, other, gone]), vec!["mayAct[0]", "mayAct[2]"]),
        (json!([other, other]), vec!["mayAct[1]"]),
        (json!(["*", other]), vec!["mayAct"]),
        (json!(["x", 1]), vec!["mayAct[0]", "mayAct[1]"]),
        (json!("*"), vec!["mayAct"]),
        (json!(null), vec!["mayAct"]),
        (json!(vec![other.as_str(); 65]), vec![]),
    ] {
        let found = server.patch(&admin, &path, json!({ "mayAct": may_act })).await.faults();
        assert!(if faults.is_empty() { !found.is_empty() } else { found == faults }, "{may_act}: {found:?}");
        let mut new = new_agent(&["files:read"]);
        new["mayAct"] = may_act.clone();
        if may_act != json!([agent]) {
            assert_eq!(server.post(&admin, "/api/v1/agents", new).await.faults(), found, "{may_act}");
        }
    }
    for (may_act, redelegation) in [(json!(["*"]), true), (json!([other]), false), (json!([]), true)] {
        let change = json!({ "mayAct": may_act, "redelegation": redelegation });
        let shown = server.patch(&admin, &path, change.clone()).await.json();
        assert_eq!((&shown["mayAct"], &shown["redelegation"]), (&may_act, &json!(redelegation)));
        assert_eq!(server.get(&admin, &path).await.json(), shown);
        let mut new = new_agent(&["files:read"]);
        (new["mayAct"], new["redelegation"]) = (change["mayAct"].clone(), change["redelegation"].clone());
        let created = server.post(&admin, "/api/v1/agents", new).await.json();
        let path = format!("/api/v1/agents/{}", created["agentId"].as_str().expect("an ID"));
        let stored = server.get(&admin, &path).await.json();
        assert_eq!((&stored["mayAct"], &stored["redelegation"]), (&may_act, &json!(redelegation)));
    }
}

async fn an_agent_and_an_issuer_keep_the_name_of_what_manages_them(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let issuer = json!({
        "name": "CI", "issuer": "https://ci.example.com", "keys": { "type": "jwks_uri", "uri": "https://ci.example.com/keys" },
    });
    for (path, id, mut body) in
        [("/api/v1/agents", "agentId", new_agent(&["files:read"])), ("/api/v1/issuers", "issuerId", issuer)]
    {
        body["managedBy"] = json!("");
        assert_eq!(server.post(&admin, path, body.clone()).await.faults(), ["managedBy"]);
        body["managedBy"] = json!("a".repeat(64));
        let made = server.post(&admin, path, body.clone()).await.json();
        assert_eq!(made["managedBy"], body["managedBy"]);
        let own = format!("{path}/{}", made[id].as_str().expect("an ID"));
        assert_eq!(server.get(&admin, &own).await.json()["managedBy"], body["managedBy"]);
        assert_eq!(server.patch(&admin, &own, json!({ "managedBy": "b" })).await.faults(), ["managedBy"]);
    }
    let unmanaged = server.post(&admin, "/api/v1/agents", new_agent(&["files:read"])).await.json();
    assert_eq!(unmanaged.get("managedBy"), None);
}

async fn what_may_not_be_changed_is_refused(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let path = format!("/api/v1/agents/{}", server.agent(&admin, None, &["files:read"]).await);
    for field in ["agentId", "email", "organizationId", "createdAt", "unknown"] {
        let body = json!({ field: "x" });
        assert_eq!(server.patch(&admin, &path, body).await.faults(), [field]);
    }
    assert_eq!(server.patch(&admin, &path, json!({ "status": "decommissioned" })).await.faults(), ["status"]);
    for body in [json!(null), json!([]), json!("x"), json!(1)] {
        assert_eq!(server.patch(&admin, &path, body).await.faults(), ["body"]);
    }
    let empty =
        server.request(Method::PATCH, &path).bearer_auth(&admin).header("content-type", "application/json");
    assert_eq!(server.send(empty).await.faults(), ["body"]);
}

async fn leaving_active_kills_tokens_for_good(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let client = server.client(&admin, None, &["files:read"]).await;
    let path = format!("/api/v1/agents/{}", client.id);
    let token = server.token(&client, &[]).await;
    assert!(server.is_active(&token).await);
    assert_eq!(server.patch(&admin, &path, json!({ "status": "suspended" })).await.status, StatusCode::OK);
    assert!(!server.is_active(&token).await);
    server.ask_token(&client, &[]).await.assert_error(400, "unauthorized_client");
    assert_eq!(server.patch(&admin, &path, json!({ "status": "active" })).await.status, StatusCode::OK);
    assert!(!server.is_active(&token).await, "reactivation makes no revoked token active");
    assert!(server.is_active(&server.token(&client, &[]).await).await);
}

async fn the_kill_switch_kills_what_there_is_and_nothing_that_comes(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let client = server.client(&admin, None, &["files:read"]).await;
    let (one, two) = (server.token(&client, &[]).await, server.token(&client, &[]).await);
    let kill = server.request(Method::POST, &format!("/api/v1/agents/{}/tokens/revoke", client.id));
    assert_eq!(server.send(kill.bearer_auth(&admin)).await.status, StatusCode::NO_CONTENT);
    // The clock stands still, so this token is issued in the same millisecond as the revocation.
    let next = server.token(&client, &[]).await;
    assert!(!server.is_active(&one).await && !server.is_active(&two).await);
    assert!(server.is_active(&next).await);
}

async fn a_decommissioned_agent_stays_and_takes_no_change(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let client = server.client(&admin, None, &["files:read"]).await;
    let token = server.token(&client, &[]).await;
    let path = format!("/api/v1/agents/{}", client.id);
    assert_eq!(server.delete(&admin, &path).await.status, StatusCode::NO_CONTENT);
    assert!(!server.is_active(&token).await);
    server.ask_token(&client, &[]).await.assert_error(401, "invalid_client");
    assert_eq!(server.get(&admin, &path).await.json()["status"], "decommissioned");

    let gone = "AGENT_ALREADY_DECOMMISSIONED";
    server.delete(&admin, &path).await.assert_error(409, gone);
    server.patch(&admin, &path, json!({ "status": "active" })).await.assert_error(409, gone);
    let credential = format!("{path}/credentials/{}", client.credential);
    server.post(&admin, &format!("{path}/credentials"), json!({})).await.assert_error(409, gone);
    server.post(&admin, &format!("{credential}/rotate"), json!({})).await.assert_error(409, gone);
    server.delete(&admin, &credential).await.assert_error(409, gone);
    server.post(&admin, &format!("{path}/tokens/revoke"), json!({})).await.assert_error(409, gone);
    let credentials = server.get(&admin, &format!("{path}/credentials")).await.json();
    assert_eq!(credentials["data"][0]["status"], "revoked");
}

async fn the_last_administrator_cannot_go_in_any_way(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let id = server.administrator().id;
    let path = format!("/api/v1/agents/{id}");
    let agent = server.get(&admin, &path).await.json();
    let organization = format!("/api/v1/organizations/{}", agent["organizationId"].as_str().expect("an id"));
    let credentials = server.get(&admin, &format!("{path}/credentials")).await.json();
    let credential = credentials["data"][0]["credentialId"].as_str().expect("an id").to_owned();

    let last = "LAST_ADMINISTRATOR";
    server.delete(&admin, &path).await.assert_error(409, last);
    server.patch(&admin, &path, json!({ "status": "suspended" })).await.assert_error(409, last);
    server.patch(&admin, &path, json!({ "capabilities": ["agents:read"] })).await.assert_error(409, last);
    server.patch(&admin, &organization, json!({ "status": "suspended" })).await.assert_error(409, last);
    server.delete(&admin, &format!("{path}/credentials/{credential}")).await.assert_error(409, last);
    assert_eq!(server.get(&admin, &path).await.json(), agent, "nothing of it was done");

    server.client(&admin, None, &["admin:orgs"]).await;
    let all = ["agents:read", "agents:write", "credentials:write", "tokens:read", "audit:read"];
    let answer = server.patch(&admin, &path, json!({ "capabilities": all })).await;
    assert_eq!(answer.status, StatusCode::OK, "another is there: {}", answer.text);
}

async fn a_list_is_newest_first_paged_and_filtered(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let mut ids = Vec::new();
    for number in 0..5 {
        server.advance(1);
        let mut body = new_agent(&["files:read"]);
        body["owner"] = json!(format!("owner-{}", number % 2));
        let id = server.post(&admin, "/api/v1/agents", body).await.json()["agentId"].clone();
        ids.insert(0, id);
    }
    let page = server.get(&admin, "/api/v1/agents?limit=2&page=2").await.json();
    assert_eq!((&page["total"], &page["page"], &page["limit"]), (&json!(6), &json!(2), &json!(2)));
    let listed = |page: &Value| {
        page["data"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|agent| agent["agentId"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(listed(&page), ids[2..4]);
    let filtered =
        server.get(&admin, "/api/v1/agents?owner=owner-1&status=active&agentType=custom").await.json();
    assert_eq!(listed(&filtered), [ids[1].clone(), ids[3].clone()]);
    let beyond = server.get(&admin, "/api/v1/agents?page=4294967295&limit=100").await.json();
    assert_eq!((listed(&beyond).len(), &beyond["total"]), (0, &json!(6)));
}

async fn a_query_is_read_as_strictly_as_a_body(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    for (query, faults) in [
        (
            "page=0&limit=101&status=on&agentType=x&unknown=1",
            vec!["agentType", "limit", "page", "status", "unknown"],
        ),
        ("limit=1.5", vec!["limit"]),
        ("limit=-1", vec!["limit"]),
        ("limit=+1", vec!["limit"]),
        ("limit=01", vec!["limit"]),
        ("page=4294967296", vec!["page"]),
        ("limit=1&limit=1", vec!["limit"]),
        ("owner=%zz", vec!["owner"]),
        ("owner=%00", vec!["owner"]),
        ("owner=%ff", vec!["owner"]),
        ("organizationId=x", vec!["organizationId"]),
    ] {
        let mut found = server.get(&admin, &format!("/api/v1/agents?{query}")).await.faults();
        found.sort();
        assert_eq!(found, faults, "{query}");
    }
}

async fn an_agent_is_found_by_its_address_and_named_by_a_conflict(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let mut body = new_agent(&["files:read"]);
    body["email"] = json!("Natural.Key@Example.com");
    let id = server.post(&admin, "/api/v1/agents", body.clone()).await.json()["agentId"].clone();
    let organization = server.organization(&admin, json!({})).await;
    let mut elsewhere = body.clone();
    elsewhere["organizationId"] = json!(organization);
    let other = server.post(&admin, "/api/v1/agents", elsewhere).await.json()["agentId"].clone();
    server.agent(&admin, None, &["files:read"]).await;

    let found = async |token: &str, query: &str| {
        let list = server.get(token, &format!("/api/v1/agents?{query}")).await.json();
        let ids = list["data"].as_array().expect("a list").iter().map(|agent| agent["agentId"].clone());
        (list["total"].clone(), ids.collect::<Vec<_>>())
    };
    for spelling in ["natural.key@example.com", "NATURAL.KEY@EXAMPLE.COM", "%20natural.key@example.com%20"] {
        assert_eq!(
            found(&admin, &format!("email={spelling}")).await,
            (json!(2), vec![other.clone(), id.clone()])
        );
    }
    let within = format!("email=natural.key@example.com&organizationId={organization}");
    assert_eq!(found(&admin, &within).await, (json!(1), vec![other.clone()]));
    assert_eq!(found(&admin, "email=natural.key@example.com&owner=nobodys").await, (json!(0), Vec::new()));
    assert_eq!(found(&admin, "email=unknown@example.com").await, (json!(0), Vec::new()));
    assert_eq!(server.get(&admin, "/api/v1/agents?email=x").await.faults(), ["email"]);
    let reader = server.client(&admin, Some(&organization), &["agents:read", "agents:write"]).await;
    let reader = server.token(&reader, &[("scope", "agents:read agents:write")]).await;
    assert_eq!(found(&reader, "email=natural.key@example.com").await, (json!(1), vec![other.clone()]));

    server.delete(&admin, &format!("/api/v1/agents/{}", id.as_str().expect("an id"))).await;
    let taken = server.post(&admin, "/api/v1/agents", body.clone()).await;
    taken.assert_error(409, "AGENT_ALREADY_EXISTS");
    assert_eq!(taken.json()["details"], json!({ "agentId": id }), "a decommissioned one keeps its address");
    let taken = server.post(&reader, "/api/v1/agents", body.clone()).await;
    assert_eq!(taken.json()["details"], json!({ "agentId": other }), "the one of its own organization");
    let writer = server.client(&admin, Some(&organization), &["agents:write"]).await;
    let writer = server.token(&writer, &[]).await;
    let taken = server.post(&writer, "/api/v1/agents", body).await;
    taken.assert_error(409, "AGENT_ALREADY_EXISTS");
    assert_eq!(taken.json().get("details"), None, "a caller that may not read agents");
}
