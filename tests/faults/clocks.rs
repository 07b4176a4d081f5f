//! Instances whose clocks are wrong, or jump.

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

/// As far as clocks may be apart: nothing of it may be noticed.
const WRONG: [Offsets; 2] = [[0, 1, -1], [0, 30, -30]];
/// An hour's jump back and another ahead, and the returns, one after the other.
const JUMPS: [Offsets; 5] = [[0, 0, 0], [0, -3_600, 0], [0, 0, 0], [0, 0, 3_600], [0, 0, 0]];

/// The fleet at work on instances that disagree about the time.
pub async fn run(setting: &Setting) -> Report {
    let mut report = Report::default();
    for offsets in WRONG {
        let lines = work(setting, &[offsets], &mut report).await;
        report.violations.extend(checker::violations(&lines));
    }
    // An hour apart, they find each other's tokens ended or not begun, and later alive: dead is who was killed, no more.
    let lines = work(setting, &JUMPS, &mut report).await;
    report.violations.extend(checker::alive_after_kills(&lines));
    report.figure("violations", report.violations.len());
    report
}

/// What the fleet sees in a third of the time, the clocks being wrong as told, in turn.
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
