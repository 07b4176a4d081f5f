//! Instances whose clocks are wrong or jump.

use std::collections::HashSet;
use std::sync::Arc;

use crate::checker;
use crate::cluster::{Cluster, WrongClock};
use crate::fleet::Fleet;
use crate::history::{Answer, Line};
use crate::pace::{Rng, wait};
use crate::report::{Report, Setting};

/// By how many seconds the clock of each instance is wrong.
type Offsets = [i64; 3];

/// Differences that clocks may have, which must have no visible effect.
const WRONG: [Offsets; 2] = [[0, 1, -1], [0, 30, -30]];
/// A jump back by an hour and one ahead, each with its return, in sequence.
const JUMPS: [Offsets; 5] = [[0, 0, 0], [0, -3_600, 0], [0, 0, 0], [0, 0, 3_600], [0, 0, 0]];

/// Runs the fleet on instances that disagree about the time.
pub async fn run(setting: &Setting) -> Report {
    let mut report = Report::default();
    for offsets in WRONG {
        let lines = work(setting, &[offsets], &mut report).await;
        report.violations.extend(checker::violations(&lines));
    }
    // With clocks an hour apart, instances find each other's tokens expired or not yet valid, and later
    // active. All that is required is that revoked tokens stay inactive.
    let lines = work(setting, &JUMPS, &mut report).await;
    report.violations.extend(checker::active_after_kills(&lines));
    report.figure("violations", report.violations.len());
    report
}

/// Runs the fleet for a third of the time, and returns its history.
/// The clocks take these offsets in turn.
async fn work(setting: &Setting, turns: &[Offsets], report: &mut Report) -> Vec<Line> {
    let clocks = turns[0].map(|offset| Arc::new(WrongClock::by(offset)));
    let folder = setting.folder.join(format!("{}-turns-{}", turns.len(), turns[0][1]));
    let cluster = Arc::new(Cluster::start_by(&clocks, &folder).await);
    let fleet = Fleet::gather(&cluster).await;
    let workers = fleet.work(&mut Rng::new(setting.seed));
    for offsets in turns {
        for (clock, offset) in clocks.iter().zip(offsets) {
            clock.set(*offset);
        }
        wait(setting.time / 3 / u32::try_from(turns.len()).expect("few")).await;
    }
    fleet.end(workers).await;
    for instance in &cluster.instances {
        instance.end().await;
    }
    let lines = cluster.history.lines();
    let mut seen = HashSet::new();
    for line in &lines {
        if let Answer::Issued(token) = &line.answer {
            report.hold(seen.insert(token.id.clone()), || format!("{} was given twice", token.id));
        }
        report.hold(!line.is_failure(), || format!("failed: {line:?}"));
    }
    report.figure("clocks wrong by", format!("{turns:?} s: {} answers, {} tokens", lines.len(), seen.len()));
    lines
}
