//! The commands of pages of the book, run as a reader would paste them.

use serde_json::{Value, json};
use testing::{Database, OWNER, SERVES, redis_url, replaced};
use tokio::process::Command;

use crate::client::{User, script_of};
use crate::command_line::{LONG, Running, serve};
use crate::readme::shell;

const QUICK_START: &str = include_str!("../../docs/quick-start.md");

/// Returns the part of a page under this heading.
fn part<'a>(page: &'a str, heading: &str) -> &'a str {
    let (_, part) = page.split_once(&format!("\n## {heading}\n")).expect("a heading");
    part.split("\n## ").next().expect("a part")
}

/// Returns the blocks in this language.
pub fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    page.split(&fence).skip(1).map(|rest| rest.split("```").next().expect("an end")).collect()
}

/// Runs a script without a service. Panics if a command of it fails.
async fn run(script: &str, environment: &[(&str, &str)]) -> String {
    let mut command = Command::new("bash");
    command.args(["-eu", "-c", script]).env("BCRYPT_COST", "4").envs(environment.iter().copied());
    let output = tokio::time::timeout(LONG, command.output()).await.expect("in time").expect("it runs");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{text} {}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Runs the commands of a page as the administrator of a new service. Returns the output and the administrator.
pub async fn run_page(
    page: &str,
    files: &[(&str, &str)],
    environment: &[(&'static str, String)],
) -> (String, User) {
    let running = serve(&[], &[]).await;
    let user = User::administrator_of(&running);
    for (name, text) in files {
        user.file(name, text);
    }
    let environment = [user.environment.as_slice(), environment].concat();
    let text = shell(&running, &script_of(page, &user), &environment).await;
    // The service ends with this function.
    let agents = user.done(&["agents", "list"]).await;
    user.file("agents.json", &agents);
    (text, user)
}

/// Returns the answers to introspections in an output.
fn activity(text: &str) -> Vec<bool> {
    let lines = text.lines().filter(|line| line.contains("\"active\":"));
    lines.map(|line| line.contains("true")).collect()
}

async fn the_first_agent_is_registered_and_revoked(running: &Running) {
    let user = User::new(Vec::new());
    let script = script_of(part(QUICK_START, "The first agent"), &user);
    let text = shell(running, &script, &[]).await;
    assert_eq!(activity(&text), [true, false], "{text}");
    assert!(text.contains("token.revoked"), "{text}");
}

#[tokio::test]
async fn the_quick_start_works_in_memory() {
    assert_eq!(blocks(part(QUICK_START, "In memory"), "sh"), ["agentidp serve\n"]);
    the_first_agent_is_registered_and_revoked(&serve(&[], &[]).await).await;
}

#[tokio::test]
async fn the_quick_start_works_on_a_file() {
    assert_eq!(blocks(part(QUICK_START, "On a file"), "sh"), ["agentidp serve --data agentidp.db\n"]);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("agentidp.db");
    let running = serve(&["--data", path.to_str().expect("text")], &[]).await;
    the_first_agent_is_registered_and_revoked(&running).await;
}

/// Starts a service on a database that has a first administrator, whose credential a command has printed.
async fn serve_on(environment: &[(&str, &str)], printed: &str) -> Running {
    let mut running = serve(&[], environment).await;
    let field =
        |name: &str| printed.lines().find_map(|line| line.strip_prefix(name)).expect("printed").trim();
    running.curl = format!("'{}:{}'", field("client_id:"), field("client_secret:"));
    running
}

#[tokio::test]
async fn the_quick_start_works_on_postgresql_and_redis() {
    let user = User::new(Vec::new());
    let database = Database::empty().await;
    let [owner, serves, redis] = [database.url(OWNER), database.url(SERVES), redis_url()];
    let script = script_of(part(QUICK_START, "On PostgreSQL"), &user);
    let script = replaced(&script, "postgres://agentidp@localhost/agentidp", &serves);
    let script = replaced(&script, "postgres://agentidp_owner@localhost/agentidp", &owner);
    let script = replaced(&script, "redis://localhost", &redis);
    let printed = run(script.strip_suffix("agentidp serve\n").expect("the last command"), &[]).await;
    let key = user.folder.path().join("key.pem");
    let key = key.to_str().expect("text");
    let environment = [("DATABASE_URL", &*serves), ("REDIS_URL", &redis), ("JWT_PRIVATE_KEY_FILE", key)];
    the_first_agent_is_registered_and_revoked(&serve_on(&environment, &printed).await).await;
}

#[tokio::test]
async fn an_agent_is_registered_changed_rotated_and_revoked() {
    let (text, user) = run_page(include_str!("../../docs/guides/agents.md"), &[], &[]).await;
    assert_eq!(activity(&text), [true, false], "{text}");
    assert!(text.contains("\"scope\": \"documents:read\""), "a capability is gone: {text}");
    let agents = std::fs::read_to_string(user.folder.path().join("agents.json")).expect("written");
    assert!(agents.contains("decommissioned"), "{agents}");
}

#[tokio::test]
async fn an_api_is_named_and_introspects_a_token() {
    let (text, _) = run_page(include_str!("../../docs/guides/protect-an-api.md"), &[], &[]).await;
    let answer: Value = serde_json::from_str(text.lines().last().expect("an answer")).expect("JSON");
    assert_eq!(answer["active"], true, "{text}");
    assert_eq!(answer["aud"], "https://documents.example.com");
    assert_eq!(answer["scope"], "documents:read");
}

#[tokio::test]
async fn an_agent_may_act_for_the_people_of_an_issuer() {
    let (text, _) = run_page(include_str!("../../docs/delegation.md"), &[], &[]).await;
    let issuer: Value = serde_json::from_str(&text).expect("the changed issuer");
    assert_eq!(issuer["subjects"]["audiences"], json!(["notes-app"]), "{text}");
    assert_eq!(issuer["subjects"]["mayAct"].as_array().map(Vec::len), Some(1), "{text}");
}

#[tokio::test]
async fn a_dump_of_a_database_is_restored_and_served() {
    let page = include_str!("../../docs/upgrade-and-backup.md");
    let user = User::new(Vec::new());
    let key = user.file("key.pem", &testing::RSA_PEM);
    let key = key.to_str().expect("text");
    let (before, after) = (Database::empty().await, Database::empty().await);
    let [owner, serves] = [before.url(OWNER), before.url(SERVES)];
    let [restored_owner, restored] = [after.url(OWNER), after.url(SERVES)];
    let environment = [
        ("MIGRATION_DATABASE_URL", &*owner),
        ("DATABASE_URL", &serves),
        ("RESTORED_OWNER_URL", &restored_owner),
        ("RESTORED_URL", &restored),
    ];
    let prepare = script_of("```sh\nagentidp migrate\nagentidp bootstrap\n```", &user);
    let printed = run(&prepare, &environment).await;
    run(&script_of(page, &user), &environment).await;
    let running = serve_on(&[("DATABASE_URL", &restored), ("JWT_PRIVATE_KEY_FILE", key)], &printed).await;
    the_first_agent_is_registered_and_revoked(&running).await;
}

#[tokio::test]
async fn a_file_is_backed_up_read_and_moved_to_postgresql() {
    let page = include_str!("../../docs/one-file.md");
    let user = User::new(Vec::new());
    let path = user.folder.path().join("agentidp.db");
    let running = serve(&["--data", path.to_str().expect("text")], &[]).await;
    the_first_agent_is_registered_and_revoked(&running).await;
    let [backup, copy, read] = blocks(page, "sh")[..] else { panic!("three blocks") };
    let with_program = |block: &str| script_of(&format!("```sh\n{block}```"), &user);
    let folder = user.folder.path().join("backup");
    run(&with_program(&replaced(backup, "/backups/agentidp", folder.to_str().expect("text"))), &[]).await;
    let copied: Vec<_> = std::fs::read_dir(folder).expect("a backup").collect();
    assert_eq!(copied.len(), 2, "the file and its key: {copied:?}");
    assert!(run(&with_program(read), &[]).await.contains("token.revoked"));
    running.kill().await;
    let database = Database::empty().await;
    let target = "postgres://agentidp_owner:…@localhost/agentidp";
    run(&with_program(&replaced(copy, target, &database.url(OWNER))), &[]).await;
    let agents = database.client(OWNER).await.query("SELECT email FROM agents", &[]).await.expect("rows");
    assert_eq!(agents.len(), 2, "the administrator and the first agent");
}
