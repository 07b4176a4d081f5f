//! The log: one line for each request, and no more than standard error takes.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;
use testing::{Database, SERVES};

use crate::program::{Program, bootstrap};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_has_one_line_with_the_ids_to_search_for() {
    for level in ["info", "debug"] {
        one_line_each(level).await;
    }
}

async fn one_line_each(level: &str) {
    let program = Program::in_memory(&[("RUST_LOG", level)]).await;
    let server = &program.client;
    let admin = server.admin_token().await;
    let agent = server.agent(&admin, None, &["files:read"]).await;
    let request = server.request(Method::GET, &format!("/api/v1/agents/{agent}")).bearer_auth(&admin);
    let traced = request.header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"));
    assert_eq!(server.send(traced.header("x-request-id", "one")).await.status, StatusCode::OK);
    let unknown = server.request(Method::GET, "/api/v1/agents?secret=hunter2").header("x-request-id", "two");
    assert_eq!(server.send(unknown.bearer_auth("hunter2")).await.status, StatusCode::UNAUTHORIZED);
    let health = server.request(Method::GET, "/health").header("x-request-id", "three");
    assert_eq!(server.send(health).await.status, StatusCode::OK);
    let administrator = server.administrator().id;

    let log = program.end().await;
    let of = |id: &str| log.iter().filter(|line| line["request_id"] == id).collect::<Vec<_>>();
    let [one] = of("one")[..] else { panic!("{log:?}") };
    assert_eq!(one["trace_id"], TRACE);
    assert_eq!(one["client_id"], administrator);
    assert_eq!(one["route"], "/api/v1/agents/{agentId}");
    assert_eq!((&one["method"], &one["status"]), (&json!("GET"), &json!(200)));
    assert!(one["organization_id"].is_string() && one["duration_ms"].as_f64() > Some(0.0), "{one}");
    let [two] = of("two")[..] else { panic!("{log:?}") };
    assert_eq!((&two["status"], two.get("client_id"), two.get("trace_id")), (&json!(401), None, None));
    assert_eq!((&two["reason"], &two["auth_method"]), (&json!("signature"), &json!("bearer")));
    assert_eq!((&two["address"], one.get("reason")), (&json!("127.0.0.1"), None));
    assert_eq!(of("three").is_empty(), level == "info", "health probes are logged at debug only");
    assert!(!log.iter().any(|line| line.to_string().contains("hunter2")), "no query and no token is logged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lines_of_requests_can_be_turned_off_alone() {
    let program = Program::in_memory(&[("RUST_LOG", "info,agentidp_http::requests=off")]).await;
    program.client.admin_token().await;
    let log = program.end().await;
    assert!(!log.is_empty() && !log.iter().any(|line| line["message"] == "answered"), "{log:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_is_logged_once_with_its_whole_chain() {
    let database = Database::migrated().await;
    let administrator = bootstrap(&database).await;
    let database_url = database.url(SERVES);
    let program =
        Program::start(&administrator, &[("DATABASE_URL", database_url.as_str()), ("RUST_LOG", "info")])
            .await;
    let server = &program.client;
    let admin = server.admin_token().await;
    let owner = database.client("postgres").await;
    owner.batch_execute("ALTER TABLE agent_counts RENAME TO elsewhere").await.expect("renamed");
    let list =
        server.request(Method::GET, "/api/v1/agents").bearer_auth(&admin).header("x-request-id", "broken");
    assert_eq!(server.send(list).await.status, StatusCode::INTERNAL_SERVER_ERROR);
    let log = program.end().await;
    let failures: Vec<_> =
        log.iter().filter(|line| line["request_id"] == "broken" && line["level"] == "ERROR").collect();
    let [failure] = failures[..] else { panic!("{log:?}") };
    assert!(failure["cause"].as_str().is_some_and(|cause| cause.contains("agent_counts")), "{failure}");
}

/// Nothing reads standard error, whose pipe takes 64 KiB.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_not_read_delays_no_request_and_its_lost_lines_are_counted() {
    let program = Program::in_memory(&[("RUST_LOG", "trace")]).await;
    let server = &program.client;
    let asking = async {
        loop {
            let probes = (0..200).map(|_| server.request(Method::GET, "/health").send());
            for answer in futures_util::future::join_all(probes).await {
                assert_eq!(answer.expect("an answer").status(), StatusCode::OK);
            }
            let scrape = program.scrape().await;
            if scrape.value("agentidp_log_lines_dropped_total", &[]) > Some(0.0) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(120), asking).await.expect("lines are dropped");
}
