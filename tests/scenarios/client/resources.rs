use serde_json::json;

use super::{User, start};

#[tokio::test]
async fn an_agent_is_registered_changed_suspended_and_decommissioned() {
    let (_server, user) = start().await;
    let agent = user.agent("a@example.com").await;
    assert_eq!(agent["capabilities"], json!(["files:read", "files:write"]));
    let id = agent["agentId"].as_str().expect("an ID");
    let changed = user.json(&["agents", "update", id, "--owner", "others", "--dpop", "required"]).await;
    assert_eq!((&changed["owner"], &changed["dpop"]), (&json!("others"), &json!("required")));
    let suspended = user.json(&["agents", "suspend", "a@example.com", "--yes"]).await;
    assert_eq!(suspended["status"], "suspended");
    assert_eq!(user.json(&["agents", "reactivate", id]).await["status"], "active");
    user.done(&["agents", "kill", id, "--yes"]).await;
    user.done(&["agents", "decommission", id, "--yes"]).await;
    assert_eq!(user.json(&["agents", "get", id]).await["status"], "decommissioned");
    let again = user.run(&["agents", "decommission", id, "--yes"]).await;
    assert_eq!(again.code, 1);
    assert!(again.err.contains("AGENT_ALREADY_DECOMMISSIONED"), "{}", again.err);
}

#[tokio::test]
async fn destructive_commands_do_nothing_off_a_terminal_without_yes() {
    let (_server, user) = start().await;
    let agent = user.agent("a@example.com").await;
    let id = agent["agentId"].as_str().expect("an ID");
    for command in [
        &["agents", "kill", id][..],
        &["agents", "suspend", id],
        &["agents", "decommission", id],
        &["credentials", "revoke", id, id],
        &["orgs", "suspend", "default"],
        &["issuers", "suspend", id],
        &["issuers", "delete", id],
    ] {
        let ran = user.run(command).await;
        assert_eq!(ran.code, 2, "{command:?}");
        assert!(ran.err.contains("--yes"), "{}", ran.err);
    }
    assert_eq!(user.json(&["agents", "get", id]).await["status"], "active");
}

#[tokio::test]
async fn a_list_has_everything_or_its_first_entries_in_every_format() {
    let (server, user) = start().await;
    let admin = server.unlimited_admin_token().await;
    for _ in 0..105 {
        server.agent(&admin, None, &["files:read"]).await;
    }
    let list = user.json(&["agents", "list", "--agent-type", "custom"]).await;
    let names = user.done(&["agents", "list", "-o", "name"]).await;
    assert!(list.as_array().is_some_and(|all| all.len() <= names.lines().count()));
    assert!(names.lines().count() > 105);
    let table = user.done(&["agents", "list", "-o", "table"]).await;
    assert!(table.starts_with("AGENTID ") && table.lines().count() > 106, "{table}");
    assert!(!table.contains('\u{1b}'));
    let yaml = user.done(&["agents", "list", "-o", "yaml"]).await;
    assert!(yaml.starts_with("- agentId: "));

    let all: Vec<&str> = names.lines().collect();
    for limit in [1, 99, 100, 101, all.len(), all.len() + 1] {
        let first = user.done(&["agents", "list", "-o", "name", "--limit", &limit.to_string()]).await;
        let first: Vec<&str> = first.lines().collect();
        assert_eq!(first, all[..limit.min(all.len())], "--limit {limit}");
    }
    let events = ["audit", "list", "--resource-type", "agent", "--action", "agent.created", "-o", "name"];
    let newest = user.done(&events).await;
    let first = user.done(&[&events[..], &["--limit", "3"]].concat()).await;
    assert_eq!(first.lines().collect::<Vec<_>>(), newest.lines().take(3).collect::<Vec<_>>());
    for wrong in ["0", "-1", "many"] {
        let ran = user.run(&["agents", "list", &format!("--limit={wrong}")]).await;
        assert!(ran.code == 2 && ran.err.contains("--limit"), "{wrong}: {}", ran.err);
    }
}

#[tokio::test]
async fn a_name_from_the_api_cannot_control_the_terminal() {
    let (_server, user) = start().await;
    user.agent("a@example.com").await;
    user.done(&["agents", "update", "a@example.com", "--owner", "\u{202e}evil\u{2066}"]).await;
    let table = user.done(&["agents", "list", "-o", "table"]).await;
    assert!(table.contains("\\u{202e}evil\\u{2066}") && !table.contains('\u{202e}'), "{table}");
}

#[tokio::test]
async fn a_secret_is_printed_once_and_alone_to_be_piped() {
    let (_server, user) = start().await;
    user.agent("a@example.com").await;
    let secret = user.done(&["credentials", "create", "a@example.com", "-o", "secret"]).await;
    assert!(user.json(&["credentials", "expiring"]).await.as_array().is_some_and(Vec::is_empty));
    assert!(secret.starts_with("aidp_sk_") && secret.lines().count() == 1, "{secret}");
    let list = user.json(&["credentials", "list", "a@example.com"]).await;
    assert!(list[0].get("clientSecret").is_none());
    let id = list[0]["credentialId"].as_str().expect("an ID");
    let rotated = user.done(&["credentials", "rotate", "a@example.com", id, "-o", "secret"]).await;
    assert!(rotated.starts_with("aidp_sk_") && rotated != secret);
    user.done(&["credentials", "revoke", "a@example.com", id, "--yes"]).await;
    assert_eq!(user.json(&["credentials", "list", "a@example.com"]).await[0]["status"], "revoked");
}

#[tokio::test]
async fn a_secret_that_nothing_reads_is_named_as_lost() {
    let (_server, user) = start().await;
    user.agent("one@example.com").await;
    let mut child =
        user.command(&["credentials", "create", "one@example.com", "-o", "secret"]).spawn().expect("it runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().await.expect("it ran");
    let err = String::from_utf8(output.stderr).expect("text");
    let credentials = user.json(&["credentials", "list", "one@example.com"]).await;
    let id = credentials[0]["credentialId"].as_str().expect("an ID");
    assert!(output.status.code() == Some(1) && err.contains(id) && err.contains("rotate or revoke"), "{err}");
    let key = testing::public_jwk(&testing::RSA_PEM).to_string();
    let public = [
        "credentials",
        "create",
        "one@example.com",
        "--type",
        "public_key",
        "--public-key",
        &key,
        "-o",
        "secret",
    ];
    let ran = user.run(&public).await;
    assert!(ran.code == 2 && ran.err.contains("nothing was done"), "{}", ran.err);
    let after = user.json(&["credentials", "list", "one@example.com"]).await;
    assert_eq!(after.as_array().map(Vec::len), Some(1));
    assert_eq!(user.run(&["credentials", "list", "one@example.com", "-o", "secret"]).await.code, 2);
}

#[tokio::test]
async fn an_agent_manages_its_own_credentials_with_the_scope_for_those() {
    let (server, mut user) = start().await;
    let admin = server.admin_token().await;
    let id = user.environment[1].1.clone();
    assert_eq!(user.json(&["credentials", "list", &id]).await.as_array().map(Vec::len), Some(1));
    let client = server.client(&admin, None, &["credentials:write", "files:read"]).await;
    user.environment[1].1.clone_from(&client.id);
    user.environment[2].1 = client.secret;
    let own = user.json(&["credentials", "list", &client.id]).await;
    assert_eq!(own[0]["credentialId"], client.credential);
    let made = user.json(&["credentials", "create", &client.id]).await;
    let made = made["credentialId"].as_str().expect("an ID");
    user.done(&["credentials", "revoke", &client.id, made, "--yes"]).await;
    let rotated = user.done(&["credentials", "rotate", &client.id, &client.credential, "-o", "secret"]).await;
    user.environment[2].1 = rotated.trim().to_owned();
    user.done(&["credentials", "list", &client.id]).await;
    let other = user.run(&["credentials", "list", &id]).await;
    assert!(other.code == 1 && other.err.contains("requested scopes: agents:read"), "{}", other.err);
}

#[tokio::test]
async fn a_given_token_of_an_administrator_is_about_its_own_organization() {
    let (server, user) = start().await;
    let admin = server.admin_token().await;
    let other = server.organization(&admin, serde_json::json!({ "slug": "acme" })).await;
    server.agent(&admin, Some(&other), &["files:read"]).await;
    let token = user.done(&["token", "get", "--scope", "agents:read admin:orgs"]).await;
    let given = vec![user.environment[0].clone(), ("AGENTIDP_TOKEN", token.trim().to_owned())];
    let given = User::new(given);
    let own = user.json(&["agents", "list"]).await;
    assert_eq!(given.json(&["agents", "list"]).await, own);
    assert_ne!(given.json(&["agents", "list", "--organization", "acme"]).await, own);
}

#[tokio::test]
async fn another_organization_is_named_by_its_slug_or_its_id() {
    let (_server, user) = start().await;
    let limits = r#"{"maxAgents": 7}"#;
    let made = user.json(&["orgs", "create", "--name", "Acme", "--slug", "acme", "--limits", limits]).await;
    assert_eq!(made["limits"], json!({ "maxAgents": 7 }));
    let id = made["organizationId"].as_str().expect("an ID");
    let usage = user.json(&["usage", "--organization", "acme"]).await;
    assert_eq!((&usage["organizationId"], &usage["agents"]["used"]), (&json!(id), &json!(0)));
    for organization in ["acme", id] {
        let email = format!("{}@example.com", organization.len());
        let agent = user
            .json(&[
                "agents",
                "create",
                "--organization",
                organization,
                "--email",
                &email,
                "--agent-type",
                "router",
                "--version",
                "1.0.0",
                "--capabilities",
                "a:b",
                "--owner",
                "me",
                "--deployment-env",
                "staging",
            ])
            .await;
        assert_eq!(agent["organizationId"], id);
    }
    let count = async |arguments: &[&str]| user.json(arguments).await.as_array().map(Vec::len);
    assert_eq!(count(&["agents", "list", "--organization", "acme"]).await, Some(2));
    assert_eq!(count(&["agents", "list"]).await, Some(1), "only the caller's own");
    let unknown = user.run(&["agents", "list", "--organization", "unknown"]).await;
    assert!(unknown.code == 1 && unknown.err.contains("unknown"), "{}", unknown.err);
    assert_eq!(user.json(&["orgs", "suspend", "acme", "--yes"]).await["status"], "suspended");
}

#[tokio::test]
async fn an_issuer_is_trusted_changed_and_deleted() {
    let (_server, user) = start().await;
    let keys = r#"{"type": "jwks_uri", "uri": "https://ci.example.com/keys"}"#;
    user.file("keys.json", keys);
    let issuer =
        ["issuers", "create", "--name", "CI", "--issuer", "https://ci.example.com", "--keys", "@keys.json"];
    let made = user.json(&issuer).await;
    let id = made["issuerId"].as_str().expect("an ID");
    let subjects = r#"{"audiences": ["app"], "mayAct": ["*"], "scopes": ["a:b"], "maxAgeSeconds": 60}"#;
    let changed = user.json(&["issuers", "update", id, "--subjects", subjects]).await;
    assert_eq!(changed["subjects"]["maxAgeSeconds"], 60);
    let changed = user.json(&["issuers", "update", id, "--subjects", "null"]).await;
    assert_eq!(changed["subjects"], json!(null));
    let wrong = user.run(&["issuers", "update", id, "--keys", "{"]).await;
    assert!(wrong.code == 2 && wrong.err.contains("--keys"), "{}", wrong.err);
    let explained = user.run_with(&["issuers", "explain", id, "--assertion", "-"], "not.a.jwt").await;
    assert_eq!(explained.code, 0, "{}", explained.err);
    user.done(&["issuers", "suspend", id, "--yes"]).await;
    user.done(&["issuers", "delete", id, "--yes"]).await;
}

#[tokio::test]
async fn a_refusal_names_every_fault_and_the_missing_scopes() {
    let (server, user) = start().await;
    let ran = user
        .run(&[
            "agents",
            "create",
            "--email",
            "a",
            "--agent-type",
            "custom",
            "--version",
            "1",
            "--capabilities",
            "a:b",
            "--owner",
            "me",
            "--deployment-env",
            "staging",
        ])
        .await;
    assert_eq!(ran.code, 1);
    for word in ["VALIDATION_ERROR", "email: ", "version: "] {
        assert!(ran.err.contains(word), "{}", ran.err);
    }
    // The management scopes of the new agent must be those of the caller too.
    let admin = server.admin_token().await;
    let powerful = server.agent(&admin, None, &["tokens:read"]).await;
    user.done(&["agents", "update", &powerful, "--owner", "others"]).await;
    let weak = server.client(&admin, None, &["agents:read", "agents:write"]).await;
    let mut other = super::User::administrator(&server);
    other.environment[1].1 = weak.id;
    other.environment[2].1 = weak.secret;
    let refused = other.run(&["agents", "update", &powerful, "--owner", "me"]).await;
    assert!(refused.code == 1 && refused.err.contains("tokens:read"), "{}", refused.err);
}

#[tokio::test]
async fn an_agent_is_named_by_its_address_in_every_flag() {
    let (_server, user) = start().await;
    let one = user.agent("one@example.com").await;
    let id = &one["agentId"];
    user.agent("two@example.com").await;
    let update =
        ["agents", "update", "two@example.com", "--may-act", "one@example.com", "--owner", "o@example.com"];
    let two = user.json(&update).await;
    assert_eq!((&two["mayAct"], &two["owner"]), (&json!([id]), &json!("o@example.com")));
    let created = user.json(&["audit", "list", "--resource-id", "one@example.com"]).await;
    assert_eq!(created, user.json(&["audit", "list", "--resource-id", id.as_str().expect("an ID")]).await);
    assert_eq!(created[0]["resource"]["id"], *id);
    let acted = user.json(&["audit", "list", "--agent-id", "one@example.com"]).await;
    assert_eq!(acted, json!([]));
    let usage = user.json(&["usage", "--agent-id", "one@example.com"]).await;
    assert_eq!(usage["tokens"]["byClient"][0]["clientId"], *id, "{usage}");
    let unknown = user.run(&["agents", "update", "two@example.com", "--may-act", "none@example.com"]).await;
    assert!(unknown.code == 1 && unknown.err.contains("none@example.com"), "{}", unknown.err);
    let keys = r#"{"type": "jwks_uri", "uri": "https://ci.example.com/keys"}"#;
    let subjects =
        r#"{"audiences": ["app"], "mayAct": ["one@example.com"], "scopes": ["a:b"], "maxAgeSeconds": 60}"#;
    let mut issuer = vec!["issuers", "create", "--name", "CI", "--issuer", "https://ci.example.com"];
    issuer.extend(["--keys", keys, "--subjects", subjects]);
    let issuer = user.json(&issuer).await;
    assert_eq!(issuer["subjects"]["mayAct"], json!([id]));
    let issuer = issuer["issuerId"].as_str().expect("an ID");
    let explain = ["issuers", "explain", issuer, "--assertion", "-", "--agent-id", "one@example.com"];
    let explained = user.run_with(&explain, "not.a.jwt").await;
    assert_eq!(explained.code, 0, "{}", explained.err);
}

#[tokio::test]
async fn a_client_id_that_is_an_address_is_refused_before_any_request() {
    let url = format!("http://{}", testing::free_address());
    let user = User::new(vec![
        ("AGENTIDP_URL", url),
        ("AGENTIDP_CLIENT_ID", "one@example.com".to_owned()),
        ("AGENTIDP_CLIENT_SECRET", "aidp_sk_1".to_owned()),
    ]);
    let ran = user.run(&["agents", "list"]).await;
    let expected = "agentidp: AGENTIDP_CLIENT_ID must be the agent's ID, not its address; \
                    an administrator finds it by: agentidp agents get ADDRESS -o name\n";
    assert_eq!((ran.code, &*ran.err), (2, expected));
}

#[tokio::test]
async fn a_list_is_words_with_commas_or_a_json_array() {
    let (_server, user) = start().await;
    user.agent("one@example.com").await;
    for (given, expected) in
        [(r#"["*"]"#, json!(["*"])), ("[]", json!([])), ("*", json!(["*"])), ("", json!([]))]
    {
        let changed = user.json(&["agents", "update", "one@example.com", "--may-act", given]).await;
        assert_eq!(changed["mayAct"], expected, "{given:?}");
    }
    let capabilities = r#"["a:b", "c:d"]"#;
    let changed = user.json(&["agents", "update", "one@example.com", "--capabilities", capabilities]).await;
    assert_eq!(changed["capabilities"], json!(["a:b", "c:d"]));
    for wrong in ["[\"*\"", "[1]"] {
        let ran = user.run(&["agents", "update", "one@example.com", "--may-act", wrong]).await;
        assert!(ran.code == 2 && ran.err.contains("--may-act must be values with commas"), "{}", ran.err);
    }
    let help = user.done(&["agents", "update", "--help"]).await;
    assert!(help.contains("'*' for every agent") && !help.contains("[\"*\"]"), "{help}");
}
