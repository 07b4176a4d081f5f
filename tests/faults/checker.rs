//! Holds a history against what a kill promises.
//!
//! * No answer says "alive" that began after an acknowledged kill had ended.
//! * Once an answer said "dead", no later one says "alive".
//! * A token that no kill can have reached is not called dead.
//! * No token is issued to what is suspended.
//!
//! A kill without an answer may have been done: it frees nobody to say "alive" again, and excuses "dead" for as
//! long as the service may have gone on with it.

use std::collections::HashMap;
use std::time::Duration;

use crate::history::{Answer, Deed, Line, Subject, Token};

/// For how long after its lost answer a change may still come to be: longer than any request takes.
const LATE: Duration = Duration::from_secs(10);

/// A change, and from when to when it may have been done.
struct Change<'a> {
    subject: &'a Subject,
    start: Duration,
    /// When it was surely done. None: perhaps never.
    done: Option<Duration>,
    /// When it was done at the latest.
    end: Duration,
}

/// Changes by whom they are about.
type Changes<'a> = HashMap<&'a Subject, Vec<Change<'a>>>;

/// What the history shows that must not be, in sentences.
pub fn violations(lines: &[Line]) -> Vec<String> {
    let mut violations = Vec::new();
    let changes = |wanted: fn(&Deed) -> Option<&Subject>| -> Changes<'_> {
        let mut changes = Changes::new();
        for change in lines.iter().filter_map(|line| change(line, wanted)) {
            changes.entry(change.subject).or_default().push(change);
        }
        changes
    };
    let kills = changes(|deed| match deed {
        Deed::Kill(subject) | Deed::Suspend(subject) => Some(subject),
        _ => None,
    });
    let suspensions = changes(|deed| match deed {
        Deed::Suspend(subject) => Some(subject),
        _ => None,
    });
    let reactivations = changes(|deed| match deed {
        Deed::Reactivate(subject) => Some(subject),
        _ => None,
    });
    let mut asked: HashMap<&str, Vec<&Line>> = HashMap::new();
    for line in lines {
        if let Deed::Ask { token } = &line.deed {
            asked.entry(token).or_default().push(line);
        }
    }
    for line in lines {
        let Answer::Issued(token) = &line.answer else { continue };
        let asked = asked.remove(token.id.as_str()).unwrap_or_default();
        let subjects = token.subjects();
        let kills: Vec<_> = subjects.iter().filter_map(|subject| kills.get(subject)).flatten().collect();
        violations.extend(of_token(token, line, &asked, &kills));
        for suspension in subjects.iter().filter_map(|subject| suspensions.get(subject)).flatten() {
            let is_before = suspension.done.is_some_and(|done| done < line.start);
            let may_be_over = |reactivation: &Change<'_>| {
                reactivation.end > suspension.start && reactivation.start < line.end
            };
            if is_before && !reactivations.get(suspension.subject).into_iter().flatten().any(may_be_over) {
                violations.push(format!("{} was issued to what was suspended: {line:?}", token.id));
            }
        }
    }
    violations
}

fn change(line: &Line, wanted: fn(&Deed) -> Option<&Subject>) -> Option<Change<'_>> {
    let subject = wanted(&line.deed)?;
    let (done, end) = match line.answer {
        Answer::No => return None,
        Answer::Unknown => (None, line.end + LATE),
        Answer::Yes | Answer::Issued(_) => (Some(line.end), line.end),
    };
    Some(Change { subject, start: line.start, done, end })
}

fn of_token(token: &Token, issued: &Line, asked: &[&Line], kills: &[&Change<'_>]) -> Vec<String> {
    let mut violations = Vec::new();
    let is_after = |kill: &&&Change<'_>| kill.start > issued.end;
    let killed = kills.iter().filter(is_after).filter_map(|kill| kill.done).min();
    let first_no = asked.iter().filter(|line| matches!(line.answer, Answer::No)).map(|line| line.end).min();
    for line in asked {
        match line.answer {
            Answer::Yes | Answer::Issued(_) => {
                if killed.is_some_and(|killed| line.start > killed) {
                    violations.push(format!("{} is alive after its kill at {killed:?}: {line:?}", token.id));
                }
                if first_no.is_some_and(|no| line.start > no) {
                    violations.push(format!("{} is alive again after {first_no:?}: {line:?}", token.id));
                }
            }
            Answer::No => {
                let is_excused = kills.iter().any(|kill| kill.start < line.end && kill.end > issued.start);
                if !is_excused {
                    violations.push(format!("{} is dead without a kill: {line:?}", token.id));
                }
            }
            Answer::Unknown => {}
        }
    }
    violations
}

/// Shows that each kind of violation is seen, and that what is allowed is not called one. Panics where not.
pub fn prove() {
    let token = Token { id: "t".into(), agent: "a".into(), organization: "o".into(), text: String::new() };
    let line = |start: u64, end: u64, deed: Deed, answer: Answer| Line {
        instance: 0,
        deed,
        start: Duration::from_millis(start),
        end: Duration::from_millis(end),
        status: 0,
        answer,
    };
    let issue = |start, end| {
        let deed = Deed::Issue { agent: "a".into() };
        line(start, end, deed, Answer::Issued(token.clone()))
    };
    let ask = |start, end, answer| line(start, end, Deed::Ask { token: "t".into() }, answer);
    let agent = || Subject::Agent("a".into());
    let organization = || Subject::Organization("o".into());
    let kill = |start, end, answer| line(start, end, Deed::Kill(agent()), answer);
    let suspend = |start, end, answer| line(start, end, Deed::Suspend(organization()), answer);
    let reactivate = |start, end, answer| line(start, end, Deed::Reactivate(organization()), answer);
    let (yes, no, unknown) = (|| Answer::Yes, || Answer::No, || Answer::Unknown);

    let wrong = [
        ("alive after its kill", vec![issue(0, 1), kill(2, 3, yes()), ask(4, 5, yes())]),
        ("alive after its suspension", vec![issue(0, 1), suspend(2, 3, yes()), ask(4, 5, yes())]),
        ("alive after dead", vec![issue(0, 1), kill(2, 9, unknown()), ask(3, 4, no()), ask(5, 6, yes())]),
        ("dead without a kill", vec![issue(0, 1), ask(2, 3, no())]),
        ("dead by an older kill", vec![kill(0, 1, yes()), issue(2, 3), ask(4, 5, no())]),
        ("issued while suspended", vec![suspend(0, 1, yes()), issue(2, 3)]),
        (
            "issued while suspended again",
            vec![suspend(0, 1, yes()), reactivate(2, 3, yes()), suspend(4, 5, yes()), issue(6, 7)],
        ),
    ];
    for (name, lines) in wrong {
        assert_eq!(violations(&lines).len(), 1, "{name}: {:?}", violations(&lines));
    }
    let right = [
        ("alive while it is killed", vec![issue(0, 1), kill(2, 5, yes()), ask(3, 4, yes()), ask(6, 7, no())]),
        ("a refused kill", vec![issue(0, 1), kill(2, 3, no()), ask(4, 5, yes())]),
        ("a kill without an answer", vec![issue(0, 1), kill(2, 3, unknown()), ask(4, 5, no())]),
        ("issued while it was killed", vec![kill(0, 5, yes()), issue(1, 2), ask(6, 7, yes())]),
        (
            "issued after a reactivation without an answer",
            vec![suspend(0, 1, yes()), reactivate(2, 3, unknown()), issue(4, 5), ask(6, 7, yes())],
        ),
    ];
    for (name, lines) in right {
        assert_eq!(violations(&lines), [""; 0], "{name}");
    }
}
