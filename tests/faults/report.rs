//! What a run is told, and what it tells.

use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

/// What a run is told.
pub struct Setting {
    pub seed: u64,
    /// How long it may go on for.
    pub time: Duration,
    /// A program of an older version.
    pub older: Option<PathBuf>,
    /// Where its history and logs go.
    pub folder: PathBuf,
}

/// What a run tells: figures, and what must not be.
#[derive(Default)]
pub struct Report {
    pub figures: Vec<(&'static str, String)>,
    pub violations: Vec<String>,
}

impl Report {
    pub fn figure(&mut self, name: &'static str, value: impl Display) {
        self.figures.push((name, value.to_string()));
    }

    /// Notes a violation unless it holds.
    pub fn hold(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.violations.push(otherwise());
        }
    }
}

/// What that share of the times does not exceed.
pub fn share(times: &mut [Duration], share: f64) -> Duration {
    times.sort();
    let last = times.len().saturating_sub(1);
    let place = (last as f64 * share).round() as usize;
    times.get(place).copied().unwrap_or_default()
}
