//! One check's verdict: when it runs, and how many results turn it.

use std::time::{Duration, Instant};

use crate::model::CheckPolicy;

/// A check between its runs. Sans-IO: time is an argument, and who asks runs the check.
#[derive(Debug, Clone)]
pub struct CheckMachine {
    policy: CheckPolicy,
    passing: bool,
    /// Results in a row that speak against the verdict.
    against: u32,
    next: Instant,
    started: Option<Instant>,
}

impl CheckMachine {
    /// A check with a verdict to begin with. `spread` is between 0 and 1: the part of the warm-up that the first run
    /// waits.
    #[must_use]
    pub fn new(policy: CheckPolicy, passing: bool, now: Instant, spread: f64) -> Self {
        let next = now + policy.warmup.mul_f64(spread.clamp(0.0, 1.0));
        Self { policy, passing, against: 0, next, started: None }
    }

    /// Whether the check passes.
    #[must_use]
    pub fn passing(&self) -> bool {
        self.passing
    }

    /// When the next run begins; none while one is under way.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.started.is_none().then_some(self.next)
    }

    /// A run begins.
    pub fn begin(&mut self, now: Instant) {
        self.started = Some(now);
    }

    /// The run has ended; returns the verdict where it has turned.
    pub fn finish(&mut self, now: Instant, good: bool) -> Option<bool> {
        let started = self.started.take().unwrap_or(now);
        self.against = if good == self.passing { 0 } else { self.against + 1 };
        let enough = if good { self.policy.rise } else { self.policy.fall };
        let turned = self.against >= enough.max(1);
        if turned {
            self.passing = good;
            self.against = 0;
        }
        // A failure that is not believed yet is looked into sooner or later than the interval, as the operator says;
        // everything else keeps the rhythm.
        self.next = if !good && self.passing {
            now + self.policy.retry_delay
        } else {
            (started + self.policy.interval).max(now)
        };
        turned.then_some(good)
    }

    /// The run under way was given up without a result, because the check rests.
    pub fn abandon(&mut self, now: Instant) {
        self.started = None;
        self.next = now;
    }

    /// Longest duration of a run.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.policy.timeout
    }
}
