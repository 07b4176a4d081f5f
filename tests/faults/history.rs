//! What was asked, when, and what was answered.

use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// What a kill kills, and what a token depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    Token(String),
    Agent(String),
    Organization(String),
}

/// What a token depends on.
#[derive(Clone, Debug)]
pub struct Token {
    pub id: String,
    pub agent: String,
    pub organization: String,
    /// As it is sent.
    pub text: String,
}

impl Token {
    /// What must not die while it lives.
    pub fn subjects(&self) -> [Subject; 3] {
        [
            Subject::Token(self.id.clone()),
            Subject::Agent(self.agent.clone()),
            Subject::Organization(self.organization.clone()),
        ]
    }
}

/// What was asked.
#[derive(Clone, Debug)]
pub enum Operation {
    /// A token of that agent.
    Issue { agent: String },
    /// Whether that token is alive.
    Ask { token: String },
    /// The death of all tokens that depend on it.
    Kill(Subject),
    /// The death of all tokens that depend on it, and no new ones.
    Suspend(Subject),
    /// New tokens again.
    Reactivate(Subject),
    /// Something whose answer only must not be wrong.
    Other(&'static str),
}

/// What was answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// It was done; a token was issued.
    Issued(Token),
    /// It was done, or it is alive.
    Yes,
    /// It was refused, or it is dead.
    No,
    /// Nobody knows: it could not be done now, or no answer came.
    Unknown,
}

/// One line of a history. Times are since the run began.
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
    /// Whether no answer came, or one that says that the service failed.
    pub const fn is_failure(&self) -> bool {
        self.status == 0 || self.status >= 500
    }
}

/// All that happened in a run.
pub struct History {
    begun: Instant,
    lines: Mutex<Vec<Line>>,
}

impl History {
    pub fn begin() -> Self {
        Self { begun: Instant::now(), lines: Mutex::default() }
    }

    /// The time now.
    pub fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    pub fn note(&self, line: Line) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// Notes something that was asked until now, whose answer only must not be wrong.
    pub fn other(&self, name: &'static str, instance: usize, start: Duration, status: u16) {
        let operation = Operation::Other(name);
        self.note(Line { instance, operation, start, end: self.now(), status, answer: Answer::Unknown });
    }

    /// All lines, by their starts.
    pub fn lines(&self) -> Vec<Line> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone();
        lines.sort_by_key(|line| line.start);
        lines
    }

    /// Writes all of it.
    pub fn write(&self, path: &Path) {
        write(&self.lines(), path);
    }
}

/// Writes a line a line, as JSON.
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
