//! The commands of `docs/incident.md`, on an agent whose secret is stolen and that has made itself back doors.

use serde_json::Value;
use testing::{RSA_PEM, public_jwk};

use super::{User, script_of};
use crate::command_line::{LONG, serve};
use crate::readme::shell;

const PAGE: &str = include_str!("../../../docs/incident.md");
/// Begins the part about the signing key.
const KEY: &str = "## If the signing key is stolen";
const AGENT: &str = "reader@agents.example.com";

/// Returns the agent with this ID and secret, at the same service.
fn agent(administrator: &User, id: &Value, secret: &str) -> User {
    let mut agent = User::new(administrator.environment.clone());
    agent.environment[1].1 = id.as_str().expect("an ID").to_owned();
    agent.environment[2].1 = secret.trim().to_owned();
    agent
}

#[tokio::test]
async fn a_compromised_agent_is_stopped_its_back_doors_are_closed_and_it_comes_back() {
    let running = serve(&[], &[]).await;
    let user = User::administrator_of(&running);
    let reader = user.agent(AGENT).await;
    let id = reader["agentId"].as_str().expect("an ID");
    user.done(&["agents", "update", id, "--capabilities", "agents:read,agents:write,credentials:write"])
        .await;
    let victim = user.agent("victim@agents.example.com").await;

    // The thief registers an agent, and gets credentials for it and for two that were there.
    let stolen = user.done(&["credentials", "create", AGENT, "-o", "secret"]).await;
    let thief = agent(&user, &reader["agentId"], &stolen);
    let door = thief.agent("door@agents.example.com").await;
    let mut doors = Vec::new();
    for of in [&door, &victim] {
        let of = of["agentId"].as_str().expect("an ID");
        doors.push((of.to_owned(), thief.done(&["credentials", "create", of, "-o", "secret"]).await));
    }
    let key = public_jwk(&RSA_PEM).to_string();
    thief.done(&["credentials", "create", id, "--type", "public_key", "--public-key", &key]).await;
    let leaked = thief.done(&["token", "get", "--scope", "agents:read"]).await;
    user.file("leaked.token", &leaked);

    let (page, _) = PAGE.split_once(KEY).expect("two parts");
    let environment: Vec<_> = user.environment.iter().map(|(name, value)| (*name, value.clone())).collect();
    let text = shell(&running, &script_of(page, &user), &environment).await;

    assert!(text.contains("client_id") && text.contains(id), "the token leads to the agent: {text}");
    let administrator = &*user.environment[1].1;
    let generated = text.lines().filter(|line| {
        line.contains("credential.generated") && line.contains(id) && line.contains(administrator)
    });
    assert_eq!(generated.count(), 2, "in the last hour, and among the agent's credentials: {text}");
    let activities: Vec<&str> = text.lines().filter(|line| line.contains("\"active\"")).collect();
    assert!(
        matches!(activities[..], [before, after, new]
            if before.contains("true") && after.contains("false") && new.contains("true")),
        "{activities:?}"
    );
    assert_eq!(user.json(&["agents", "get", id]).await["status"], "active");
    assert_eq!(
        user.json(&["agents", "get", id]).await["capabilities"],
        serde_json::json!(["documents:read"])
    );
    let door_id = door["agentId"].as_str().expect("an ID");
    assert_eq!(user.json(&["agents", "get", door_id]).await["status"], "decommissioned");
    assert_eq!(user.json(&["agents", "get", "victim@agents.example.com"]).await["status"], "active");
    doors.push((id.to_owned(), stolen));
    for (of, secret) in doors {
        let tried = agent(&user, &of.into(), &secret).run(&["token", "get"]).await;
        assert!(tried.code == 1 && tried.err.contains("invalid_client"), "{}", tried.err);
    }
    let live = user.json(&["credentials", "list", id, "--status", "active"]).await;
    assert_eq!(live.as_array().map(Vec::len), Some(1), "the new secret alone: {live}");
    let evidence = std::fs::read_to_string(user.folder.path().join("incident.jsonl")).expect("a file");
    assert!(evidence.contains("agent.suspended") && evidence.contains("credential.revoked"));
}

#[tokio::test]
async fn a_stolen_signing_key_is_replaced_and_signs_no_token_that_is_accepted() {
    let mut user = User::new(Vec::new());
    let key = user.file("key.pem", &RSA_PEM);
    let running = serve(&[], &[("JWT_PRIVATE_KEY_FILE", key.to_str().expect("text"))]).await;
    user.environment = User::administrator_of(&running).environment;
    let before = user.done(&["token", "get", "--scope", "tokens:read"]).await;
    let (_, part) = PAGE.split_once(KEY).expect("two parts");
    let hangup = "pkill -HUP -x agentidp";
    assert!(part.contains(hangup), "{part}");
    let script = script_of(part, &user).replace(hangup, &format!("kill -HUP {}", running.pid()));
    let old = running.key_ids().await;
    shell(&running, &script, &[]).await;
    let changed = async {
        while running.key_ids().await == old {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, changed).await.expect("the key is loaded");
    let asked = user.run_with(&["token", "introspect", "-"], &before).await;
    assert!(asked.out.contains("\"active\": false"), "{asked:?}");
    let after = user.done(&["token", "get", "--scope", "tokens:read"]).await;
    let asked = user.run_with(&["token", "introspect", "-"], &after).await;
    assert!(asked.out.contains("\"active\": true"), "{asked:?}");
}
