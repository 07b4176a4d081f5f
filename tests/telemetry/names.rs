//! Every metric, and an action that moves it.

use std::process::Stdio;

use reqwest::{Method, StatusCode};
use serde_json::json;
use testing::{Client, Database, SERVES, new_agent, redis_url};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::program::{Program, Scrape, bootstrap, until};

const HOUR: i64 = 3_600;

/// Returns the time in this many seconds, in RFC 3339.
async fn in_seconds(seconds: i64) -> String {
    let output =
        Command::new("date").args(["-u", "-d", &format!("{seconds} seconds"), "+%FT%TZ"]).output().await;
    String::from_utf8(output.expect("date runs").stdout).expect("text").trim().to_owned()
}

/// Panics unless the metric has grown by this much between two scrapes.
fn assert_grown(before: &Scrape, after: &Scrape, name: &str, labels: &[&str], by: f64) {
    let value = |scrape: &Scrape| scrape.value(name, labels);
    let Some(was) = value(before) else { panic!("{name} {labels:?} is not reported before it moves") };
    let is = value(after).unwrap_or(f64::NAN);
    let others: Vec<_> = after.0.lines().filter(|line| line.starts_with(name)).collect();
    assert!(
        (is - was - by).abs() < 0.001,
        "{name} {labels:?} was {was} and is {is}, not {by} more: {others:#?}"
    );
}

/// Panics unless the metric is reported and is at least this.
fn assert_at_least(scrape: &Scrape, name: &str, labels: &[&str], least: f64) {
    let value = scrape.value(name, labels);
    assert!(value.is_some_and(|value| value >= least), "{name} {labels:?} is {value:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_counter_counts_what_its_description_says() {
    let database = Database::migrated().await;
    let administrator = bootstrap(&database).await;
    let (database_url, redis) = (database.url(SERVES), redis_url());
    let environment = [
        ("DATABASE_URL", database_url.as_str()),
        ("REDIS_URL", &redis),
        ("ADDRESS_REQUESTS_PER_MINUTE", "1"),
        ("ISSUER_PRIVATE_NETWORKS", "127.0.0.0/8"),
    ];
    let program = Program::start(&administrator, &environment).await;
    let server = &program.client;
    let admin = server.unlimited_admin_token().await;
    let before = program.scrape().await;

    let organization = server.organization(&admin, json!({ "limits": { "maxTokensPerMonth": 2 } })).await;
    let client = server.client(&admin, Some(&organization), &["files:read"]).await;
    let other = server.client(&admin, None, &["files:read"]).await;
    let third = server.agent(&admin, None, &["files:read"]).await;
    let token = server.token(&client, &[]).await;
    server.token(&client, &[]).await;
    assert_eq!(server.ask_token(&client, &[]).await.code(), "FREE_TIER_LIMIT_EXCEEDED");
    let unsupported = server.request(Method::POST, "/api/v1/token").form(&[("grant_type", "password")]);
    assert_eq!(server.send(unsupported).await.status, StatusCode::BAD_REQUEST);
    let unknown = Client { id: third.clone(), secret: "x".to_owned(), credential: String::new() };
    assert_eq!(server.ask_token(&unknown, &[]).await.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(server.is_active(&token).await);
    let revoked = server.request(Method::POST, "/api/v1/token/revoke").form(&[("token", &token)]);
    assert_eq!(server.send(revoked.bearer_auth(&admin)).await.status, StatusCode::OK);
    assert!(!server.is_active(&token).await);
    for path in [
        format!("/api/v1/agents/{third}/tokens/revoke"),
        format!("/api/v1/agents/{}/tokens/revoke", client.id),
    ] {
        assert_eq!(server.post(&admin, &path, json!({})).await.status, StatusCode::NO_CONTENT);
    }
    let credentials = format!("/api/v1/agents/{}/credentials", other.id);
    let listed = server.get(&admin, &credentials).await.json();
    let credential = listed["data"][0]["credentialId"].as_str().expect("an id").to_owned();
    let answer = server.delete(&admin, &format!("{credentials}/{credential}")).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    let suspended = json!({ "status": "suspended" });
    server.patch(&admin, &format!("/api/v1/organizations/{organization}"), suspended.clone()).await;
    // No server listens there.
    let issuer = json!({
        "name": "CI", "issuer": "https://127.0.0.1:1",
        "keys": { "type": "jwks_uri", "uri": "https://127.0.0.1:1/keys" },
        "subjects": { "mayAct": [third], "scopes": ["files:read"], "audiences": ["people"], "maxAgeSeconds": 300 },
    });
    let answer = server.post(&admin, "/api/v1/issuers", issuer).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    let issuer = format!("/api/v1/issuers/{}", answer.json()["issuerId"].as_str().expect("an id"));
    let subject = json!({ "subject": "anna" });
    let answer = server.post(&admin, &format!("{issuer}/subjects/revoke"), subject).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.text);
    assert_eq!(server.patch(&admin, &issuer, suspended).await.status, StatusCode::OK);

    let after = until(&program, |scrape| scrape.value("agentidp_issuer_keys_stale", &[]) == Some(1.0)).await;
    for (name, labels, by) in [
        (
            "agentidp_http_requests_total",
            &[r#"method="POST""#, r#"path="/api/v1/agents""#, r#"status="201""#][..],
            3.0,
        ),
        (
            "agentidp_http_request_duration_seconds_count",
            &[r#"method="POST""#, r#"path="/api/v1/token""#],
            5.0,
        ),
        (
            "agentidp_tokens_issued_total",
            &[r#"grant="client_credentials""#, r#"client_auth="client_secret""#],
            2.0,
        ),
        ("agentidp_token_refusals_total", &[r#"error="unsupported_grant_type""#], 1.0),
        ("agentidp_token_refusals_total", &[r#"error="temporarily_unavailable""#], 1.0),
        ("agentidp_token_refusals_total", &[r#"error="access_denied""#], 1.0),
        ("agentidp_introspections_total", &[r#"active="true""#], 1.0),
        ("agentidp_introspections_total", &[r#"active="false""#], 1.0),
        ("agentidp_revocations_total", &[r#"kind="token""#], 1.0),
        ("agentidp_revocations_total", &[r#"kind="agent""#], 2.0),
        ("agentidp_revocations_total", &[r#"kind="credential""#], 1.0),
        ("agentidp_revocations_total", &[r#"kind="organization""#], 1.0),
        ("agentidp_revocations_total", &[r#"kind="issuer""#], 1.0),
        ("agentidp_revocations_total", &[r#"kind="subject""#], 1.0),
        ("agentidp_rate_limit_rejections_total", &[r#"key="address""#], 1.0),
        ("agentidp_rate_limit_rejections_total", &[r#"key="client""#], 0.0),
        ("agentidp_quota_rejections_total", &[], 1.0),
        ("agentidp_db_batch_size_sum", &[r#"operation="agent_store.register""#], 3.0),
        ("agentidp_bcrypt_duration_seconds_count", &[], 2.0),
        ("agentidp_secret_cache_total", &[r#"result="miss""#], 0.0),
        ("agentidp_secret_cache_total", &[r#"result="stored""#], 1.0),
        ("agentidp_signing_duration_seconds_count", &[r#"alg="RS256""#], 2.0),
        ("agentidp_issuer_fetches_total", &[r#"result="failed""#], 1.0),
        ("agentidp_issuer_fetches_total", &[r#"result="ok""#], 0.0),
        ("agentidp_audit_dropped_total", &[], 0.0),
        ("agentidp_store_failures_total", &[], 0.0),
    ] {
        assert_grown(&before, &after, name, labels, by);
    }
    for (name, labels, least) in [
        ("agentidp_build_info", &[concat!("version=\"", env!("CARGO_PKG_VERSION"), "\"")][..], 1.0),
        ("agentidp_http_connections", &[], 1.0),
        ("agentidp_db_query_duration_seconds_count", &[r#"operation="token_store.issue""#], 3.0),
        ("agentidp_db_queue_depth", &[r#"operation="token_store.issue""#], 0.0),
        ("agentidp_db_connections", &[r#"state="idle""#], 1.0),
        ("agentidp_db_connections", &[r#"state="in_use""#], 0.0),
        ("agentidp_redis_command_duration_seconds_count", &[r#"command="evalsha""#], 10.0),
        ("agentidp_store_up", &[r#"store="postgresql""#], 1.0),
        ("agentidp_store_up", &[r#"store="redis""#], 1.0),
        // The administrator's secret was hashed by another process.
        ("agentidp_secret_cache_total", &[r#"result="miss""#], 1.0),
        ("agentidp_secret_cache_total", &[r#"result="hit""#], 2.0),
        ("agentidp_bcrypt_queue_depth", &[], 0.0),
        ("agentidp_signing_key_age_seconds", &[r#"state="signing""#], 0.0),
        ("process_cpu_seconds_total", &[], 0.0),
        ("process_resident_memory_bytes", &[], 1e6),
        ("process_open_fds", &[], 10.0),
    ] {
        assert_at_least(&after, name, labels, least);
    }
}

/// The counts are read once a minute, the first time at the start, so each state is that of a new process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gauges_of_the_stores_are_what_is_in_them() {
    let database = Database::migrated().await;
    let administrator = bootstrap(&database).await;
    let database_url = database.url(SERVES);
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("key.pem");
    std::fs::write(&key, testing::RSA_PEM.as_str()).expect("written");
    let ten_days_ago = Command::new("touch").args(["-d", "10 days ago"]).arg(&key).status().await;
    assert!(ten_days_ago.expect("touch runs").success());
    let environment = [
        ("DATABASE_URL", database_url.as_str()),
        // No server listens there.
        ("REDIS_URL", "redis://127.0.0.1:1"),
        ("STORE_WAIT_SECONDS", "0"),
        ("JWT_PRIVATE_KEY", ""),
        ("JWT_PRIVATE_KEY_FILE", key.to_str().expect("text")),
    ];
    let first = Program::start(&administrator, &environment).await;
    let server = &first.client;
    let admin = server.unlimited_admin_token().await;
    let agent = server.agent(&admin, None, &["files:read"]).await;
    let path = format!("/api/v1/agents/{agent}");
    for ends in [HOUR, 8 * 24 * HOUR] {
        let body = json!({ "expiresAt": in_seconds(ends).await });
        let made = server.post(&admin, &format!("{path}/credentials"), body).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    }
    for status in ["suspended", "active"] {
        assert_eq!(server.patch(&admin, &path, json!({ "status": status })).await.status, StatusCode::OK);
    }
    let suspended = server.agent(&admin, None, &["files:read"]).await;
    let path = format!("/api/v1/agents/{suspended}");
    server.patch(&admin, &path, json!({ "status": "suspended" })).await;
    let gone = server.post(&admin, "/api/v1/agents", new_agent(&["files:read"])).await.json();
    let gone = format!("/api/v1/agents/{}", gone["agentId"].as_str().expect("an id"));
    assert_eq!(server.delete(&admin, &gone).await.status, StatusCode::NO_CONTENT);

    let second = Program::start(&administrator, &environment).await;
    let scrape = until(&second, |scrape| {
        scrape.value("agentidp_outbox_pending", &[]) > Some(0.0)
            && scrape.value("agentidp_store_up", &[r#"store="redis""#]).is_some()
    })
    .await;
    for (name, labels, value) in [
        ("agentidp_agents", &[r#"status="active""#][..], 2.0),
        ("agentidp_agents", &[r#"status="suspended""#], 1.0),
        ("agentidp_agents", &[r#"status="decommissioned""#], 1.0),
        ("agentidp_credentials_expiring", &[r#"within="7d""#], 1.0),
        ("agentidp_outbox_pending", &[], 3.0),
        ("agentidp_store_up", &[r#"store="redis""#], 0.0),
        ("agentidp_store_up", &[r#"store="postgresql""#], 1.0),
    ] {
        assert_eq!(scrape.value(name, labels), Some(value), "{name} {labels:?}");
    }
    assert_at_least(&scrape, "agentidp_store_failures_total", &["Redis"], 1.0);
    assert_at_least(&scrape, "agentidp_signing_key_age_seconds", &["signing"], 10.0 * 86_400.0);
}

/// The page has one row for each metric, and no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_describes_each_metric_that_is_reported() {
    let page = include_str!("../../docs/metrics.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split(['`', '{']).next());
    let documented: std::collections::BTreeSet<_> = rows.collect();
    let database = Database::migrated().await;
    let administrator = bootstrap(&database).await;
    let (database_url, redis) = (database.url(SERVES), redis_url());
    let environment = [("DATABASE_URL", database_url.as_str()), ("REDIS_URL", &redis)];
    let program = Program::start(&administrator, &environment).await;
    program.client.unlimited_admin_token().await;
    let scrape = until(&program, |scrape| scrape.value("agentidp_store_up", &[]).is_some()).await;
    let names = scrape.names();
    let reported: std::collections::BTreeSet<_> = names.iter().map(String::as_str).collect();
    // Reported once a store has refused a connection.
    let rare = std::collections::BTreeSet::from(["agentidp_connections_refused_total"]);
    assert_eq!(documented, reported.union(&rare).copied().collect());

    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs");
    promtool.stdin.take().expect("a pipe").write_all(scrape.0.as_bytes()).await.expect("it reads");
    let output = promtool.wait_with_output().await.expect("it ends");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.is_empty(), "{text}");
}
