//! What the runs of a check have brought so far, for listings and metrics.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{FailureReason, Outcome};

/// Results of one check.
#[derive(Debug, Clone, Default)]
pub struct CheckRecord {
    /// Good runs.
    pub passes: u64,
    /// Bad runs by reason.
    pub failures: BTreeMap<FailureReason, u64>,
    /// The last run.
    pub last: Option<LastRun>,
}

/// The last run of a check.
#[derive(Debug, Clone)]
pub struct LastRun {
    /// When it ended.
    pub ended: Instant,
    /// How long it took.
    pub duration: Duration,
    /// What it found.
    pub outcome: Outcome,
}

impl CheckRecord {
    /// Adds a run.
    pub fn add(&mut self, ended: Instant, duration: Duration, outcome: Outcome) {
        match &outcome {
            Ok(_) => self.passes += 1,
            Err(failure) => *self.failures.entry(failure.reason).or_default() += 1,
        }
        self.last = Some(LastRun { ended, duration, outcome });
    }
}
