//! Ages of the keys in use, for the metrics.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use metrics::gauge;

use crate::config::KeyConfig;
use crate::domain::time::Timestamp;

/// Since when the keys in use exist: since their file was written. A key that is in no file counts from its first use by
/// this process.
pub(super) struct KeyAges(Mutex<Ages>);

struct Ages {
    signing: Timestamp,
    /// `None` without additional keys.
    verifying: Option<Timestamp>,
}

impl KeyAges {
    /// Creates the ages of these keys. `kept` is the file of the key that is kept with the data.
    pub(super) fn new(keys: &KeyConfig, kept: Option<PathBuf>, now: Timestamp) -> Self {
        let signing = keys.private_file.clone().or(kept);
        let verifying = (!keys.public.is_empty()).then(|| since(keys.public_file.as_deref(), now));
        Self(Mutex::new(Ages { signing: since(signing.as_deref(), now), verifying }))
    }

    /// Replaces the keys. A key that has not changed keeps its age.
    pub(super) fn reload(&self, before: &KeyConfig, after: &KeyConfig, now: Timestamp) {
        let mut ages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !before.has_same_private(after) {
            ages.signing = since(after.private_file.as_deref(), now);
        }
        if before.public != after.public {
            ages.verifying = (!after.public.is_empty()).then(|| since(after.public_file.as_deref(), now));
        }
    }

    /// Reports the ages of now.
    pub(super) fn report(&self, now: Timestamp) {
        let ages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (state, since) in [("signing", Some(ages.signing)), ("verifying", ages.verifying)] {
            if let Some(since) = since {
                let seconds = now.as_seconds().saturating_sub(since.as_seconds()).max(0);
                gauge!("agentidp_signing_key_age_seconds", "state" => state).set(seconds as f64);
            }
        }
    }
}

/// Returns when a file was written; `now` without a file that can be read.
fn since(file: Option<&Path>, now: Timestamp) -> Timestamp {
    let written = file.and_then(|file| std::fs::metadata(file).ok()?.modified().ok());
    let millis = written.and_then(|at| at.duration_since(UNIX_EPOCH).ok()?.as_millis().try_into().ok());
    millis.map_or(now, Timestamp::from_millis)
}
