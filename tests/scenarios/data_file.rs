//! One file that keeps all data: its first start, what cannot be served, and its backup.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use agentidp::adapters::sqlite::{KeyFileError, Sqlite, signing_key};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use testing::new_agent;
use tokio::sync::Mutex;

use crate::command_line::{LONG, Running, program, serve};

/// Issuer of all starts, each of which listens on another port.
pub const ISSUER: &str = "https://agentidp.example";

/// A folder with the path of a data file in it.
pub struct Data {
    folder: TempDir,
    pub path: String,
}

impl Data {
    pub fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("agentidp.db").to_str().expect("text").to_owned();
        Self { folder, path }
    }

    pub async fn serve(&self) -> Running {
        serve(&["--data", &self.path, "--issuer-url", ISSUER], &[]).await
    }

    pub fn put_key(&self) {
        let made: Result<String, KeyFileError> =
            signing_key(&self.folder.path().join("new.db"), || Ok(testing::RSA_PEM.clone()));
        made.expect("a key");
        let made = self.folder.path().join("new.db.key");
        std::fs::rename(made, format!("{}.key", self.path)).expect("renamed");
    }

    /// Runs statements on the file as another program would.
    pub fn sqlite3(&self, sql: &str) -> String {
        let output = Command::new("sqlite3").args([&self.path, sql]).output().expect("sqlite3 is installed");
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8(text).expect("text").trim().to_owned()
    }
}

/// Returns the credentials in the command that the first start shows.
fn credentials(running: &Running) -> (String, String) {
    let quoted = running.curl.split('\'').nth(1).expect("the command has credentials");
    let (id, secret) = quoted.split_once(':').expect("an ID and a secret");
    (id.to_owned(), secret.to_owned())
}

/// Returns an access token with these scopes, from the service at this address.
async fn token(address: &str, (id, secret): &(String, String), scope: &str) -> String {
    let form = [("grant_type", "client_credentials"), ("scope", scope)];
    let request =
        Client::new().post(format!("{address}/api/v1/token")).basic_auth(id, Some(secret)).form(&form);
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    let answer: Value = answer.json().await.expect("JSON");
    answer["access_token"].as_str().expect("a token").to_owned()
}

async fn get(address: &str, token: &str, path: &str) -> Value {
    let answer = Client::new().get(format!("{address}/api/v1/{path}")).bearer_auth(token).send().await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK, "{path}");
    answer.json().await.expect("JSON")
}

/// Registers an agent. Returns its ID once the service has confirmed it.
async fn register(address: &str, token: &str) -> Option<String> {
    let request = Client::new()
        .post(format!("{address}/api/v1/agents"))
        .bearer_auth(token)
        .json(&new_agent(&["files:read"]));
    let answer = request.send().await.ok().filter(|answer| answer.status() == StatusCode::CREATED)?;
    let answer: Value = answer.json().await.ok()?;
    Some(answer["agentId"].as_str().expect("an ID").to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_confirmed_is_there_after_kill_9_and_tokens_stay_active() {
    const ROUNDS: usize = 4;
    const CLIENTS: usize = 8;
    let data = Data::new();
    let mut running = data.serve().await;
    let administrator = credentials(&running);
    let first = token(&running.address, &administrator, "agents:read agents:write audit:read").await;
    let confirmed = Arc::new(Mutex::new(Vec::new()));
    for round in 1..=ROUNDS {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let (address, first, confirmed) = (running.address.clone(), first.clone(), confirmed.clone());
                tokio::spawn(async move {
                    while let Some(id) = register(&address, &first).await {
                        confirmed.lock().await.push(id);
                    }
                })
            })
            .collect();
        while confirmed.lock().await.len() < round * 50 {
            tokio::task::yield_now().await;
        }
        running.kill().await;
        for client in clients {
            client.await.expect("no panic");
        }
        running = data.serve().await;
        assert!(running.curl.is_empty(), "there is an administrator already");
        let confirmed = confirmed.lock().await;
        for id in confirmed.iter() {
            get(&running.address, &first, &format!("agents/{id}")).await;
        }
        let query = "audit?action=agent.created&limit=200";
        let mut events = Vec::new();
        let mut page = get(&running.address, &first, query).await;
        loop {
            events.extend(page["data"].as_array().expect("a list").clone());
            let Some(cursor) = page["nextCursor"].as_str() else { break };
            page = get(&running.address, &first, &format!("{query}&cursor={cursor}")).await;
        }
        for id in confirmed.iter() {
            let has_event = |event: &Value| event["resource"]["id"] == json!(id);
            assert!(events.iter().any(has_event), "{id} has its event");
        }
        let agents = get(&running.address, &first, "agents?limit=1").await["total"].clone();
        assert_eq!(agents, json!(events.len()), "no agent without an event, no event without an agent");
    }
    assert_eq!(data.sqlite3("PRAGMA integrity_check"), "ok");
}

/// Returns the single line that the program prints on what it cannot serve.
async fn refusal(arguments: &[&str], code: i32) -> String {
    let arguments = [arguments, &["--port", "0", "--metrics-addr", "off"]].concat();
    let output = tokio::time::timeout(LONG, program(&arguments).output()).await.expect("in time");
    let output = output.expect("it runs");
    let text = String::from_utf8(output.stderr).expect("text");
    let line = text.lines().find(|line| line.starts_with("agentidp: ")).unwrap_or_else(|| panic!("{text}"));
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(output.stdout.is_empty() && text.lines().count() == 1, "{text}");
    line.to_owned()
}

#[tokio::test]
async fn a_folder_that_does_not_exist_is_named() {
    let folder = tempfile::tempdir().expect("a folder").path().join("dir");
    let path = folder.join("a.db");
    let line = refusal(&["--data", path.to_str().expect("text")], 1).await;
    assert!(line.contains(&format!("the folder {} does not exist", folder.display())), "{line}");
}

fn content(folder: &Path) -> Vec<(std::ffi::OsString, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("readable"));
    let mut files: Vec<_> =
        entries.map(|entry| (entry.file_name(), std::fs::read(entry.path()).expect("readable"))).collect();
    files.sort();
    files
}

#[tokio::test]
async fn a_file_that_is_not_ours_is_refused_and_left_as_it_is() {
    for (sql, words) in [
        ("CREATE TABLE other (id)", "is a file of another program"),
        ("PRAGMA application_id = 7; VACUUM", "is a file of another program"),
        ("PRAGMA application_id = 1632199760; PRAGMA user_version = 999", "Use a newer one"),
    ] {
        let data = Data::new();
        data.sqlite3(sql);
        data.put_key();
        let before = std::fs::read(&data.path).expect("a file");
        let line = refusal(&["--data", &data.path], 1).await;
        assert!(line.contains(words) && line.contains(&data.path), "{line}");
        assert!(before == std::fs::read(&data.path).expect("a file"), "{sql}");
    }
    for has_key in [true, false] {
        let (text, other) = (Data::new(), Data::new());
        std::fs::write(&text.path, "minutes of a meeting").expect("written");
        other.sqlite3("CREATE TABLE other (id)");
        for data in [text, other] {
            if has_key {
                data.put_key();
            }
            let before = content(data.folder.path());
            assert!(refusal(&["--data", &data.path], 1).await.contains("is a file of another program"));
            assert!(before == content(data.folder.path()), "nothing is made next to it");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_served_is_named_in_one_line() {
    let data = Data::new();
    let path = data.path.as_str();
    for (arguments, code, words) in [
        (&["--data", path, "--redis-url", "redis://h"][..], 2, "REDIS_URL"),
        (&["--data", path, "--database-url", "postgres://h/d"], 2, "both set"),
        (&["--data", path, "--migration-database-url", "postgres://h/d"], 2, "MIGRATION_DATABASE_URL"),
        (&["--database-url", "sqlite:"], 2, "must name a file"),
        (&["--database-url", "sqlite::memory:"], 2, "must name a file"),
        (&["--database-url", "sqlite:a.db?mode=ro"], 2, "must name a file"),
        (&["--data", "/nowhere/agentidp.db"], 1, "/nowhere/agentidp.db"),
        (&["--data", "/proc/agentidp.db"], 1, "/proc/agentidp.db"),
        (&["--data", "/tmp"], 1, "/tmp: it is a folder"),
    ] {
        let line = refusal(arguments, code).await;
        assert!(line.contains(words), "{arguments:?}: {line}");
    }
    assert!(content(data.folder.path()).is_empty(), "nothing was made");
}

#[tokio::test]
async fn a_file_is_private_and_has_one_lock_and_one_key_by_whatever_name() {
    let data = Data::new();
    let link = data.folder.path().join("link.db");
    std::os::unix::fs::symlink("agentidp.db", &link).expect("linked");
    let link = link.to_str().expect("text");
    let running = serve(&["--data", link, "--issuer-url", ISSUER], &[]).await;
    let own = token(&running.address, &credentials(&running), "agents:read").await;
    assert!(refusal(&["--data", &data.path], 1).await.contains("another instance has it open"));
    let mut names = Vec::new();
    for entry in std::fs::read_dir(data.folder.path()).expect("a folder") {
        let entry = entry.expect("readable");
        let name = entry.file_name().into_string().expect("text");
        let mode = entry.metadata().expect("readable").permissions().mode() & 0o777;
        let is_private = mode == 0o600 || name == "link.db";
        assert!(is_private, "{name} has mode {mode:o}");
        names.push(name);
    }
    names.sort();
    let expected = [
        "agentidp.db",
        "agentidp.db-shm",
        "agentidp.db-wal",
        "agentidp.db.key",
        "agentidp.db.lock",
        "link.db",
    ];
    assert_eq!(names, expected);
    running.kill().await;
    let again = data.serve().await;
    get(&again.address, &own, "agents").await;
}

#[tokio::test]
async fn a_file_serves_one_instance_and_needs_its_key() {
    let data = Data::new();
    let first = data.serve().await;
    let line = refusal(&["--data", &data.path], 1).await;
    assert!(line.contains("another instance has it open"), "{line}");
    let address = first.address.clone();
    let own = token(&address, &credentials(&first), "agents:read").await;
    get(&address, &own, "agents").await;
    let ready = reqwest::get(format!("{address}/health/ready")).await.expect("an answer");
    let ready: Value = ready.json().await.expect("JSON");
    assert_eq!(ready["components"]["sqlite"], "ok", "{ready}");
    let port = address.rsplit(':').next().expect("a port");
    let again = program(&["--data", &data.path, "--port", port, "--metrics-addr", "off"]).output();
    let again = again.await.expect("it runs");
    assert_eq!(again.status.code(), Some(1), "whatever port it is to listen on");
    assert!(String::from_utf8_lossy(&again.stderr).contains("another instance has it open"));
    first.kill().await;
    let key = std::fs::read(format!("{}.key", data.path)).expect("it has a key");
    std::fs::write(format!("{}.key", data.path), &key[..100]).expect("written");
    let line = refusal(&["--data", &data.path], 2).await;
    assert!(line.contains("agentidp.db.key is not"), "{line}");
    std::fs::remove_file(format!("{}.key", data.path)).expect("it has a key");
    let line = refusal(&["--data", &data.path], 1).await;
    assert!(line.contains("agentidp.db.key is missing") && line.contains("JWT_PRIVATE_KEY"), "{line}");
    serve(&["--data", &data.path], &[("JWT_PRIVATE_KEY", &testing::RSA_PEM)]).await;
}

#[tokio::test]
async fn a_file_that_another_command_made_can_be_served() {
    for command in [&["migrate"][..], &["bootstrap"]] {
        let data = Data::new();
        let made = program(&[command, &["--data", &data.path]].concat()).output().await.expect("it runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let running = data.serve().await;
        assert_eq!(running.curl.is_empty(), command == ["bootstrap"], "one first administrator");
    }
    let missing = Data::new();
    let recovery =
        program(&["bootstrap", "--recover", "--data", &missing.path]).output().await.expect("it runs");
    assert_eq!(recovery.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&recovery.stderr).contains("no such file"));
    assert!(content(missing.folder.path()).is_empty(), "nothing was made");
}

#[tokio::test]
async fn the_audit_log_is_append_only_for_other_programs_too() {
    let data = Data::new();
    data.serve().await.kill().await;
    assert_ne!(data.sqlite3("SELECT count(*) FROM audit_events"), "0");
    let before = data.sqlite3("SELECT hex(event_id) FROM audit_events ORDER BY 1");
    for sql in [
        "UPDATE audit_events SET outcome = 'failure'",
        "DELETE FROM audit_events",
        "INSERT OR REPLACE INTO audit_events SELECT * FROM audit_events",
        "REPLACE INTO audit_events SELECT * FROM audit_events",
    ] {
        let refused = data.sqlite3(sql);
        assert!(refused.contains("append-only") || refused.contains("agentidp_retention"), "{refused}");
    }
    assert_eq!(before, data.sqlite3("SELECT hex(event_id) FROM audit_events ORDER BY 1"));
}

async fn backup(data: &Data, folder: &Path, code: i32) -> String {
    let arguments = ["backup", folder.to_str().expect("text"), "--data", &data.path];
    let output = program(&arguments).output().await.expect("it runs");
    let text = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_made_while_the_file_is_served_and_can_be_served_in_its_place() {
    let data = Data::new();
    let running = data.serve().await;
    let administrator = credentials(&running);
    let first = token(&running.address, &administrator, "agents:read agents:write").await;
    let before = register(&running.address, &first).await.expect("registered");
    let writer = {
        let (address, first) = (running.address.clone(), first.clone());
        tokio::spawn(async move { while register(&address, &first).await.is_some() {} })
    };
    let place = TempDir::new().expect("a folder");
    let folder = place.path().join("backup");
    backup(&data, &folder, 0).await;
    let after = register(&running.address, &first).await.expect("registered");
    backup(&data, &folder.join(""), 0).await;
    // One that was killed has left this.
    let unfinished = place.path().join("backup.unfinished");
    std::fs::create_dir(&unfinished).expect("made");
    std::fs::write(unfinished.join("agentidp.db"), "half").expect("written");
    let link = place.path().join("latest");
    std::os::unix::fs::symlink(&folder, &link).expect("linked");
    backup(&data, &link, 0).await;
    assert!(link.is_symlink(), "the folder is replaced that it points to");
    assert_eq!(std::fs::read_dir(place.path()).expect("readable").count(), 2, "nothing is left over");
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for (name, _) in content(&folder) {
        assert_eq!(mode(&folder.join(&name)), 0o600, "{name:?}");
    }
    running.kill().await;
    writer.await.expect("no panic");
    let copy = folder.join("agentidp.db");
    let restored = serve(&["--data", copy.to_str().expect("text"), "--issuer-url", ISSUER], &[]).await;
    for agent in [before, after] {
        get(&restored.address, &first, &format!("agents/{agent}")).await;
    }
}

#[tokio::test]
async fn a_backup_replaces_nothing_else() {
    let data = Data::new();
    data.serve().await.kill().await;
    let folder = TempDir::new().expect("a folder");
    std::fs::write(folder.path().join("notes.txt"), "mine").expect("written");
    let line = backup(&data, folder.path(), 1).await;
    assert!(line.contains("notes.txt"), "{line}");
    assert_eq!(content(folder.path()).len(), 1);
    let other = Data::new();
    other.sqlite3("CREATE TABLE other (id)");
    assert!(backup(&other, &folder.path().join("new"), 1).await.contains("another program"));
    assert!(!folder.path().join("new").exists());
    let missing = Data::new();
    assert!(backup(&missing, &folder.path().join("new"), 1).await.contains(&missing.path));
    let line = program(&["backup", "x"]).output().await.expect("it runs").stderr;
    assert!(String::from_utf8_lossy(&line).contains("--data"));
}

#[tokio::test]
async fn a_store_that_is_closed_can_be_opened_again() {
    let data = Data::new();
    let path = Path::new(&data.path).to_owned();
    for _ in 0..3 {
        let store = Sqlite::open(&path).expect("it opens");
        assert!(Sqlite::open(&path).is_err(), "it is open");
        store.close().await;
    }
}
