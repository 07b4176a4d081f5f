//! A primary and a lagging standby that streams from it: only the server that accepts writes is used.

use reqwest::StatusCode;
use serde_json::{Value, json};
use testing::{SupervisedServer, TestServer, settings, shell};

use crate::stores::{readiness, until};

/// Delay of the standby, in seconds.
const LAG: u32 = 3;

/// A primary on port 5432 and its standby on port 5433, in one folder.
struct Pair(SupervisedServer);

impl Pair {
    fn start() -> Self {
        Self(SupervisedServer::start(
            &format!(
                "initdb --no-sync -A trust -U postgres -E UTF8 --locale=C -D primary && \
                 printf \"listen_addresses=''\\nunix_socket_directories='$folder'\\nfsync=off\\n\" >>primary/postgresql.conf && \
                 pg_ctl -w -D primary -l primary.log start && \
                 pg_basebackup -h \"$folder\" -U postgres -D standby -R -c fast --no-sync && \
                 printf \"port=5433\\nrecovery_min_apply_delay='{LAG}s'\\n\" >>standby/postgresql.conf && \
                 pg_ctl -w -D standby -l standby.log start"
            ),
            "pg_ctl -D primary -m immediate stop; pg_ctl -D standby -m immediate stop",
        ))
    }

    /// Returns a URL that names both servers, the standby first.
    /// Operators may list them in any order.
    fn url(&self) -> String {
        let folder = self.0.folder.to_str().expect("text").replace('/', "%2F");
        format!("postgres://postgres@{folder}:5433,{folder}:5432/postgres")
    }

    fn run(&self, command: &str) {
        let script = format!("folder=$PWD; {{ {command}; }} >>log 2>&1 </dev/null");
        let status = shell(&script).current_dir(&self.0.folder).status().expect("a shell");
        assert!(status.success(), "{command}");
    }

    /// Stops the primary as a crash would.
    fn kill_primary(&self) {
        self.run("pg_ctl -D primary -m immediate stop");
    }

    fn ask_standby(&self, sql: &str) {
        self.run(&format!("psql -h \"$folder\" -p 5433 -U postgres -qc \"{sql}\""));
    }
}

async fn start_on(pair: &Pair) -> TestServer {
    let mut config = settings(&["--store-wait-seconds", "10", "--db-pool-max", "4"]);
    config.stores.database = Some(pair.url().into());
    TestServer::start_on(config).await
}

async fn kill(server: &TestServer, admin: &str, client: &str) -> StatusCode {
    server.post(admin, &format!("/api/v1/agents/{client}/tokens/revoke"), json!({})).await.status
}

/// Returns whether a token is active, or `null` if the service cannot know (503).
async fn active(server: &TestServer, token: &str) -> Value {
    let caller = server.administrator();
    let request = server.request(reqwest::Method::POST, "/api/v1/token/introspect").form(&[("token", token)]);
    let answer = server.send(request.basic_auth(caller.id, Some(caller.secret))).await;
    match answer.status {
        StatusCode::SERVICE_UNAVAILABLE => Value::Null,
        StatusCode::OK => answer.json()["active"].clone(),
        status => panic!("{status}: {}", answer.text),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_lags_is_never_asked_however_the_primary_goes_and_comes() {
    let pair = Pair::start();
    let server = start_on(&pair).await;
    let admin = server.admin_token().await;
    for _ in 0..2 {
        // The client was registered just now, so the standby does not know it yet.
        let client = server.client(&admin, None, &["files:read"]).await;
        let (killed, registered) = (server.token(&client, &[]).await, server.token(&client, &[]).await);
        let other = server.client(&admin, None, &["files:read"]).await;
        let kept = server.token(&other, &[]).await;
        pair.kill_primary();
        // When reconnecting, the service tries the standby first.
        for token in [&killed, &registered, &kept] {
            assert_eq!(active(&server, token).await, Value::Null, "503 is the only true answer");
        }
        let agent = format!("/api/v1/agents/{}", other.id);
        server.get(&admin, &agent).await.assert_error(503, "SERVICE_UNAVAILABLE");
        assert_eq!(readiness(&server).await.0, 503);
        pair.run("pg_ctl -w -D primary -l primary.log start");
        until(|| readiness(&server), |(status, _)| *status == 200).await;
        until(|| kill(&server, &admin, &client.id), |status| *status == 204).await;
        assert_eq!(active(&server, &killed).await, json!(false));
        assert_eq!(active(&server, &registered).await, json!(false));
        assert_eq!(active(&server, &kept).await, json!(true));
        // Every pooled connection leads to the primary.
        for _ in 0..8 {
            let change = server.patch(&admin, &agent, json!({ "owner": "another team" })).await;
            assert_eq!(change.status, StatusCode::OK, "{}", change.text);
            assert_eq!(server.get(&admin, &agent).await.json()["owner"], "another team");
            server.patch(&admin, &agent, json!({ "owner": "team" })).await;
        }
    }
    server.service.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_is_promoted_is_served_on_by_itself() {
    let pair = Pair::start();
    let server = start_on(&pair).await;
    let admin = server.admin_token().await;
    let client = server.client(&admin, None, &["files:read"]).await;
    let killed = server.token(&client, &[]).await;
    assert_eq!(kill(&server, &admin, &client.id).await, 204);
    let kept = server.token(&client, &[]).await;
    // An asynchronous standby may be promoted before it has received everything that the primary
    // acknowledged. In this test all of it has been received and is waiting to be applied.
    pair.run(
        "wait_until sh -c '[ \"$(psql -h \"'$folder'\" -U postgres -Atc \
         \"SELECT count(*) FROM pg_stat_replication WHERE flush_lsn = pg_current_wal_lsn()\")\" = 1 ]'",
    );
    pair.kill_primary();
    assert_eq!(active(&server, &killed).await, Value::Null);
    pair.run("pg_ctl -w -D standby promote");
    until(|| readiness(&server), |(status, _)| *status == 200).await;
    until(|| active(&server, &kept), |active| *active == json!(true)).await;
    assert_eq!(active(&server, &killed).await, json!(false));
    until(|| kill(&server, &admin, &client.id), |status| *status == 204).await;
    assert_eq!(active(&server, &kept).await, json!(false));
    assert!(server.is_active(&server.token(&client, &[]).await).await);
    server.service.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_no_writes_is_not_ready_and_comes_back_by_itself() {
    let pair = Pair::start();
    pair.run("pg_ctl -w -D standby promote");
    pair.kill_primary();
    let server = start_on(&pair).await;
    let admin = server.admin_token().await;
    let client = server.client(&admin, None, &["files:read"]).await;
    pair.ask_standby("ALTER SYSTEM SET default_transaction_read_only = on");
    pair.ask_standby("SELECT pg_reload_conf()");
    until(|| readiness(&server), |(status, body)| *status == 503 && body["status"] == "unavailable").await;
    server.ask_token(&client, &[]).await.assert_error(503, "temporarily_unavailable");
    assert_eq!(kill(&server, &admin, &client.id).await, 503);
    pair.run("sed -i /read_only/d standby/postgresql.auto.conf && pg_ctl -D standby reload");
    until(|| readiness(&server), |(status, _)| *status == 200).await;
    until(|| kill(&server, &admin, &client.id), |status| *status == 204).await;
    until(|| server.ask_token(&client, &[]), |answer| answer.status == StatusCode::OK).await;
    server.service.end().await;
}
