//! The settings and the report of a run.

use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

/// The settings of a run.
pub struct Setting {
    pub seed: u64,
    /// Time that the run may take.
    pub time: Duration,
    /// A program of an older version.
    pub older: Option<PathBuf>,
    /// Folder for the history and the logs of the run.
    pub folder: PathBuf,
}

/// The report of a run: figures and violations.
#[derive(Default)]
pub struct Report {
    pub figures: Vec<(&'static str, String)>,
    pub violations: Vec<String>,
}

impl Report {
    pub fn figure(&mut self, name: &'static str, value: impl Display) {
        self.figures.push((name, value.to_string()));
    }

    /// Records a violation unless the condition holds.
    pub fn hold(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.violations.push(otherwise());
        }
    }
}

/// Returns the quantile of the times for `share`, from 0 to 1.
pub fn share(times: &mut [Duration], share: f64) -> Duration {
    times.sort();
    let last = times.len().saturating_sub(1);
    let place = (last as f64 * share).round() as usize;
    times.get(place).copied().unwrap_or_default()
}
