//! A long run of ordinary work, in which no resource use may grow.

use std::sync::Arc;
use std::time::Duration;

use crate::attack::resident;
use crate::checker;
use crate::cluster::Cluster;
use crate::fleet::Fleet;
use crate::pace::{Rng, wait};
use crate::report::{Report, Setting, share};

/// Number of measurements, at even intervals.
const SAMPLES: u32 = 30;
/// Memory growth allowed per hour, in MB.
/// Only runs of at least `LONG_ENOUGH` can measure it.
const SLOPE: f64 = 20.0;
const LONG_ENOUGH: Duration = Duration::from_secs(600);

/// Runs the fleet undisturbed and without rotations.
/// An instance caches up to 100,000 verified secrets of some 330 bytes each. A dozen agents that rotate thirty
/// times a second would only fill that cache for an hour.
pub async fn run(setting: &Setting) -> Report {
    let mut rng = Rng::new(setting.seed);
    let cluster = Arc::new(Cluster::start(1, &[], &setting.folder).await);
    let fleet = Fleet::gather(&cluster).await;
    let workers = fleet.work_without_rotations(&mut rng);
    let process = cluster.instances[0].id();
    let superuser = cluster.stores.superuser().await;
    let mut samples = Vec::new();
    let (mut files, mut connections) = (Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        wait(setting.time / SAMPLES).await;
        samples.push((cluster.history.now().as_secs_f64() / 3600.0, resident(process)));
        files.push(std::fs::read_dir(format!("/proc/{process}/fd")).expect("it runs").count());
        let count = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'agentidp'";
        connections.push(superuser.query_one(count, &[]).await.expect("an answer").get::<_, i64>(0));
    }
    fleet.end(workers).await;
    let lines = cluster.history.lines();
    let mut report = Report::default();
    report.violations.extend(checker::violations(&lines));
    report.figure("answers", lines.len());
    let wrong = lines.iter().filter(|line| line.is_failure()).count();
    report.hold(wrong == 0, || format!("{wrong} requests failed though nothing was broken"));
    // The caches fill first.
    let settled = &samples[samples.len() / 3..];
    let slope = slope(settled);
    let is_long = setting.time >= LONG_ENOUGH;
    report.hold(!is_long || slope < SLOPE, || format!("memory grows by {slope:.1} MB an hour: {samples:?}"));
    let last = samples.last().map_or(0.0, |sample| sample.1);
    report.figure("memory at the end, and its slope", format!("{last:.0} MB, {slope:.1} MB/h"));
    let memory: Vec<_> = samples.iter().map(|sample| sample.1.round()).collect();
    report.figure("memory", format!("{memory:?}"));
    let range = |values: &[usize]| format!("{:?} to {:?}", values.iter().min(), values.iter().max());
    // The pool opens another connection if all are in use at once.
    let first = files.iter().take(10).max().copied().unwrap_or_default();
    report.hold(files.last().is_some_and(|last| *last <= first + 3), || format!("open files: {files:?}"));
    report.figure("open files", range(&files));
    report.hold(connections.iter().all(|number| *number <= 14), || format!("connections: {connections:?}"));
    report.figure("connections to PostgreSQL", connections.iter().max().copied().unwrap_or_default());
    let part = lines.len() / 6;
    for (name, lines) in [("p99 at first", &lines[..part]), ("p99 at last", &lines[lines.len() - part..])] {
        let mut times: Vec<_> = lines.iter().map(|line| line.end - line.start).collect();
        report.figure(name, format!("{:.1} ms", share(&mut times, 0.99).as_secs_f64() * 1e3));
    }
    report
}

/// Returns by how much the second value grows with the first, by least squares.
fn slope(samples: &[(f64, f64)]) -> f64 {
    let number = samples.len() as f64;
    let mean = |part: fn(&(f64, f64)) -> f64| samples.iter().map(part).sum::<f64>() / number;
    let (x, y) = (mean(|sample| sample.0), mean(|sample| sample.1));
    let together: f64 = samples.iter().map(|sample| (sample.0 - x) * (sample.1 - y)).sum();
    let alone: f64 = samples.iter().map(|sample| (sample.0 - x).powi(2)).sum();
    together / alone
}
