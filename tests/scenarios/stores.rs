//! Stores that are unavailable, return, are misconfigured or are new.

use std::process::{Output, Stdio};
use std::time::Duration;

use agentidp::config::Secrets;
use agentidp::wiring::Service;
use reqwest::StatusCode;
use serde_json::{Value, json};
use testing::{Database, OWNER, RSA_PEM, SERVES, TestServer, free_address, settings};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{ChildStderr, Command};
use tokio::task::JoinSet;

use crate::own_stores::{OwnStores, PASSWORD};

const LONG: Duration = Duration::from_secs(60);

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agentidp"));
    command.args(arguments).env_clear().kill_on_drop(true);
    command.envs([("METRICS_ADDR", "off"), ("PORT", "0"), ("BCRYPT_COST", "4"), ("STORE_WAIT_SECONDS", "0")]);
    command.env("JWT_PRIVATE_KEY", RSA_PEM.as_str());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn output(mut command: Command) -> Output {
    tokio::time::timeout(LONG, command.output()).await.expect("in time").expect("it runs")
}

/// Returns the last line on standard error of a program that exits with code 1.
async fn complaint(command: Command) -> String {
    let output = output(command).await;
    let text = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(!text.contains(PASSWORD), "{text}");
    text.lines().last().expect("a line").to_owned()
}

/// Reads lines of the log until one contains these words. No line may contain a password.
async fn read_until(log: &mut Lines<BufReader<ChildStderr>>, words: &str) {
    let reading = async {
        while let Some(line) = log.next_line().await.expect("text") {
            assert!(![PASSWORD, "hunter3"].iter().any(|password| line.contains(password)), "{line}");
            if line.contains(words) {
                return;
            }
        }
        panic!("it ended before it said {words}");
    };
    tokio::time::timeout(LONG, reading).await.expect("in time");
}

/// Repeats a request until the answer is as wanted. Panics if that takes more than a minute.
pub async fn until<T, F: Future<Output = T>>(ask: impl Fn() -> F, is_wanted: impl Fn(&T) -> bool) -> T {
    let asking = async {
        loop {
            let answer = ask().await;
            if is_wanted(&answer) {
                return answer;
            }
        }
    };
    tokio::time::timeout(LONG, asking).await.expect("in time")
}

#[tokio::test]
async fn a_store_that_is_not_there_is_named_in_one_line() {
    let mut command = program(&["serve"]);
    command.env("DATABASE_URL", "postgres://agentidp:hunter2@%2Fnowhere/agentidp");
    let line = complaint(command).await;
    assert!(line.starts_with("agentidp: PostgreSQL is unavailable"), "{line}");
}

/// An outage of Redis must not prevent instances from being started or moved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_starts_without_redis_and_joins_it_later() {
    let stores = OwnStores::start();
    stores.stop_redis();
    let server = start_on(&stores).await;
    let (status, degraded) = readiness(&server).await;
    assert_eq!((status, &degraded["status"]), (200, &json!("degraded")));
    let admin = server.admin_token().await;
    let agent = server.agent(&admin, None, &["files:read"]).await;
    server.post(&admin, &format!("/api/v1/agents/{agent}/tokens/revoke"), json!({})).await;
    stores.start_redis();
    until(|| readiness(&server), |(_, body)| body["status"] == "ok").await;
    let key = format!("gen:{agent}");
    until(|| stores.redis_value(&key), |value| !value.is_empty()).await;
    server.service.end().await;
}

/// An instance that counts rates alone is degraded, whatever the reason.
/// In this test Redis responds but rejects writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_says_ok_only_while_it_counts_with_the_others() {
    let stores = OwnStores::start();
    let server = start_on(&stores).await;
    assert_eq!(readiness(&server).await.1["status"], "ok");
    stores.redis_command(&["config", "set", "min-replicas-to-write", "1"]);
    assert_eq!(readiness(&server).await.1["status"], "degraded");
    server.admin_token().await;
    stores.redis_command(&["config", "set", "min-replicas-to-write", "0"]);
    // One successful check is enough: from then on each request is counted in Redis again.
    assert_eq!(readiness(&server).await.1["status"], "ok");
    let counted = || stores.redis_command(&["keys", &format!("rate:*{}*", server.administrator().id)]);
    assert_eq!(counted(), "");
    server.admin_token().await;
    assert_ne!(counted(), "");
    server.service.end().await;
}

/// A key that another program wrote must not affect other keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_in_redis_spoils_no_other_key() {
    let stores = OwnStores::start();
    let server = start_on(&stores).await;
    let admin = server.admin_token().await;
    let client = server.client(&admin, None, &["files:read"]).await;
    let window = testing::NOON.as_seconds() / 60;
    for garbage in ["-1", "1e3", "many", "99999999999999999999", ""] {
        for window in [window - 1, window] {
            stores.redis_command(&["set", &format!("rate:{{{}}}:{window}", client.id), garbage]);
        }
        server.token(&client, &[]).await;
        assert_eq!(readiness(&server).await.1["status"], "ok", "{garbage}");
    }
    for window in [window - 1, window] {
        let key = format!("rate:{{{}}}:{window}", client.id);
        stores.redis_command(&["del", &key]);
        stores.redis_command(&["lpush", &key, "not", "a", "number"]);
    }
    server.token(&client, &[]).await;
    assert_eq!(readiness(&server).await.1["status"], "ok");
    server.service.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_it_waits_for_a_store_it_says_so_and_a_signal_ends_it_at_once() {
    let stores = OwnStores::start();
    stores.stop_postgres();
    // The port is reserved and released beforehand, because the program prints its address only once it is
    // ready.
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("it").port();
    let mut command = program(&["serve", "--store-wait-seconds", "600", "--port", &port.to_string()]);
    command.env("DATABASE_URL", stores.database_url(PASSWORD)).env("RUST_LOG", "info");
    let mut child = command.spawn().expect("it runs");
    let url = format!("http://127.0.0.1:{port}");
    until(async || reqwest::get(format!("{url}/health")).await.is_ok(), |is_there| *is_there).await;
    let ask = async |path: &str| {
        let answer = reqwest::get(format!("{url}{path}")).await.expect("an answer");
        assert!(answer.headers().contains_key("x-request-id"), "{path}");
        (answer.status().as_u16(), answer.json::<Value>().await.expect("JSON"))
    };
    assert_eq!(ask("/health").await, (200, json!({ "status": "ok" })));
    assert_eq!(ask("/health/ready").await, (503, json!({ "status": "starting", "components": {} })));
    let (status, body) = ask("/api/v1/agents").await;
    assert_eq!((status, &body["code"]), (503, &json!("SERVICE_UNAVAILABLE")));
    let (status, body) = ask("/api/v1/token").await;
    assert_eq!((status, &body["error"]), (503, &json!("temporarily_unavailable")));
    let end = Command::new("kill").args(["-TERM", &child.id().expect("it runs").to_string()]).status().await;
    assert!(end.expect("kill runs").success());
    let status = tokio::time::timeout(LONG, child.wait()).await.expect("at once, and not after 600 s");
    assert_eq!(status.expect("it ended").code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_holds_the_lock_of_the_migrations_is_named_while_it_is_waited_for() {
    let database = Database::migrated().await;
    let holder = database.client(OWNER).await;
    let hold = "SET application_name = 'a slow migration';
        SELECT pg_advisory_lock(hashtextextended('agentidp migrations', 0))";
    holder.batch_execute(hold).await.expect("held");
    let mut command = program(&["migrate"]);
    command.env("DATABASE_URL", database.url(SERVES)).env("MIGRATION_DATABASE_URL", database.url(OWNER));
    let mut child = command.spawn().expect("it runs");
    let mut log = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let waiting = async {
        while let Some(line) = log.next_line().await.expect("text") {
            if line.contains("waiting for the migration lock") {
                return line;
            }
        }
        panic!("it ended");
    };
    let line = tokio::time::timeout(LONG, waiting).await.expect("in time");
    assert!(line.contains("a slow migration") && line.contains(OWNER), "{line}");
    drop(holder);
    let status = tokio::time::timeout(LONG, child.wait()).await.expect("in time").expect("it ended");
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn a_wrong_password_is_told_at_once_and_not_repeated() {
    let stores = OwnStores::start();
    let mut command = program(&["serve", "--store-wait-seconds", "600"]);
    command.env("DATABASE_URL", stores.database_url("wrong-word"));
    let line = complaint(command).await;
    assert!(line.contains("PostgreSQL") && line.contains("password authentication failed"), "{line}");
    assert!(!line.contains("wrong-word"), "{line}");
    let mut command = program(&["serve"]);
    command.env("REDIS_URL", stores.redis_url("wrong-word"));
    let line = complaint(command).await;
    assert!(line.contains("Redis") && !line.contains("wrong-word"), "{line}");
}

#[tokio::test]
async fn a_database_that_cannot_store_every_text_is_refused_by_its_encoding() {
    for encoding in ["LATIN1", "SQL_ASCII"] {
        let database = Database::encoded(encoding).await;
        for arguments in [&["serve"][..], &["migrate"]] {
            for owner in [None, Some(OWNER)] {
                let mut command = program(arguments);
                command.env("DATABASE_URL", database.url(if owner.is_some() { SERVES } else { OWNER }));
                command.envs(owner.map(|owner| ("MIGRATION_DATABASE_URL", database.url(owner))));
                let line = complaint(command).await;
                let words = format!("the encoding of the database is {encoding}; create one with");
                assert!(
                    line.contains("PostgreSQL") && line.contains(&words),
                    "{arguments:?} {owner:?}: {line}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_store_that_comes_while_it_is_waited_for_is_served_on() {
    let stores = OwnStores::start();
    stores.stop_postgres();
    let mut command = program(&["serve", "--store-wait-seconds", "60"]);
    command.env("DATABASE_URL", stores.database_url(PASSWORD)).env("RUST_LOG", "info");
    let mut child = command.spawn().expect("it runs");
    let mut log = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let mut next = async |words: &str| read_until(&mut log, words).await;
    next("waiting for PostgreSQL").await;
    stores.start_postgres();
    next("can modify the audit log").await;
    next("ready").await;
    let end = Command::new("kill").args(["-TERM", &child.id().expect("it runs").to_string()]).status().await;
    assert!(end.expect("kill runs").success());
    let status = tokio::time::timeout(LONG, child.wait()).await.expect("in time").expect("it ended");
    assert_eq!(status.code(), Some(0), "an orderly end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_connections_use_a_password_that_was_replaced_and_old_ones_live_on() {
    const NEXT: &str = "it's next";
    let stores = OwnStores::start();
    let server = start_on(&stores).await;
    server.admin_token().await;
    let operator = stores.client(PASSWORD).await;
    let change = format!("ALTER ROLE postgres PASSWORD '{}'", NEXT.replace('\'', "''"));
    operator.batch_execute(&change).await.expect("changed");
    stores.redis_command(&["config", "set", "requirepass", NEXT]);
    server.admin_token().await;
    assert_eq!(readiness(&server).await.1["status"], "ok", "open connections stay open");

    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'";
    operator.batch_execute(cut).await.expect("cut");
    stores.redis_command_by(NEXT, &["client", "kill", "type", "normal"]);
    let components = json!({ "postgresql": "unavailable", "redis": "unavailable" });
    until(|| readiness(&server), |(_, body)| body["components"] == components).await;
    let encoded = NEXT.replace('\'', "%27").replace(' ', "%20");
    let mut secrets = Secrets {
        keys: Ok(settings(&[]).keys),
        database: Ok(Some(stores.database_url(&encoded).into())),
        redis: Ok(Some(stores.redis_url(&encoded).into())),
    };
    let reloaded = |secrets: &Secrets| {
        let outcomes = server.service.reload(secrets).into_iter();
        outcomes.map(|(name, outcome)| (name, outcome.ok())).collect::<Vec<_>>()
    };
    let [keys, postgres, redis] = ["keys", "password of PostgreSQL", "password of Redis"];
    assert_eq!(reloaded(&secrets), [(keys, Some(false)), (postgres, Some(true)), (redis, Some(true))]);
    until(|| readiness(&server), |(_, body)| body["status"] == "ok").await;
    server.admin_token().await;
    assert_eq!(reloaded(&secrets), [(keys, Some(false)), (postgres, Some(false)), (redis, Some(false))]);
    secrets.database = Ok(Some("postgres://postgres:other@elsewhere.example.com/postgres".into()));
    secrets.redis = Ok(Some("redis://:other@elsewhere.example.com".into()));
    assert_eq!(reloaded(&secrets), [(keys, Some(false)), (postgres, None), (redis, None)]);
    server.service.end().await;
}

#[tokio::test]
async fn a_file_with_another_password_is_seen_without_a_signal() {
    let stores = OwnStores::start();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("url");
    std::fs::write(&file, stores.database_url(PASSWORD)).expect("written");
    let mut command = program(&["serve"]);
    command.env("DATABASE_URL_FILE", &file).env("RUST_LOG", "info");
    let mut child = command.spawn().expect("it runs");
    let mut log = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let mut next = async |words: &str| read_until(&mut log, words).await;
    next("ready").await;
    std::fs::write(&file, "").expect("written");
    next("cannot reload the password of PostgreSQL").await;
    std::fs::write(&file, stores.database_url("hunter3")).expect("written");
    next("reloaded the password of PostgreSQL").await;
}

#[tokio::test]
async fn tables_of_a_newer_version_stop_the_start() {
    let database = Database::migrated().await;
    let newer = "INSERT INTO refinery_schema_history VALUES (9999, 'newer', '', '')";
    database.client(OWNER).await.batch_execute(newer).await.expect("stored");
    for owner in [None, Some(database.url(OWNER))] {
        let mut command = program(&["serve"]);
        command.env("DATABASE_URL", database.url(SERVES));
        command.envs(owner.map(|url| ("MIGRATION_DATABASE_URL", url)));
        let line = complaint(command).await;
        assert!(line.contains("version 9999") && line.contains("use a newer agentidp"), "{line}");
    }
}

#[tokio::test]
async fn whoever_serves_cannot_make_the_tables_and_is_told_who_can() {
    let database = Database::empty().await;
    let mut command = program(&["serve"]);
    command.env("DATABASE_URL", database.url(SERVES));
    let line = complaint(command).await;
    assert!(line.contains("MIGRATION_DATABASE_URL"), "{line}");
    let mut command = program(&["migrate"]);
    command.env("DATABASE_URL", database.url(SERVES)).env("MIGRATION_DATABASE_URL", database.url(OWNER));
    assert!(output(command).await.status.success());
    let mut config = settings(&[]);
    config.stores.database = Some(database.url(SERVES).into());
    let service = Service::start(&config).await.expect("a service");
    let response = reqwest::get(format!("http://{}/health/ready", service.address)).await.expect("an answer");
    assert_eq!(response.json::<Value>().await.expect("JSON")["components"], json!({ "postgresql": "ok" }));
    service.end().await;
}

#[tokio::test]
async fn six_instances_start_together_on_an_empty_database() {
    for _ in 0..3 {
        let database = Database::empty().await;
        let mut config = settings(&["--db-pool-max", "2"]);
        config.stores.database = Some(database.url(SERVES).into());
        config.stores.migration_database = Some(database.url(OWNER).into());
        let starts = (0..6).map(|_| {
            let config = config.clone();
            async move { Service::start(&config).await.expect("a service") }
        });
        let services = starts.collect::<JoinSet<_>>().join_all().await;
        let first = services[0].app.bootstrap.default_organization().await.expect("made");
        for service in &services {
            assert_eq!(service.app.bootstrap.default_organization().await.expect("made").id, first.id);
            service.end().await;
        }
    }
}

#[tokio::test]
async fn the_first_administrator_is_made_once_and_another_by_recovery() {
    let database = Database::migrated().await;
    let bootstrap = |arguments: &[&str]| {
        let mut command = program(&[&["bootstrap"], arguments].concat());
        command.env("DATABASE_URL", database.url(SERVES));
        command
    };
    let racers = (0..4).map(|_| output(bootstrap(&[])));
    let outputs = racers.collect::<JoinSet<_>>().join_all().await;
    assert_eq!(outputs.iter().filter(|output| output.status.success()).count(), 1, "{outputs:?}");
    assert!(complaint(bootstrap(&[])).await.contains("a first administrator exists already"));
    let full = "UPDATE organizations SET max_agents = 1, status = 'suspended', revision = revision + 1";
    database.client(OWNER).await.batch_execute(full).await.expect("the limit is stored");
    let recovered = output(bootstrap(&["--recover"])).await;
    let text = String::from_utf8(recovered.stdout).expect("text");
    let value = |label: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(label));
        value.expect("it is printed").trim().to_owned()
    };

    let mut config = settings(&[]);
    config.stores.database = Some(database.url(SERVES).into());
    let service = Service::start(&config).await.expect("a service");
    assert!(service.administrator.is_none(), "serving makes none");
    let (http, url) = (reqwest::Client::new(), format!("http://{}/api/v1", service.address));
    let request = http.post(format!("{url}/token")).form(&[("grant_type", "client_credentials")]);
    let answer = request.basic_auth(value("client_id:"), Some(value("client_secret:"))).send().await;
    let token = answer.expect("an answer").json::<Value>().await.expect("JSON")["access_token"].clone();
    let request =
        http.get(format!("{url}/audit?action=agent.created")).bearer_auth(token.as_str().expect("a token"));
    let events = request.send().await.expect("an answer").json::<Value>().await.expect("JSON");
    let recoveries: Vec<_> =
        events["data"].as_array().expect("a list").iter().map(|event| &event["metadata"]).collect();
    assert_eq!(recoveries, [&json!({ "by": "operator", "recovery": true }), &json!({ "by": "operator" })]);
    service.end().await;
}

/// Starts a service on these stores, with its first administrator.
async fn start_on(stores: &OwnStores) -> TestServer {
    let mut config = settings(&["--store-wait-seconds", "10"]);
    config.stores.database = Some(stores.database_url(PASSWORD).into());
    config.stores.redis = Some(stores.redis_url(PASSWORD).into());
    TestServer::start_on(config).await
}

pub async fn readiness(server: &TestServer) -> (u16, Value) {
    let answer = server.send(server.request(reqwest::Method::GET, "/health/ready")).await;
    (answer.status.as_u16(), answer.json())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_it_is_degraded_and_serves_on() {
    let stores = OwnStores::start();
    let server = start_on(&stores).await;
    let admin = server.admin_token().await;
    let (status, whole) = readiness(&server).await;
    assert_eq!((status, &whole["status"]), (200, &json!("ok")));
    stores.stop_redis();
    let (status, degraded) = readiness(&server).await;
    assert_eq!((status, &degraded["status"]), (200, &json!("degraded")));
    assert_eq!(degraded["components"], json!({ "postgresql": "ok", "redis": "unavailable" }));
    let client = server.client(&admin, None, &["files:read"]).await;
    let token = server.token(&client, &[]).await;
    assert!(server.is_active(&token).await);
    server.post(&admin, &format!("/api/v1/agents/{}/tokens/revoke", client.id), json!({})).await;
    assert!(!server.is_active(&token).await, "Redis is not needed to kill");
    stores.start_redis();
    until(|| readiness(&server), |(_, body)| body["status"] == "ok").await;
    let key = format!("gen:{}", client.id);
    until(|| stores.redis_value(&key), |value| !value.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_postgresql_it_answers_503_and_comes_back_by_itself() {
    let stores = OwnStores::start();
    let server = start_on(&stores).await;
    let admin = server.admin_token().await;
    let client = server.client(&admin, None, &["files:read"]).await;
    let (registered, dead) = (server.token(&client, &[]).await, server.token(&client, &[]).await);
    let revoke = server.request(reqwest::Method::POST, "/api/v1/token/revoke").form(&[("token", &dead)]);
    let answer = server.send(revoke.basic_auth(&client.id, Some(&client.secret))).await;
    assert_eq!(answer.status, StatusCode::OK);
    let key = format!("revoked:{}", token_id(&dead));
    until(|| stores.redis_value(&key), |value| !value.is_empty()).await;

    stores.stop_postgres();
    let (status, away) = readiness(&server).await;
    assert_eq!((status, &away["status"]), (503, &json!("unavailable")));
    assert_eq!(away["components"], json!({ "postgresql": "unavailable", "redis": "ok" }));
    let asked = server.ask_token(&client, &[]).await;
    asked.assert_error(503, "temporarily_unavailable");
    assert!(asked.header("retry-after").is_some());
    server.get(&admin, "/api/v1/agents").await.assert_error(503, "SERVICE_UNAVAILABLE");
    server.get(&registered, "/api/v1/agents").await.assert_error(503, "SERVICE_UNAVAILABLE");
    server.get(&dead, "/api/v1/agents").await.assert_error(401, "UNAUTHORIZED");
    stores.start_postgres();
    until(|| readiness(&server), |(_, body)| body["status"] == "ok").await;
    until(|| server.ask_token(&client, &[]), |answer| answer.status == StatusCode::OK).await;
    assert!(server.is_active(&registered).await && !server.is_active(&dead).await);
}

fn token_id(token: &str) -> String {
    use base64::Engine as _;
    let payload = token.split('.').nth(1).expect("a JWT");
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).expect("base64url");
    let claims: Value = serde_json::from_slice(&payload).expect("JSON");
    claims["jti"].as_str().expect("an id").to_owned()
}

/// A revocation left unpublished by a crashed instance is published by the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_that_was_not_told_before_a_crash_is_told_after_it() {
    let stores = OwnStores::start();
    let mut alone = settings(&[]);
    alone.stores.database = Some(stores.database_url(PASSWORD).into());
    let server = TestServer::start_on(alone).await;
    let admin = server.admin_token().await;
    let agent = server.agent(&admin, None, &["files:read"]).await;
    server.post(&admin, &format!("/api/v1/agents/{agent}/tokens/revoke"), json!({})).await;
    let key = format!("gen:{agent}");
    assert_eq!(stores.redis_value(&key).await, "", "it knows no Redis");
    let _next = start_on(&stores).await;
    until(|| stores.redis_value(&key), |value| !value.is_empty()).await;
}

/// Restores a backup from before two revocations, with a token issued between them.
#[tokio::test]
async fn a_revocation_after_a_restore_makes_no_token_active_again() {
    for table in ["agents", "organizations"] {
        let database = Database::migrated().await;
        let mut config = settings(&[]);
        config.stores.database = Some(database.url(SERVES).into());
        let owner = database.client(OWNER).await;
        let server = TestServer::start_on(config).await;
        let admin = server.admin_token().await;
        let organization = server.organization(&admin, json!({})).await;
        let client = server.client(&admin, Some(&organization), &["files:read"]).await;
        let revoke = async || {
            server.advance(60);
            let path = format!("/api/v1/agents/{}/tokens/revoke", client.id);
            match table {
                "agents" => assert_eq!(server.post(&admin, &path, json!({})).await.status, 204),
                _ => {
                    for status in ["suspended", "active"] {
                        let path = format!("/api/v1/organizations/{organization}");
                        let answer = server.patch(&admin, &path, json!({ "status": status })).await;
                        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
                    }
                }
            }
        };
        owner.batch_execute(&format!("CREATE TABLE backup AS TABLE {table}")).await.expect("kept");
        revoke().await;
        let stolen = server.token(&client, &[]).await;
        assert!(server.is_active(&stolen).await);
        revoke().await;
        assert!(!server.is_active(&stolen).await);
        let restore = format!(
            "UPDATE {table} t SET generation = b.generation, revision = b.revision, updated_at = b.updated_at
             FROM backup b WHERE t.{id} = b.{id}",
            id = table.trim_end_matches('s').to_owned() + "_id"
        );
        owner.batch_execute(&restore).await.expect("restored");
        for _ in 0..3 {
            revoke().await;
            assert!(!server.is_active(&stolen).await, "{table}: a token from before the restore");
            assert!(server.is_active(&server.token(&client, &[]).await).await);
        }
    }
}

#[tokio::test]
async fn a_service_removes_what_is_past_when_it_starts() {
    let database = Database::migrated().await;
    let mut config = settings(&[]);
    config.stores.database = Some(database.url(SERVES).into());
    let first = Service::start(&config).await.expect("a service");
    first.end().await;
    let owner = database.client(OWNER).await;
    let past = "INSERT INTO token_revocations (token_id, organization_id, remembered_until)
        SELECT gen_random_uuid(), organization_id, '2000-01-01' FROM organizations";
    assert_eq!(owner.execute(past, &[]).await.expect("stored"), 1);
    let second = Service::start(&config).await.expect("a service");
    let left = async || {
        let count = "SELECT count(*) FROM token_revocations";
        owner.query_one(count, &[]).await.expect("an answer").get::<_, i64>(0)
    };
    until(left, |left| *left == 0).await;
    second.end().await;
}

/// Other programs have taken most of the connections that the server allows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_finds_no_room_for_a_connection_waits_for_one_and_it_says_degraded_until_there_is_room() {
    let database = Database::migrated().await;
    let mut config = settings(&["--db-pool-max", "20"]);
    config.stores.database = Some(database.url(SERVES).into());
    let metrics = free_address();
    config.metrics = Some(metrics);
    let server = TestServer::start_on(config).await;
    let admin = server.unlimited_admin_token().await;
    assert_eq!(readiness(&server).await.1["status"], "ok");

    let superuser = database.client("postgres").await;
    let allow = async |connections: i32| {
        let allow = format!(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I CONNECTION LIMIT {connections}', current_database()); END $$"
        );
        superuser.batch_execute(&allow).await.expect("changed");
    };
    let count = "SELECT count(*)::integer FROM pg_stat_activity WHERE datname = current_database() AND usename = 'agentidp'";
    let open: i32 = superuser.query_one(count, &[]).await.expect("an answer").get(0);
    allow(open + 1).await;
    let agents: Vec<String> = (0..60).map(|number| format!("/api/v1/agents?owner=owner-{number}")).collect();
    let asked = agents.iter().map(|path| server.get(&admin, path));
    for answer in futures_util::future::join_all(asked).await {
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    }
    let (status, body) = readiness(&server).await;
    assert_eq!((status, &body["status"]), (200, &json!("degraded")));
    assert_eq!(body["components"], json!({ "postgresql": "ok" }));
    server.agent(&admin, None, &["files:read"]).await;
    let metrics = reqwest::get(format!("http://{metrics}/metrics")).await.expect("an answer");
    let metrics = metrics.text().await.expect("text");
    let refused = metrics.lines().find_map(|line| {
        let count = line.strip_prefix("agentidp_connections_refused_total{store=\"postgresql\"} ");
        count.and_then(|count| count.parse::<u64>().ok())
    });
    assert!(refused.is_some_and(|count| count > 0), "{metrics}");

    // All connections are lost, and one comes back: what is batched waits for its turn too.
    allow(0).await;
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'agentidp'";
    superuser.batch_execute(cut).await.expect("cut");
    let waiting = tokio::spawn({
        let request = server.request(reqwest::Method::GET, "/api/v1/agents?limit=1").bearer_auth(&admin);
        async move { request.send().await.expect("an answer").status() }
    });
    until(
        async || superuser.query_one(count, &[]).await.expect("an answer").get::<_, i32>(0),
        |open| *open == 0,
    )
    .await;
    allow(-1).await;
    assert_eq!(waiting.await.expect("no panic"), StatusCode::OK);
    until(|| readiness(&server), |(_, body)| body["status"] == "ok").await;
}

/// The log of a service whose connections the server ends now and then, as time limits of idle sessions do, is calm.
#[tokio::test]
async fn sessions_that_the_server_has_ended_are_replaced_without_a_warning() {
    let database = Database::migrated().await;
    let mut command = program(&["bootstrap"]);
    command.env("DATABASE_URL", database.url(SERVES));
    let made = String::from_utf8(output(command).await.stdout).expect("text");
    let value = |name: &str| {
        let line = made.lines().find_map(|line| line.strip_prefix(name)).expect("it is printed");
        line.trim().to_owned()
    };
    let administrator = (value("client_id:"), value("client_secret:"));

    let mut command = program(&["serve"]);
    command.env("DATABASE_URL", database.url(SERVES)).env("RUST_LOG", "info");
    let mut child = command.spawn().expect("it runs");
    let mut out = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let reading = async {
        while let Some(line) = out.next_line().await.expect("text") {
            if let Some((_, url)) = line.split_once("Explore the API: ") {
                return url.trim_end_matches("/docs").to_owned();
            }
        }
        panic!("it ended");
    };
    let url = tokio::time::timeout(LONG, reading).await.expect("in time");
    let http = reqwest::Client::new();
    let form = [("grant_type", "client_credentials"), ("scope", "agents:read")];
    let token = http.post(format!("{url}/api/v1/token")).basic_auth(administrator.0, Some(administrator.1));
    let token: Value = token.form(&form).send().await.expect("an answer").json().await.expect("JSON");
    let superuser = database.client("postgres").await;
    for _ in 0..3 {
        let agents = http.get(format!("{url}/api/v1/agents?owner=ops"));
        let answer = agents.bearer_auth(token["access_token"].as_str().expect("a token")).send().await;
        assert_eq!(answer.expect("an answer").status(), StatusCode::OK);
        let cut = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'agentidp'";
        superuser.batch_execute(cut).await.expect("cut");
    }
    let end = Command::new("kill").args(["-TERM", &child.id().expect("it runs").to_string()]).status().await;
    assert!(end.expect("kill runs").success());
    let rest =
        tokio::time::timeout(LONG, child.wait_with_output()).await.expect("in time").expect("it ended");
    let log = String::from_utf8(rest.stderr).expect("text");
    assert!(log.contains("stopped") && !log.contains("WARN") && !log.contains("ERROR"), "{log}");
}
