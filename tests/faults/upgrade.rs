//! An older version that keeps serving while a newer one migrates the tables.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::checker;
use crate::cluster::Cluster;
use crate::fleet::Fleet;
use crate::pace::{Rng, wait};
use crate::report::{Report, Setting};

/// Runs the fleet on the older version alone, and then on both versions.
pub async fn run(setting: &Setting) -> Report {
    let older = setting.older.as_ref().expect("--older names a program of an older version");
    let mut rng = Rng::new(setting.seed);
    let cluster = Arc::new(Cluster::start_older(older, &setting.folder).await);
    let superuser = cluster.stores.superuser().await;
    let version = async || {
        let version = "SELECT max(version) FROM refinery_schema_history";
        superuser.query_one(version, &[]).await.expect("an answer").get::<_, i32>(0)
    };
    let before = version().await;
    let fleet = Fleet::gather(&cluster).await;
    let workers = fleet.work(&mut rng);
    wait(setting.time / 3).await;
    cluster.instances[1].start();
    cluster.until_whole(1).await;
    let after = version().await;
    let both_from = cluster.history.now();
    cluster.open.store(2, Ordering::Release);
    wait(setting.time * 2 / 3).await;
    fleet.end(workers).await;
    for instance in &cluster.instances {
        instance.end().await;
    }
    let lines = cluster.history.lines();
    let mut report = Report::default();
    report.violations.extend(checker::violations(&lines));
    let failed = lines.iter().filter(|line| line.is_failure());
    report.violations.extend(failed.map(|line| format!("failed: {line:?}")));
    report.hold(before < after, || format!("the tables are of version {before} and stay it"));
    report.figure("tables before and after", format!("{before}, {after}"));
    for (instance, name) in ["answers of the older one during the upgrade", "of the newer"].iter().enumerate()
    {
        let those = lines.iter().filter(|line| line.instance == instance && line.start >= both_from);
        report.figure(name, those.count());
    }
    report.figure("violations", report.violations.len());
    report
}
