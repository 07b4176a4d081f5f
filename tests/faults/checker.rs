//! Checks a history against the guarantees of revocation.
//!
//! * No request sent after an acknowledged revocation had ended finds a revoked token active.
//! * Once a token was reported inactive, no later request finds it active.
//! * A token that no revocation can have reached is not reported inactive.
//! * No token is issued to an agent while it or its organization is suspended.
//!
//! A token that was exchanged from another one is revoked by every revocation that reached that one.
//!
//! A revocation without an answer may have taken effect. It does not allow a token to become active again,
//! and it excuses an inactive token for as long as the service may still have been working on the revocation.

use std::collections::HashMap;
use std::time::Duration;

use crate::history::{Answer, Line, Operation, Subject, Token};

/// How long after its lost answer a change may still take effect.
/// This is longer than any request takes.
const LATE: Duration = Duration::from_secs(10);

/// A change, and the interval in which it may have taken effect.
#[derive(Clone, Copy)]
struct Change {
    start: Duration,
    /// When the change had certainly taken effect; `None` if it may never have.
    done: Option<Duration>,
    /// Latest time at which the change may have taken effect.
    end: Duration,
}

/// The changes of one kind to one subject, indexed by time.
/// Queries start with a binary search, because a long history has many changes and many queries.
#[derive(Default)]
struct Changes {
    /// The changes, ordered by start.
    by_start: Vec<Change>,
    /// For each change, the latest end of it and all before it.
    latest_end: Vec<Duration>,
    /// For each change, the earliest certain effect of it and all after it.
    first_done: Vec<Option<Duration>>,
}

impl Changes {
    fn of(by_start: Vec<Change>) -> Self {
        let mut latest_end: Vec<Duration> = Vec::with_capacity(by_start.len());
        for change in &by_start {
            latest_end.push(latest_end.last().map_or(change.end, |before| change.end.max(*before)));
        }
        let mut first_done: Vec<Option<Duration>> = vec![None; by_start.len() + 1];
        for (place, change) in by_start.iter().enumerate().rev() {
            first_done[place] = change.done.into_iter().chain(first_done[place + 1]).min();
        }
        Self { by_start, latest_end, first_done }
    }

    /// Returns the number of changes that started before `time`.
    fn before(&self, time: Duration) -> usize {
        self.by_start.partition_point(|change| change.start < time)
    }

    /// Returns when the first of the changes that started after `time` had certainly taken effect.
    fn done_after(&self, time: Duration) -> Option<Duration> {
        self.first_done[self.by_start.partition_point(|change| change.start <= time)]
    }

    /// Returns whether a change may have taken effect between `start` and `end`.
    fn may_be_between(&self, start: Duration, end: Duration) -> bool {
        self.before(end).checked_sub(1).is_some_and(|last| self.latest_end[last] > start)
    }

    /// Returns the last change that had certainly taken effect before `time`.
    fn last_done_before(&self, time: Duration) -> Option<&Change> {
        self.by_start[..self.before(time)]
            .iter()
            .rev()
            .find(|change| change.done.is_some_and(|done| done < time))
    }
}

/// Groups all changes of one kind by their subject.
fn changes(lines: &[Line], wanted: fn(&Operation) -> Option<&Subject>) -> HashMap<&Subject, Changes> {
    let mut by_subject: HashMap<&Subject, Vec<Change>> = HashMap::new();
    for line in lines {
        let Some(subject) = wanted(&line.operation) else { continue };
        let (done, end) = match line.answer {
            Answer::No => continue,
            Answer::Unknown => (None, line.end + LATE),
            Answer::Yes | Answer::Issued(_) => (Some(line.end), line.end),
        };
        by_subject.entry(subject).or_default().push(Change { start: line.start, done, end });
    }
    by_subject.into_iter().map(|(subject, changes)| (subject, Changes::of(changes))).collect()
}

/// A token of a history: its issuance, the reports of its state, and the revocations that may apply to it.
struct Life<'a> {
    token: &'a Token,
    issued: &'a Line,
    asked: Vec<&'a Line>,
    kills: Vec<Kills<'a>>,
}

/// The revocations of one subject of a token, or of one of its ancestors.
struct Kills<'a> {
    changes: &'a Changes,
    /// The issuance of the token, or of the ancestor: later revocations apply.
    since: &'a Line,
}

impl Kills<'_> {
    /// Returns when the first of the revocations had certainly taken effect.
    fn done(&self) -> Option<Duration> {
        self.changes.done_after(self.since.end)
    }

    /// Returns whether a revocation may have taken effect until `end`.
    fn may_be_until(&self, end: Duration) -> bool {
        self.changes.may_be_between(self.since.start, end)
    }
}

/// Returns all revocations and suspensions, by subject.
fn kills(lines: &[Line]) -> HashMap<&Subject, Changes> {
    changes(lines, |operation| match operation {
        Operation::Kill(subject) | Operation::Suspend(subject) => Some(subject),
        _ => None,
    })
}

/// Returns the [`Life`] of each issued token.
fn lives<'a>(lines: &'a [Line], kills: &'a HashMap<&Subject, Changes>) -> impl Iterator<Item = Life<'a>> {
    let mut asked: HashMap<&str, Vec<&Line>> = HashMap::new();
    for line in lines {
        if let Operation::Ask { token } = &line.operation {
            asked.entry(token).or_default().push(line);
        }
    }
    let tokens = lines.iter().filter_map(|line| match &line.answer {
        Answer::Issued(token) => Some((token.id.as_str(), (token, line))),
        _ => None,
    });
    let tokens: HashMap<&str, (&Token, &Line)> = tokens.collect();
    lines.iter().filter_map(move |issued| {
        let Answer::Issued(token) = &issued.answer else { return None };
        let asked = asked.remove(token.id.as_str()).unwrap_or_default();
        let parent = |(token, _): &(&Token, &Line)| tokens.get(token.parent.as_deref()?).copied();
        let kills = std::iter::successors(Some((token, issued)), parent)
            .flat_map(|(token, since)| {
                let changes = token.subjects().into_iter().filter_map(|subject| kills.get(&subject));
                changes.map(move |changes| Kills { changes, since }).collect::<Vec<_>>()
            })
            .collect();
        Some(Life { token, issued, asked, kills })
    })
}

/// Returns the violations of all rules in the history, as sentences. The lines must be ordered by start.
pub fn violations(lines: &[Line]) -> Vec<String> {
    let mut violations = Vec::new();
    let kills = kills(lines);
    let suspensions = changes(lines, |operation| match operation {
        Operation::Suspend(subject) => Some(subject),
        _ => None,
    });
    let reactivations = changes(lines, |operation| match operation {
        Operation::Reactivate(subject) => Some(subject),
        _ => None,
    });
    for life in lives(lines, &kills) {
        violations.extend(life.alive_after_its_kill());
        violations.extend(life.contradictions());
        let Life { token, issued, .. } = life;
        for subject in &token.subjects() {
            // A reactivation that can only have ended an earlier suspension did not end the last one.
            let last = suspensions.get(subject).and_then(|changes| changes.last_done_before(issued.start));
            let Some(suspension) = last else { continue };
            let reactivations = reactivations.get(subject);
            if !reactivations.is_some_and(|changes| changes.may_be_between(suspension.start, issued.end)) {
                violations.push(format!("{} was issued to what was suspended: {issued:?}", token.id));
            }
        }
    }
    violations
}

/// Returns the violations of the first rule only, as sentences.
pub fn active_after_kills(lines: &[Line]) -> Vec<String> {
    lives(lines, &kills(lines)).flat_map(|life| life.alive_after_its_kill()).collect()
}

impl Life<'_> {
    /// Returns the violations of the first rule.
    fn alive_after_its_kill(&self) -> Vec<String> {
        let killed = self.kills.iter().filter_map(Kills::done).min();
        let Some(killed) = killed else { return Vec::new() };
        // A token that was exchanged from a revoked one is revoked from the beginning.
        let lines = std::iter::once(&self.issued).chain(&self.asked);
        let later = lines.filter(|line| line.start > killed);
        later
            .filter(|line| matches!(line.answer, Answer::Yes | Answer::Issued(_)))
            .map(|line| format!("{} is active after its kill at {killed:?}: {line:?}", self.token.id))
            .collect()
    }

    /// Returns the violations of the second and third rule.
    fn contradictions(&self) -> Vec<String> {
        let Self { token, asked, kills, .. } = self;
        let mut violations = Vec::new();
        let no = asked.iter().filter(|line| matches!(line.answer, Answer::No));
        let first_no = no.map(|line| line.end).min();
        for line in asked {
            match line.answer {
                Answer::Yes | Answer::Issued(_) => {
                    if first_no.is_some_and(|no| line.start > no) {
                        violations.push(format!("{} is active again after {first_no:?}: {line:?}", token.id));
                    }
                }
                Answer::No => {
                    if !kills.iter().any(|kills| kills.may_be_until(line.end)) {
                        violations.push(format!("{} is inactive without a kill: {line:?}", token.id));
                    }
                }
                Answer::Unknown => {}
            }
        }
        violations
    }
}

/// Checks the checker: each kind of violation is reported, and permitted histories are not. Panics otherwise.
pub fn prove() {
    let token = Token {
        id: "t".into(),
        agent: "a".into(),
        organization: "o".into(),
        issuer: None,
        person: None,
        parent: None,
        text: String::new(),
    };
    let child = Token { id: "c".into(), agent: "b".into(), parent: Some("t".into()), ..token.clone() };
    let line = |start: u64, end: u64, operation: Operation, answer: Answer| Line {
        instance: 0,
        operation,
        start: Duration::from_millis(start),
        end: Duration::from_millis(end),
        status: 0,
        answer,
    };
    let issue = |start, end| {
        let operation = Operation::Issue { agent: "a".into() };
        line(start, end, operation, Answer::Issued(token.clone()))
    };
    let exchange = |start, end| {
        let operation = Operation::Issue { agent: "b".into() };
        line(start, end, operation, Answer::Issued(child.clone()))
    };
    let ask_child = |start, end, answer| line(start, end, Operation::Ask { token: "c".into() }, answer);
    let ask = |start, end, answer| line(start, end, Operation::Ask { token: "t".into() }, answer);
    let agent = || Subject::Agent("a".into());
    let organization = || Subject::Organization("o".into());
    let kill = |start, end, answer| line(start, end, Operation::Kill(agent()), answer);
    let suspend = |start, end, answer| line(start, end, Operation::Suspend(organization()), answer);
    let reactivate = |start, end, answer| line(start, end, Operation::Reactivate(organization()), answer);
    let (yes, no, unknown) = (|| Answer::Yes, || Answer::No, || Answer::Unknown);

    let wrong = [
        ("active after its kill", vec![issue(0, 1), kill(2, 3, yes()), ask(4, 5, yes())]),
        ("active after its suspension", vec![issue(0, 1), suspend(2, 3, yes()), ask(4, 5, yes())]),
        (
            "active after inactive",
            vec![issue(0, 1), kill(2, 9, unknown()), ask(3, 4, no()), ask(5, 6, yes())],
        ),
        ("inactive without a kill", vec![issue(0, 1), ask(2, 3, no())]),
        ("inactive by an older kill", vec![kill(0, 1, yes()), issue(2, 3), ask(4, 5, no())]),
        ("issued while suspended", vec![suspend(0, 1, yes()), issue(2, 3)]),
        (
            "active after its kill: that of the agent that is acted for",
            vec![issue(0, 1), exchange(2, 3), kill(4, 5, yes()), ask_child(6, 7, yes())],
        ),
        (
            "active after its kill: exchanged after the agent that is acted for was stopped",
            vec![issue(0, 1), kill(2, 3, yes()), exchange(4, 5)],
        ),
        (
            "exchanged, and inactive without a kill",
            vec![issue(0, 1), exchange(2, 3), ask_child(4, 5, no()), ask(6, 7, yes())],
        ),
        (
            "issued while suspended again",
            vec![suspend(0, 1, yes()), reactivate(2, 3, yes()), suspend(4, 5, yes()), issue(6, 7)],
        ),
    ];
    for (name, lines) in wrong {
        assert_eq!(violations(&lines).len(), 1, "{name}: {:?}", violations(&lines));
        assert_eq!(
            active_after_kills(&lines).len(),
            usize::from(name.starts_with("active after its")),
            "{name}"
        );
    }
    let right = [
        (
            "active while it is killed",
            vec![issue(0, 1), kill(2, 5, yes()), ask(3, 4, yes()), ask(6, 7, no())],
        ),
        (
            "exchanged while the agent that is acted for was stopped",
            vec![issue(0, 1), kill(2, 5, yes()), exchange(3, 4), ask_child(6, 7, no())],
        ),
        (
            "only the actor is stopped",
            vec![
                issue(0, 1),
                exchange(2, 3),
                line(4, 5, Operation::Kill(Subject::Agent("b".into())), Answer::Yes),
                ask_child(6, 7, no()),
                ask(6, 7, yes()),
            ],
        ),
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
