//! The pages of `docs/migration`, run as a reader would paste them.

use serde_json::{Value, json};
use testing::{Database, OWNER};

use crate::client::User;
use crate::pages::{blocks, run_page};

/// Returns the agents that a page has registered, with their capabilities.
fn registered(user: &User) -> Vec<(String, Value)> {
    let agents = std::fs::read_to_string(user.folder.path().join("agents.json")).expect("written");
    let agents: Vec<Value> = serde_json::from_str(&agents).expect("JSON");
    let field = |agent: &Value| agent["email"].as_str().expect("an address").to_owned();
    let agents = agents.iter().map(|agent| (field(agent), agent["capabilities"].clone()));
    let mut agents: Vec<_> = agents.filter(|(email, _)| email.ends_with("@agents.example.com")).collect();
    agents.sort_by(|one, other| one.0.cmp(&other.0));
    agents
}

#[tokio::test]
async fn the_agents_of_an_express_service_are_moved() {
    let old = Database::empty().await;
    let database = old.client(OWNER).await;
    database.batch_execute(include_str!("../../perf/peers/express/schema.sql")).await.expect("tables");
    let insert = "INSERT INTO agents (email, agent_type, version, capabilities, owner, deployment_env, status) VALUES
        ('reader@agents.example.com', 'extractor', '1.2.3', '{documents:read,agents:read}', 'a team', 'staging', 'active'),
        ('writer@agents.example.com', 'custom', '1.0.0', '{documents:write}', 'O''Hara', 'production', 'active'),
        ('gone@agents.example.com', 'custom', '1.0.0', '{documents:write}', 'team', 'production', 'suspended')";
    database.batch_execute(insert).await.expect("rows");
    let url = [("OLD_DATABASE_URL", old.url(OWNER))];
    let (text, user) = run_page(include_str!("../../docs/migration/express.md"), &[], &url).await;
    assert!(text.contains("2 added, 0 changed, 0 gone"), "{text}");
    let expected = [
        ("reader@agents.example.com", json!(["documents:read", "agents:read"])),
        ("writer@agents.example.com", json!(["documents:write"])),
    ];
    assert_eq!(registered(&user), expected.map(|(email, capabilities)| (email.to_owned(), capabilities)));
    let secrets = std::fs::read_dir(user.folder.path().join("secrets")).expect("a folder");
    assert_eq!(secrets.count(), 2);
}

/// Runs a page on the example of an export that it shows, in which one client is an agent.
async fn the_example_of_a_page_is_moved(page: &str, file: &str) {
    let [export] = blocks(page, "json")[..] else { panic!("one example") };
    let (_, user) = run_page(page, &[(file, export)], &[]).await;
    let [(email, capabilities)] = &registered(&user)[..] else { panic!("one agent") };
    assert_eq!(email, "report-writer@agents.example.com");
    assert_eq!(*capabilities, json!(["reports:write", "documents:read"]));
}

#[tokio::test]
async fn the_clients_of_hydra_are_moved() {
    the_example_of_a_page_is_moved(include_str!("../../docs/migration/hydra.md"), "clients.json").await;
}

#[tokio::test]
async fn the_clients_of_keycloak_are_moved() {
    the_example_of_a_page_is_moved(include_str!("../../docs/migration/keycloak.md"), "realm.json").await;
}
