//! Starts and shutdowns that no client notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use tokio::task::JoinSet;
use tokio::time::interval;

use crate::cluster::Cluster;
use crate::pace::wait;
use crate::report::{Report, Setting, share};

/// How often the balancer checks whether an instance is ready.
const PROBE: Duration = Duration::from_millis(100);
/// Interval of the token requests.
const PACE: Duration = Duration::from_millis(5);

/// Stops and starts each instance in turn under 200 requests a second.
/// A simple balancer distributes the requests.
pub async fn rolling_restart(setting: &Setting) -> Report {
    let cluster = Arc::new(Cluster::start(2, &[("DRAIN_SECONDS", "2")], &setting.folder).await);
    let admin = cluster.calm.admin_token().await;
    let client = cluster.calm.client(&admin, None, &["files:read"]).await;
    let ready: Arc<Vec<AtomicBool>> = Arc::new((0..2).map(|_| AtomicBool::new(true)).collect());
    let is_over = Arc::new(AtomicBool::new(false));
    let mut balancer = JoinSet::new();
    for number in 0..2 {
        let (cluster, ready, is_over) = (cluster.clone(), ready.clone(), is_over.clone());
        balancer.spawn(async move {
            let mut pace = interval(PROBE);
            while !is_over.load(Ordering::Acquire) {
                pace.tick().await;
                let answer = cluster.http.get(cluster.url(number, "/health/ready")).send().await;
                let is_ready = answer.is_ok_and(|answer| answer.status() == StatusCode::OK);
                ready[number].store(is_ready, Ordering::Release);
            }
        });
    }
    let asker = {
        let (cluster, ready, is_over, client) =
            (cluster.clone(), ready.clone(), is_over.clone(), client.clone());
        tokio::spawn(async move {
            let mut pace = interval(PACE);
            let mut answers = JoinSet::new();
            let mut turn = 0;
            while !is_over.load(Ordering::Acquire) {
                pace.tick().await;
                turn += 1;
                let instance =
                    (turn..turn + 2).map(|turn| turn % 2).find(|one| ready[*one].load(Ordering::Acquire));
                let Some(instance) = instance else { continue };
                let (cluster, client) = (cluster.clone(), client.clone());
                answers.spawn(async move {
                    cluster.status("token", instance, cluster.ask_token(instance, &client)).await
                });
            }
            answers.join_all().await
        })
    };
    let rounds = (setting.time.as_secs() / 6).clamp(2, 10);
    for _ in 0..rounds {
        for number in 0..2 {
            cluster.instances[number].end().await;
            cluster.instances[number].start();
            cluster.until_whole(number).await;
            // The balancer must have noticed that the instance is ready before the other one is stopped.
            while !ready[number].load(Ordering::Acquire) {
                wait(PROBE).await;
            }
        }
    }
    is_over.store(true, Ordering::Release);
    let answers = asker.await.expect("no panic");
    while balancer.join_next().await.is_some() {}
    let mut report = Report::default();
    report.figure("restarts", rounds * 2);
    report.figure("requests", answers.len());
    let failed = answers.into_iter().filter(|status| *status != 200);
    report.violations.extend(failed.map(|status| format!("a token request was answered {status}")));
    report.figure("failed", report.violations.len());
    report
}

/// Starts six instances at once on an empty database, and shuts them down.
/// The instances migrate the database. This is repeated with a new database each time.
pub async fn joint_starts(setting: &Setting) -> Report {
    let mut report = Report::default();
    let begun = Instant::now();
    let mut times = Vec::new();
    let mut rounds = 0;
    while rounds == 0 || (begun.elapsed() < setting.time && rounds < 20) {
        let folder = setting.folder.join(rounds.to_string());
        let cluster = Cluster::start(6, &[("DB_POOL_MAX", "2")], &folder).await;
        times.extend(cluster.history.lines().into_iter().map(|line| line.end));
        for instance in &cluster.instances {
            instance.end().await;
        }
        rounds += 1;
    }
    report.figure("joint starts of six", rounds);
    let (middle, longest) = (share(&mut times, 0.5), share(&mut times, 1.0));
    report.figure(
        "whole after (p50/max)",
        format!("{:.2} / {:.2} s", middle.as_secs_f64(), longest.as_secs_f64()),
    );
    report
}
