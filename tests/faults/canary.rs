//! Known secrets, searched for in every place where they must not be.

use std::collections::HashMap;
use std::sync::Arc;

use crate::cluster::{Cluster, Instance};
use crate::fleet::Fleet;
use crate::nemesis::Fault;
use crate::pace::{Rng, wait};
use crate::report::{Report, Setting};

/// Number of leading bytes by which a secret is searched for.
const BEGINNING: usize = 20;

/// Runs the fleet while both stores fail, and then searches everything that was written.
/// All logging is enabled.
pub async fn run(setting: &Setting) -> Report {
    let mut rng = Rng::new(setting.seed);
    let settings = [("RUST_LOG", "trace"), ("METRICS_ADDR", "127.0.0.1:0")];
    let cluster = Arc::new(Cluster::start(2, &settings, &setting.folder).await);
    let fleet = Fleet::gather(&cluster).await;
    let workers = fleet.work(&mut rng);
    wait(setting.time / 3).await;
    Fault::RedisKilled.strike(&cluster, setting.time / 3, &mut rng).await;
    Fault::PostgresEnds.strike(&cluster, setting.time / 3, &mut rng).await;
    fleet.end(workers).await;
    let mut secrets = fleet.secrets();
    secrets.push(("the first administrator's secret".into(), cluster.calm.administrator().secret));
    secrets.extend(Instance::secrets());
    // The last line of a key may be shorter, and reveals nothing by itself.
    secrets.retain(|(_, secret)| secret.len() >= BEGINNING);
    // Checks that the search finds a secret.
    assert_eq!(found(&secrets, format!("{}{}", "-".repeat(99), secrets[0].1).as_bytes()).count(), 1);
    let mut places = vec![
        ("PostgreSQL".to_owned(), cluster.stores.dump_postgres()),
        ("Redis".to_owned(), cluster.stores.dump_redis()),
    ];
    for instance in &cluster.instances {
        places.push((instance.log.display().to_string(), std::fs::read(&instance.log).expect("a log")));
    }
    let mut report = Report::default();
    let mut bytes = 0;
    for (place, text) in &places {
        bytes += text.len();
        report.hold(text.len() > 1_000, || format!("{place} has nothing to look through"));
        report.violations.extend(found(&secrets, text).map(|name| format!("{name} is in {place}")));
    }
    report.figure("secrets", secrets.len());
    report.figure("places and bytes looked through", format!("{}, {bytes}", places.len()));
    report.figure("found", report.violations.len());
    report
}

/// Returns the secrets that occur in the text. Each window of the text is looked up once.
fn found<'a>(secrets: &'a [(String, String)], text: &'a [u8]) -> impl Iterator<Item = &'a str> {
    let beginnings: HashMap<&[u8], &(String, String)> =
        secrets.iter().map(|secret| (&secret.1.as_bytes()[..BEGINNING], secret)).collect();
    text.windows(BEGINNING).enumerate().filter_map(move |(place, window)| {
        let (name, secret) = beginnings.get(window)?;
        text[place..].starts_with(secret.as_bytes()).then_some(name.as_str())
    })
}
