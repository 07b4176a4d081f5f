use testing::{TestServer, Wiring};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use super::terminal::agents;
use super::{User, start};
use crate::command_line::LONG;

const MANIFEST: &str = r#"kind: Organization
slug: acme
name: Acme
plan: pro
resources: [https://api.example.com]
---
kind: Agent
organization: acme
email: one@example.com
agentType: custom
version: 1.0.0
capabilities: [files:read]
owner: team
deploymentEnv: staging
mayAct: [two@example.com]
---
kind: Agent
organization: acme
email: two@example.com
agentType: router
version: 1.0.0
capabilities: [files:read, files:write]
owner: team
deploymentEnv: staging
---
kind: TrustedIssuer
organization: acme
name: CI
issuer: https://ci.example.com
keys: { type: jwks_uri, uri: https://ci.example.com/keys }
---
kind: FederatedCredential
organization: acme
agent: one@example.com
issuer: https://ci.example.com
subject: "job:deploy"
claims: { ref: main }
---
{"kind": "PublicKey", "organization": "acme", "agent": "two@example.com", "publicKey": {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}
"#;

#[tokio::test]
async fn a_manifest_is_applied_once_and_exported_as_it_was_applied() {
    let (_server, user) = start().await;
    user.file("all.yaml", MANIFEST);
    let planned = user.run(&["apply", "-f", "all.yaml", "--dry-run"]).await;
    assert!(planned.code == 4 && planned.out.ends_with("6 added, 0 changed, 0 gone\n"), "{planned:?}");
    assert_eq!(user.json(&["orgs", "list", "--slug", "acme"]).await.as_array().map(Vec::len), Some(0));
    let applied = user.done(&["apply", "-f", "all.yaml"]).await;
    assert_eq!(applied, planned.out);
    assert_eq!(user.done(&["apply", "-f", "all.yaml"]).await, "nothing to change\n");
    let exported = user.done(&["export", "--organization", "acme"]).await;
    user.file("exported.yaml", &exported);
    assert_eq!(user.done(&["apply", "-f", "exported.yaml", "--dry-run"]).await, "nothing to change\n");
    let (_other, elsewhere) = start().await;
    let copied = elsewhere.run_with(&["apply", "-f", "-"], &exported).await;
    assert_eq!(copied.code, 0, "{}", copied.err);
    assert_eq!(elsewhere.done(&["export", "--organization", "acme"]).await.len(), exported.len());
    let managed = user.json(&["agents", "get", "one@example.com", "--organization", "acme"]).await;
    assert_eq!(managed["managedBy"], "default");
}

#[tokio::test]
async fn a_difference_is_shown_field_by_field() {
    let (_server, user) = start().await;
    user.file("all.yaml", MANIFEST);
    user.done(&["apply", "-f", "all.yaml"]).await;
    user.file(
        "all.yaml",
        &MANIFEST.replace("plan: pro", "plan: enterprise").replace("owner: team", "owner: others"),
    );
    let changed = user.done(&["apply", "-f", "all.yaml"]).await;
    for line in [
        "~ Organization acme",
        "    plan: pro -> enterprise",
        "    owner: team -> others",
        "0 added, 3 changed, 0 gone",
    ] {
        assert!(changed.lines().any(|found| found == line), "{changed}");
    }
}

#[tokio::test]
async fn all_faults_of_manifests_are_named_with_file_and_line() {
    let (_server, user) = start().await;
    user.file(
        "faults.yaml",
        "kind: Agent\nemail: a@example.com\nagentTyp: custom\nversion: 1.0\ncapabilities: a:b\nowner: me\n\
         deploymentEnv: prod\n---\nkind: Agnet\n---\nkind: PublicKey\nagent: none@example.com\npublicKey: 1\n",
    );
    user.file("syntax.yaml", "kind: Agent\nemail: [a\nowner: }\n");
    let ran = user.run(&["apply", "-f", "faults.yaml", "syntax.yaml"]).await;
    assert_eq!(ran.code, 2);
    for words in [
        "faults.yaml:3: Agent has no field \"agentTyp\"; did you mean \"agentType\"?",
        "faults.yaml:4: version must be a text; put it in quotes",
        "faults.yaml:5: capabilities must be a list of texts",
        "faults.yaml:7: deploymentEnv must be one of: development, staging, production",
        "faults.yaml:1: Agent needs the field \"agentType\"",
        "faults.yaml:9: there is no kind \"Agnet\"; did you mean \"Agent\"?",
        "faults.yaml:13: publicKey must be an object",
        "syntax.yaml:3: not YAML",
    ] {
        assert!(ran.err.contains(words), "{words}: {}", ran.err);
    }
    user.file(
        "reference.yaml",
        &MANIFEST.replace("agent: one@", "agent: none@").replace("slug: acme", "slug: other"),
    );
    let ran = user.run(&["apply", "-f", "reference.yaml"]).await;
    assert!(
        ran.code == 2 && ran.err.contains("reference.yaml:32: agent: the organization has no Agent"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("there is no organization \"acme\""), "{}", ran.err);
    assert!(user.run(&["apply", "-f", "missing.yaml"]).await.err.contains("missing.yaml"));
}

#[tokio::test]
async fn agents_of_the_name_that_are_no_longer_listed_are_suspended_or_decommissioned() {
    let (_server, user) = start().await;
    user.file("all.yaml", MANIFEST);
    user.done(&["apply", "-f", "all.yaml"]).await;
    let documents: Vec<&str> = MANIFEST.split("---\n").collect();
    user.file(
        "less.yaml",
        &format!("{}---\n{}", documents[0], documents[1].replace("mayAct: [two@example.com]\n", "")),
    );
    let other = user.done(&["apply", "-f", "less.yaml", "--prune", "--name", "other"]).await;
    assert_eq!(other, "nothing to change\n", "agents of another name stay");
    assert_eq!(user.run(&["apply", "-f", "less.yaml", "--prune", "--dry-run"]).await.code, 4);
    user.done(&["apply", "-f", "less.yaml", "--prune"]).await;
    let two = ["agents", "get", "two@example.com", "--organization", "acme"];
    assert_eq!(user.json(&two).await["status"], "suspended");
    user.done(&["apply", "-f", "all.yaml", "--prune"]).await;
    assert_eq!(user.json(&two).await["status"], "active", "it is listed again");
    let unconfirmed = user.run(&["apply", "-f", "less.yaml", "--prune=decommission"]).await;
    assert!(unconfirmed.code == 2 && unconfirmed.err.contains("--yes"), "{}", unconfirmed.err);
    assert_eq!(user.json(&two).await["status"], "active");
    user.done(&["apply", "-f", "less.yaml", "--prune=decommission", "--yes"]).await;
    assert_eq!(user.json(&two).await["status"], "decommissioned");
}

#[tokio::test]
async fn the_own_organization_is_one_whether_it_is_named_or_not() {
    let (_server, user) = start().await;
    let one = agents(1);
    let two = one.replace("a0@", "b0@").replace("email:", "organization: default\nemail:");
    user.file("both.yaml", &(one.clone() + &two));
    user.done(&["apply", "-f", "both.yaml"]).await;
    let again = user.run(&["apply", "-f", "both.yaml", "--prune=decommission", "--dry-run"]).await;
    assert_eq!((again.code, again.out.as_str()), (0, "nothing to change\n"), "{}", again.err);
    // An agent under both spellings is the same one.
    user.file("twice.yaml", &(one.clone() + &two.replace("b0@", "a0@")));
    let twice = user.run(&["apply", "-f", "twice.yaml"]).await;
    assert!(twice.code == 2 && twice.err.contains("already at twice.yaml:2"), "{}", twice.err);
}

#[tokio::test]
async fn an_address_is_the_same_in_every_form_of_its_letters() {
    let (_server, user) = start().await;
    user.file("agents.yaml", &agents(1).replace("a0@", "\"Cafe\u{301}@").replace(".com", ".com\""));
    user.done(&["apply", "-f", "agents.yaml"]).await;
    assert_eq!(user.done(&["apply", "-f", "agents.yaml", "--prune"]).await, "nothing to change\n");
}

#[tokio::test]
async fn the_last_agent_of_an_organization_that_is_still_named_is_pruned_and_shown() {
    let (_server, user) = start().await;
    let organization = "kind: Organization\nslug: acme\nname: Acme\nplan: enterprise\n";
    let agent = agents(1).replace("email:", "organization: acme\nemail:");
    user.file("all.yaml", &format!("{organization}{agent}"));
    user.done(&["apply", "-f", "all.yaml"]).await;
    let others = agents(120).replace("email: a", "organization: acme\nemail: other-");
    user.file("all.yaml", &format!("{organization}{others}"));
    let planned = user.run(&["apply", "-f", "all.yaml", "--prune", "--dry-run"]).await;
    assert!(planned.out.contains("- Agent a0@example.com of acme (suspend)\n"), "{}", planned.out);
    user.file("all.yaml", organization);
    user.done(&["apply", "-f", "all.yaml", "--prune"]).await;
    let list = ["agents", "list", "--organization", "acme", "--status", "active"];
    assert_eq!(user.json(&list).await.as_array().map(Vec::len), Some(0));
}

#[tokio::test]
async fn an_export_names_no_agent_that_is_gone_and_people_by_their_agents() {
    let (server, user) = start().await;
    user.file("all.yaml", MANIFEST);
    user.done(&["apply", "-f", "all.yaml"]).await;
    let of = |email| ["agents", "get", email, "--organization", "acme"];
    let gone = user.json(&of("two@example.com")).await;
    let stays = user.json(&of("one@example.com")).await["agentId"].clone();
    let people = serde_json::json!({
        "audiences": ["people"], "mayAct": [stays, gone["agentId"]], "scopes": ["files:read"], "maxAgeSeconds": 60,
    });
    let issuers = user.json(&["issuers", "list", "--organization", "acme"]).await;
    let issuer = issuers[0]["issuerId"].as_str().expect("an ID").to_owned();
    let expiring = "2026-01-15T12:30:00Z";
    let people = people.to_string();
    user.done(&["issuers", "update", &issuer, "--organization", "acme", "--subjects", &people]).await;
    user.done(&["agents", "decommission", "two@example.com", "--organization", "acme", "--yes"]).await;
    let id = stays.as_str().expect("an ID");
    let federated = ["credentials", "create", id, "--organization", "acme", "--type", "federated"];
    let rest = ["--issuer-id", &issuer, "--subject", "soon", "--expires-at", expiring];
    user.done(&[&federated[..], &rest].concat()).await;
    server.advance(3_600);
    let exported = user.done(&["export", "--organization", "acme"]).await;
    assert!(!exported.contains("two@example.com") && !exported.contains("soon"), "{exported}");
    assert_eq!(
        exported.matches("- one@example.com").count(),
        1,
        "a person's agent by its address: {exported}"
    );
    let (_other, elsewhere) = start().await;
    let copied = elsewhere.run_with(&["apply", "-f", "-"], &exported).await;
    assert_eq!(copied.code, 0, "{}", copied.err);
    user.file("exported.yaml", &exported);
    assert_eq!(user.done(&["apply", "-f", "exported.yaml", "--dry-run"]).await, "nothing to change\n");
}

#[tokio::test]
async fn a_part_of_an_object_that_the_manifest_does_not_name_is_a_difference() {
    let (_server, user) = start().await;
    let people =
        "subjects: { audiences: [people], mayAct: [\"*\"], scopes: [\"files:read\"], maxAgeSeconds: 60 }\n";
    let manifest = MANIFEST.replace("keys: { type: jwks_uri", &format!("{people}keys: {{ type: jwks_uri"));
    user.file("all.yaml", &manifest);
    user.done(&["apply", "-f", "all.yaml"]).await;
    assert_eq!(user.done(&["apply", "-f", "all.yaml"]).await, "nothing to change\n");
    let issuers = user.json(&["issuers", "list", "--organization", "acme"]).await;
    let mut subjects = issuers[0]["subjects"].clone();
    subjects["redelegation"] = true.into();
    let id = issuers[0]["issuerId"].as_str().expect("an ID");
    user.done(&["issuers", "update", id, "--organization", "acme", "--subjects", &subjects.to_string()])
        .await;
    let planned = user.run(&["apply", "-f", "all.yaml", "--dry-run"]).await;
    assert!(planned.code == 4 && planned.out.contains("subjects"), "{planned:?}");
}

#[tokio::test]
async fn a_resource_is_the_same_in_every_form_of_its_url() {
    let (_server, user) = start().await;
    user.done(&["orgs", "update", "default", "--resources", "HTTPS://API.example.com:443/a/../b"]).await;
    let agent = agents(1).replace("owner: me", "owner: me\ndefaultResource: https://api.example.com/b");
    user.file("agents.yaml", &agent);
    user.done(&["apply", "-f", "agents.yaml"]).await;
    assert_eq!(user.done(&["apply", "-f", "agents.yaml"]).await, "nothing to change\n");
}

#[tokio::test]
async fn an_agent_that_stays_suspended_gets_no_credential_and_the_plan_says_so() {
    let (_server, user) = start().await;
    let key = "---\nkind: PublicKey\nagent: a0@example.com\npublicKey: { kty: OKP, crv: Ed25519, x: 11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo }\n";
    let agent = agents(1).replace("owner: me", "owner: me\nstatus: suspended");
    user.file("agents.yaml", &agent);
    user.done(&["apply", "-f", "agents.yaml"]).await;
    user.file("agents.yaml", &format!("{agent}{key}"));
    let ran = user.run(&["apply", "-f", "agents.yaml"]).await;
    assert!(ran.code == 2 && ran.err.contains("it is suspended"), "{}", ran.err);
    // Together with the agent, it is made before that is suspended.
    let (_other, elsewhere) = start().await;
    elsewhere.file("agents.yaml", &format!("{agent}{key}"));
    elsewhere.done(&["apply", "-f", "agents.yaml"]).await;
    assert_eq!(elsewhere.done(&["apply", "-f", "agents.yaml"]).await, "nothing to change\n");
}

#[tokio::test]
async fn a_plan_needs_no_permission_to_change() {
    let (server, user) = start().await;
    let admin = server.admin_token().await;
    let mut reader = User::administrator(&server);
    let client = server.client(&admin, None, &["agents:read"]).await;
    reader.environment[1].1 = client.id;
    reader.environment[2].1 = client.secret;
    reader.file("agents.yaml", &agents(1));
    let planned = reader.run(&["apply", "-f", "agents.yaml", "--dry-run"]).await;
    assert_eq!(planned.code, 4, "{}", planned.err);
    let refused = reader.run(&["apply", "-f", "agents.yaml"]).await;
    assert!(refused.code == 1 && refused.err.contains("agents:write"), "{}", refused.err);
    drop(user);
}

#[tokio::test]
async fn half_an_apply_says_what_was_done_and_another_run_continues() {
    let (_server, user) = start().await;
    let limited = MANIFEST.replace("plan: pro", "limits: { maxAgents: 1 }");
    user.file("all.yaml", &limited);
    let half = user.run(&["apply", "-f", "all.yaml"]).await;
    assert_eq!(half.code, 1, "{}", half.err);
    for words in [
        "done      create Organization acme",
        "not done  create ",
        "FREE_TIER_LIMIT_EXCEEDED",
        "run the command again",
    ] {
        assert!(half.err.contains(words), "{words}: {}", half.err);
    }
    user.file("all.yaml", &limited.replace("maxAgents: 1", "maxAgents: 2"));
    user.done(&["apply", "-f", "all.yaml"]).await;
    assert_eq!(user.done(&["apply", "-f", "all.yaml"]).await, "nothing to change\n");
}

#[tokio::test]
async fn five_hundred_agents_are_applied_within_the_rate_of_the_service() {
    let server = TestServer::start(Wiring::Memory).await;
    server.unlimited_admin_token().await;
    let user = User::administrator(&server);
    user.file("many.yaml", &agents(500));
    let applied = user.done(&["apply", "-f", "many.yaml"]).await;
    assert!(applied.ends_with("500 added, 0 changed, 0 gone\n"));
    assert_eq!(user.done(&["apply", "-f", "many.yaml"]).await, "nothing to change\n");
}

#[tokio::test]
async fn an_interrupted_apply_says_what_was_done_and_another_run_continues() {
    // The clock of the service stands still, so the rest waits for the next minute, which never comes.
    let (server, user) = start().await;
    let other = server.client(&server.admin_token().await, None, &["agents:read"]).await;
    let token = server.token(&other, &[]).await;
    user.file("many.yaml", &agents(300));
    let mut child = user.command(&["apply", "-f", "many.yaml"]).spawn().expect("it runs");
    let made = async || {
        let answer = server.get(&token, "/api/v1/agents?owner=me&limit=1").await;
        answer.json()["total"].as_u64().expect("a number")
    };
    let mut count = 0;
    tokio::time::timeout(LONG, async {
        while count < 20 {
            count = made().await;
        }
    })
    .await
    .expect("agents are made");
    let pid = child.id().expect("it runs").to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().await.expect("kill runs").success());
    let mut text = String::new();
    let mut err = child.stderr.take().expect("a pipe");
    tokio::time::timeout(LONG, err.read_to_string(&mut text)).await.expect("in time").expect("text");
    assert_eq!(child.wait().await.expect("it ended").code(), Some(130), "{text}");
    for words in ["done      create Agent", "not done  create Agent", "interrupted", "run the command again"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
    server.unlimited_admin_token().await;
    user.done(&["apply", "-f", "many.yaml"]).await;
    assert_eq!(made().await, 300);
}

#[tokio::test]
async fn the_schema_of_manifests_names_every_kind_and_its_fields() {
    let user = User::new(Vec::new());
    let schema = user.json(&["apply", "--schema"]).await;
    let kinds = schema["oneOf"].as_array().expect("a list");
    let titles: Vec<&str> = kinds.iter().filter_map(|kind| kind["title"].as_str()).collect();
    assert_eq!(titles, ["Organization", "TrustedIssuer", "Agent", "FederatedCredential", "PublicKey"]);
    assert!(
        kinds[2]["properties"]["capabilities"].is_object() && kinds[2]["properties"]["managedBy"].is_null()
    );
}
