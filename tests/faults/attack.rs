//! A well-behaved client while others attack.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use testing::Client;
use tokio::task::JoinSet;
use tokio::time::interval;

use crate::cluster::Cluster;
use crate::report::{Report, Setting, share};
use crate::wire::{Wire, basic, bearer, form, json as json_request, token_request};

/// How often the well-behaved client requests a token.
const PACE: Duration = Duration::from_millis(50);
/// Upper bound of the 99th percentile of its response times.
const P99: Duration = Duration::from_secs(1);
/// Number of concurrent attackers.
const ATTACKERS: usize = 24;
/// Memory that the service must stay below after all attacks, in MB.
const MOST_MEMORY: f64 = 250.0;

/// Runs every attack in turn.
pub async fn run(setting: &Setting) -> Report {
    let cluster = Arc::new(Cluster::start(1, &[("BCRYPT_COST", "10")], &setting.folder).await);
    let admin = cluster.calm.admin_token().await;
    let good = cluster.calm.client(&admin, None, &["files:read"]).await;
    cluster.calm.token(&good, &[]).await;
    let suspended = cluster.calm.client(&admin, None, &["files:read"]).await;
    let path = format!("/api/v1/agents/{}", suspended.id);
    let body = json!({ "status": "suspended" });
    assert_eq!(cluster.calm.patch(&admin, &path, body).await.status, 200);
    let mut report = Report::default();
    let attacks = attacks(&good, &suspended, &admin);
    let each = setting.time / u32::try_from(attacks.len() + 4).expect("few");

    let calm = behave(&cluster, &good, each, &mut report, "nothing").await;
    report.figure("nothing", calm);
    for (name, request) in attacks {
        let is_over = Arc::new(AtomicBool::new(false));
        let mut attackers = JoinSet::new();
        for _ in 0..ATTACKERS {
            attackers.spawn(flood(cluster.clone(), request.clone(), is_over.clone()));
        }
        let figures = behave(&cluster, &good, each, &mut report, name).await;
        is_over.store(true, Ordering::Release);
        let sent: usize = attackers.join_all().await.into_iter().sum();
        report.figure(name, format!("{figures}, {sent} attacks"));
    }
    let figures = cold_starts(&cluster, &admin, &good, each, &mut report).await;
    report.figure("first logins at once", figures);
    for (name, number, part) in [
        ("heads that never end", 500, "POST /api/v1/token HTTP/1.1\r\nHost: agentidp.test\r\nX-Slow: "),
        ("connections that say nothing", 1_000, ""),
    ] {
        let mut wires = Vec::new();
        for _ in 0..number {
            let mut wire = Wire::to(&cluster, 0).await.expect("a connection");
            // The service may already have closed the connection, as it should.
            let _ = wire.begin(part.as_bytes()).await;
            wires.push(wire);
        }
        let figures = behave(&cluster, &good, each, &mut report, name).await;
        report.figure(name, figures);
    }
    let memory = resident(cluster.instances[0].id());
    report.hold(memory < MOST_MEMORY, || format!("it needs {memory:.0} MB after the attacks"));
    report.figure("memory after all", format!("{memory:.0} MB"));
    report
}

/// Returns the requests that attackers repeat without end.
fn attacks(good: &Client, suspended: &Client, admin: &str) -> Vec<(&'static str, Vec<u8>)> {
    let wrong = Client { secret: wrong_secret(), ..good.clone() };
    let unknown = Client { id: testing::UNKNOWN_ID.into(), ..wrong.clone() };
    let scope = "files:read ".repeat(9_000);
    let brackets = "[],".repeat(300_000);
    let garbage = "x".repeat(1_000_000);
    vec![
        ("wrong secrets", token_request(&wrong)),
        ("unknown clients", token_request(&unknown)),
        ("a suspended client's right secret", token_request(suspended)),
        (
            "scopes of 100 KB",
            form("/api/v1/token", &basic(good), &format!("grant_type=client_credentials&scope={scope}")),
        ),
        ("JSON of 900 KB", json_request("/api/v1/agents", &bearer(admin), &format!("[{brackets}[]]"))),
        ("deep JSON", json_request("/api/v1/agents", &bearer(admin), &"[".repeat(1_000_000))),
        (
            "garbage of 1 MB as a token",
            form("/api/v1/token/introspect", &bearer(admin), &format!("token={garbage}")),
        ),
    ]
}

/// Returns a well-formed secret, with a valid checksum, that belongs to no client.
fn wrong_secret() -> String {
    let text = format!("aidp_sk_{}", "0123456789abcdef".repeat(3));
    format!("{text}{:08x}", crc32fast::hash(text.as_bytes()))
}

/// Repeats a request until the attack is over, and returns how often it was sent.
async fn flood(cluster: Arc<Cluster>, request: Vec<u8>, is_over: Arc<AtomicBool>) -> usize {
    let mut sent = 0;
    while !is_over.load(Ordering::Acquire) {
        let Ok(mut wire) = Wire::to(&cluster, 0).await else { continue };
        while !is_over.load(Ordering::Acquire) && wire.ask(&request).await.is_ok() {
            sent += 1;
        }
    }
    sent
}

/// Requests tokens as a well-behaved client does, and returns a summary of the answers.
async fn behave(
    cluster: &Cluster,
    good: &Client,
    time: Duration,
    report: &mut Report,
    attack: &str,
) -> String {
    let request = token_request(good);
    let mut pace = interval(PACE);
    let mut times = Vec::new();
    let mut asked = 0;
    while asked == 0 || PACE * asked < time {
        pace.tick().await;
        asked += 1;
        let Ok(mut wire) = Wire::to(cluster, 0).await else { continue };
        let start = cluster.history.now();
        let answer = wire.ask(&request).await;
        cluster.history.other("token", 0, start, answer.as_ref().map_or(0, |(status, _)| *status));
        if let Ok((200, time)) = answer {
            times.push(time);
        }
    }
    let (served, p99) = (times.len(), share(&mut times, 0.99));
    report.hold(served == asked as usize, || format!("{served} of {asked} were served under: {attack}"));
    report.hold(p99 < P99, || format!("p99 {p99:?} under: {attack}"));
    format!("{served} of {asked} served, p99 {:.0} ms", p99.as_secs_f64() * 1e3)
}

/// Sends the first requests of many new secrets at once.
/// Each of them costs a bcrypt.
async fn cold_starts(
    cluster: &Arc<Cluster>,
    admin: &str,
    good: &Client,
    time: Duration,
    report: &mut Report,
) -> String {
    let number = usize::try_from(time.as_secs() * 20).expect("few").clamp(20, 1_000);
    let mut new = Vec::new();
    for _ in 0..number {
        new.push(cluster.calm.client(admin, None, &["files:read"]).await);
    }
    let mut logins = JoinSet::new();
    for client in new {
        let request = cluster.ask_token(0, &client);
        logins.spawn(async move { request.send().await.map_or(0, |answer| answer.status().as_u16()) });
    }
    let figures = behave(cluster, good, time, report, "first logins at once").await;
    let answers = logins.join_all().await;
    let wrong = answers.iter().filter(|status| !matches!(status, 200 | 503)).count();
    report.hold(wrong == 0, || format!("{wrong} first logins were answered neither 200 nor 503"));
    let in_time = answers.iter().filter(|status| **status == 200).count();
    format!("{figures}, {in_time} of {number} logins at once")
}

/// Returns the resident memory of a process, in MB.
pub fn resident(process: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") / 1024.0
}
