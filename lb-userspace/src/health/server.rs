//! One real server's health: the verdicts of its checks, its weight, its slow start.

use std::time::{Duration, Instant, SystemTime};

use super::{Failure, FailureReason, WeightChange};
use crate::model::{FULL_SHARE, RealServer};

/// What a check last said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckVerdict {
    /// Whether it passes.
    pub passing: bool,
    /// What it says about the weight.
    pub weight: Option<WeightChange>,
    /// Why it does not pass.
    pub failure: Option<Failure>,
}

/// A real server as its checks see it.
#[derive(Debug, Clone)]
pub struct ServerHealth {
    /// One for each check of the configuration, in its order.
    pub checks: Vec<CheckVerdict>,
    up: bool,
    since: SystemTime,
    ramp: Option<Ramp>,
    /// How often connections of clients have failed it; its checks begin anew with each time.
    falls: u32,
}

#[derive(Debug, Clone, Copy)]
struct Ramp {
    began: Instant,
    duration: Duration,
}

impl ServerHealth {
    /// A real server that was not known before.
    #[must_use]
    pub fn new(server: &RealServer, alpha: bool, clock: SystemTime) -> Self {
        let up = !alpha || server.health.checks.is_empty();
        let verdict = CheckVerdict { passing: up, weight: None, failure: None };
        Self { checks: vec![verdict; server.health.checks.len()], up, since: clock, ramp: None, falls: 0 }
    }

    /// Keeps the state where the configuration changes: a check that was there before goes on, a new one begins with the
    /// verdict of the whole.
    pub fn adapt(&mut self, server: &RealServer, before: &RealServer) {
        let verdict = CheckVerdict { passing: self.up, weight: None, failure: None };
        let mut old: Vec<_> = before.health.checks.iter().zip(std::mem::take(&mut self.checks)).collect();
        self.checks = server
            .health
            .checks
            .iter()
            .map(|check| match old.iter().position(|(known, _)| known.kind == check.kind) {
                Some(index) => old.swap_remove(index).1,
                None => verdict.clone(),
            })
            .collect();
    }

    /// Whether the real server is up.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// Since when.
    #[must_use]
    pub fn since(&self) -> SystemTime {
        self.since
    }

    /// The first failure, where there is one.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        self.checks.iter().filter(|check| !check.passing).find_map(|check| check.failure.as_ref())
    }

    /// Whether it is down because somebody wanted it so; such a failure is always believed.
    #[must_use]
    pub fn is_down_on_purpose(&self) -> bool {
        !self.up
            && self.checks.iter().any(|check| {
                !check.passing
                    && check.failure.as_ref().is_some_and(|failure| {
                        matches!(failure.reason, FailureReason::Off | FailureReason::File)
                    })
            })
    }

    /// Connections of clients failed: so do the checks, until they have passed again.
    pub fn fall(&mut self, failure: &Failure) {
        self.falls += 1;
        for check in &mut self.checks {
            check.passing = false;
            check.failure = Some(failure.clone());
        }
    }

    /// How often connections of clients have failed it.
    #[must_use]
    pub fn falls(&self) -> u32 {
        self.falls
    }

    /// Looks at the checks again; returns the new state where it has changed.
    pub fn settle(&mut self, server: &RealServer, now: Instant, clock: SystemTime) -> Option<bool> {
        let up = self.checks.iter().all(|check| check.passing) && self.target_weight(server) >= 0;
        if up == self.up {
            return None;
        }
        self.up = up;
        self.since = clock;
        self.ramp = server.health.slow_start.filter(|_| up).map(|duration| Ramp { began: now, duration });
        Some(up)
    }

    /// The configured weight with what the checks say about it.
    fn target_weight(&self, server: &RealServer) -> i64 {
        let configured = i64::from(server.weight);
        let change = |check: &CheckVerdict| match check.weight {
            Some(WeightChange::Set(weight)) => i64::from(weight) - configured,
            Some(WeightChange::Add(more)) => i64::from(more),
            None => 0,
        };
        let drained = self.checks.iter().any(|check| check.weight == Some(WeightChange::Set(0)));
        if drained { 0 } else { configured + self.checks.iter().map(change).sum::<i64>() }
    }

    /// The weight of the real server while it is up; a quiesced one stays so whatever the checks say.
    #[must_use]
    pub fn weight(&self, server: &RealServer) -> u32 {
        if server.weight == 0 {
            return 0;
        }
        let largest = i64::from(crate::model::MAX_WEIGHT);
        u32::try_from(self.target_weight(server).clamp(0, largest)).unwrap_or(0)
    }

    /// Steps of the slow start that are reached at `now`, [`FULL_SHARE`] where there is none or it is over.
    pub fn ramp(&mut self, now: Instant) -> u8 {
        let Some(Ramp { began, duration }) = self.ramp else { return FULL_SHARE };
        let steps = now.saturating_duration_since(began).as_nanos() * u128::from(FULL_SHARE)
            / duration.as_nanos().max(1);
        if steps >= u128::from(FULL_SHARE) {
            self.ramp = None;
            return FULL_SHARE;
        }
        u8::try_from(steps).unwrap_or(FULL_SHARE).max(1)
    }

    /// When the slow start takes its next step.
    #[must_use]
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let Ramp { began, duration } = self.ramp?;
        let step = (duration / u32::from(FULL_SHARE)).max(Duration::from_millis(100));
        let reached = now.saturating_duration_since(began).as_nanos() / step.as_nanos().max(1);
        Some(began + step * (u32::try_from(reached).unwrap_or(u32::MAX - 1) + 1))
    }
}
