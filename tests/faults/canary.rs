//! Secrets that are known, looked for wherever they must not be.

use std::sync::Arc;

use crate::arena::{Arena, Instance};
use crate::fleet::Fleet;
use crate::nemesis::Fault;
use crate::pace::{Dice, wait};
use crate::report::{Report, Setting};

/// The fleet at work while both stores fail, everything logged that can be; then all is read.
pub async fn run(setting: &Setting) -> Report {
    let mut dice = Dice::new(setting.seed);
    let settings = [("RUST_LOG", "trace"), ("METRICS_ADDR", "127.0.0.1:0")];
    let arena = Arc::new(Arena::start(2, &settings, &setting.folder).await);
    let fleet = Fleet::gather(&arena).await;
    let mut hands = fleet.work(&mut dice);
    wait(setting.time / 3).await;
    Fault::RedisKilled.strike(&arena, setting.time / 3, &mut dice).await;
    Fault::PostgresEnds.strike(&arena, setting.time / 3, &mut dice).await;
    fleet.end();
    while let Some(hand) = hands.join_next().await {
        hand.expect("no hand panics");
    }
    let mut secrets = fleet.secrets();
    secrets.push(("the first administrator's secret".into(), arena.administrator.secret.clone()));
    secrets.extend(Instance::secrets());
    let mut places = vec![
        ("PostgreSQL".to_owned(), arena.stores.dump_postgres()),
        ("Redis".to_owned(), arena.stores.dump_redis()),
    ];
    for instance in &arena.instances {
        places.push((instance.log.display().to_string(), std::fs::read(&instance.log).expect("a log")));
    }
    let mut report = Report::default();
    let mut bytes = 0;
    for (place, text) in &places {
        bytes += text.len();
        report.hold(text.len() > 10_000, || format!("{place} has nothing to look through"));
        let text = String::from_utf8_lossy(text);
        for (name, secret) in &secrets {
            report.hold(!text.contains(secret.as_str()), || format!("{name} is in {place}"));
        }
    }
    report.figure("secrets", secrets.len());
    report.figure("places and bytes looked through", format!("{}, {bytes}", places.len()));
    report.figure("found", report.violations.len());
    report
}
