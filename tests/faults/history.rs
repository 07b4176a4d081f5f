//! Records what was requested and when, and the answers.

use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Name of the operation that kills an instance. It ends when the process is gone.
pub const KILLED: &str = "killed";

/// The subject of a revocation, on which tokens depend.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    Token(String),
    Agent(String),
    Organization(String),
    Issuer(String),
    /// A person of a trusted issuer.
    Person(String, String),
}

/// A token, and what it depends on.
#[derive(Clone, Debug)]
pub struct Token {
    pub id: String,
    pub agent: String,
    pub organization: String,
    /// The trusted issuer that it rests on; `None` if its agent authenticated by a secret.
    pub issuer: Option<String>,
    /// The trusted issuer and the `sub` of a person, in the first token that acts for that person.
    pub person: Option<(String, String)>,
    /// The token that it was exchanged from, on all of whose subjects it depends too.
    pub parent: Option<String>,
    /// The token as it is sent.
    pub text: String,
}

impl Token {
    /// Returns the subjects whose revocation revokes this token, apart from those of its parent.
    pub fn subjects(&self) -> Vec<Subject> {
        let always = [
            Subject::Token(self.id.clone()),
            Subject::Agent(self.agent.clone()),
            Subject::Organization(self.organization.clone()),
        ];
        let issuers = self.issuer.iter().chain(self.person.as_ref().map(|(issuer, _)| issuer));
        let person = self.person.clone().map(|(issuer, sub)| Subject::Person(issuer, sub));
        always.into_iter().chain(issuers.cloned().map(Subject::Issuer)).chain(person).collect()
    }
}

/// A requested operation.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Issue a token to that agent.
    Issue { agent: String },
    /// Report whether that token is active.
    Ask { token: String },
    /// Revoke all tokens that depend on the subject.
    Kill(Subject),
    /// Revoke all tokens that depend on the subject, and issue no new ones.
    Suspend(Subject),
    /// Allow new tokens again.
    Reactivate(Subject),
    /// Another operation, of which only the status and the duration matter.
    Other(&'static str),
}

/// The answer to an operation.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Done, and a token was issued.
    Issued(Token),
    /// Done, or the token is active.
    Yes,
    /// Refused, or the token is inactive.
    No,
    /// Unknown, because the operation was not possible at the time or no answer came.
    Unknown,
}

/// One operation of a history. Times are measured from the start of the run.
#[derive(Clone, Debug)]
pub struct Line {
    pub instance: usize,
    pub operation: Operation,
    pub start: Duration,
    pub end: Duration,
    pub status: u16,
    pub answer: Answer,
}

impl Line {
    /// Returns whether no answer came, or one that reports a failure of the service.
    pub const fn is_failure(&self) -> bool {
        self.status == 0 || self.status >= 500
    }
}

/// All operations of a run.
pub struct History {
    begun: Instant,
    lines: Mutex<Vec<Line>>,
}

impl History {
    pub fn begin() -> Self {
        Self { begun: Instant::now(), lines: Mutex::default() }
    }

    /// Returns the time since the start of the run.
    pub fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    pub fn note(&self, line: Line) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// Records another operation that has ended now.
    pub fn other(&self, name: &'static str, instance: usize, start: Duration, status: u16) {
        let operation = Operation::Other(name);
        self.note(Line { instance, operation, start, end: self.now(), status, answer: Answer::Unknown });
    }

    /// Returns all lines, ordered by start.
    pub fn lines(&self) -> Vec<Line> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone();
        lines.sort_by_key(|line| line.start);
        lines
    }

    /// Writes all lines to a file.
    pub fn write(&self, path: &Path) {
        write(&self.lines(), path);
    }
}

/// Writes the lines to a file as JSON, one operation per line.
pub fn write(lines: &[Line], path: &Path) {
    let mut text = Vec::new();
    for line in lines {
        let (operation, subject) = match &line.operation {
            Operation::Issue { agent } => ("issue", agent.clone()),
            Operation::Ask { token } => ("ask", token.clone()),
            Operation::Kill(subject) => ("kill", format!("{subject:?}")),
            Operation::Suspend(subject) => ("suspend", format!("{subject:?}")),
            Operation::Reactivate(subject) => ("reactivate", format!("{subject:?}")),
            Operation::Other(name) => (*name, String::new()),
        };
        let answer = match &line.answer {
            Answer::Issued(token) => json!({ "issued": token.id }),
            Answer::Yes => Value::from("yes"),
            Answer::No => Value::from("no"),
            Answer::Unknown => Value::Null,
        };
        let (start, end) = (line.start.as_micros() as u64, line.end.as_micros() as u64);
        let line = json!({
            "operation": operation, "subject": subject, "instance": line.instance, "start": start, "end": end,
            "status": line.status, "answer": answer,
        });
        writeln!(text, "{line}").expect("memory takes it");
    }
    std::fs::write(path, text).expect("the history is written");
}
