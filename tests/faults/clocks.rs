//! Instances whose clocks are wrong.

use std::collections::HashSet;
use std::sync::Arc;

use crate::arena::Arena;
use crate::checker;
use crate::fleet::Fleet;
use crate::history::Answer;
use crate::pace::{Dice, wait};
use crate::report::{Report, Setting};

/// By how many seconds the clocks of the instances are wrong.
const WRONG: [&[i64]; 2] = [&[0, 1, -1], &[0, 30, -30]];

/// The fleet at work on instances that disagree about the time.
pub async fn run(setting: &Setting) -> Report {
    let mut report = Report::default();
    for offsets in WRONG {
        let mut dice = Dice::new(setting.seed);
        let folder = setting.folder.join(format!("off-by-{}", offsets[1]));
        let arena = Arc::new(Arena::start_by(offsets, &folder).await);
        let fleet = Fleet::gather(&arena).await;
        let hands = fleet.work(&mut dice);
        wait(setting.time / 2).await;
        fleet.end(hands).await;
        for instance in &arena.instances {
            instance.end().await;
        }
        let lines = arena.history.lines();
        report.violations.extend(checker::violations(&lines));
        let mut seen = HashSet::new();
        let mut tokens = 0;
        for line in &lines {
            if let Answer::Issued(token) = &line.answer {
                tokens += 1;
                report.hold(seen.insert(token.id.clone()), || format!("{} was given twice", token.id));
            }
            report.hold(line.status != 0 && line.status < 500, || format!("failed: {line:?}"));
        }
        report.figure("clocks wrong by", format!("{offsets:?} s: {} answers, {tokens} tokens", lines.len()));
    }
    report.figure("violations", report.violations.len());
    report
}
