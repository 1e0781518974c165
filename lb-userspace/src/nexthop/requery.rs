//! Which routes have to be asked for again, and when.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Instant;

use super::settings::Settings;

/// Debounced, rate-limited queue of targets.
#[derive(Debug)]
pub(super) struct Requery {
    due: BTreeSet<IpAddr>,
    /// All targets are due, in a round that begins when the present one is through: changes that come faster than
    /// rounds would otherwise keep the same few targets busy, and cost a walk over all targets each.
    all_due: bool,
    /// The last target asked for; the next round goes on behind it.
    cursor: Option<IpAddr>,
    /// When the next batch goes out; set exactly while something is due.
    batch_at: Option<Instant>,
    /// Earliest time for the batch after the last one.
    not_before: Option<Instant>,
    /// A second look at all routes.
    settle_at: Option<Instant>,
    /// The regular look at all routes.
    refresh_at: Option<Instant>,
}

impl Requery {
    pub(super) fn new() -> Self {
        Self {
            due: BTreeSet::new(),
            all_due: false,
            cursor: None,
            batch_at: None,
            not_before: None,
            settle_at: None,
            refresh_at: None,
        }
    }

    /// Starts the regular look at all routes.
    pub(super) fn start(&mut self, now: Instant, settings: &Settings) {
        self.refresh_at.get_or_insert(now + settings.route_refresh);
    }

    /// Asks again for `targets` soon.
    pub(super) fn add(
        &mut self,
        targets: impl IntoIterator<Item = IpAddr>,
        now: Instant,
        settings: &Settings,
    ) {
        self.due.extend(targets);
        self.schedule(now, settings);
    }

    /// Asks again for all targets soon.
    pub(super) fn add_all(&mut self, now: Instant, settings: &Settings) {
        self.all_due = true;
        self.schedule(now, settings);
    }

    fn schedule(&mut self, now: Instant, settings: &Settings) {
        if self.batch_at.is_none() && (self.all_due || !self.due.is_empty()) {
            let debounced = now + settings.route_debounce;
            self.batch_at = Some(self.not_before.map_or(debounced, |at| at.max(debounced)));
        }
    }

    /// Asks again for everything once the kernel has settled.
    pub(super) fn settle(&mut self, now: Instant, settings: &Settings) {
        self.settle_at = Some(now + settings.route_settle);
    }

    pub(super) fn forget(&mut self, target: IpAddr) {
        self.due.remove(&target);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        [self.batch_at, self.settle_at, self.refresh_at].into_iter().flatten().min()
    }

    /// Targets to ask for now. `all` are those there are.
    pub(super) fn handle_timeout<I: Iterator<Item = IpAddr>>(
        &mut self,
        all: impl FnOnce() -> I,
        now: Instant,
        settings: &Settings,
    ) -> Vec<IpAddr> {
        let refreshing = self.refresh_at.is_some_and(|at| at <= now);
        if refreshing {
            self.refresh_at = Some(now + settings.route_refresh);
        }
        let settled = self.settle_at.is_some_and(|at| at <= now);
        if settled {
            self.settle_at = None;
        }
        if refreshing || settled {
            self.add_all(now, settings);
        }
        if self.batch_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        if self.all_due && self.due.is_empty() {
            self.all_due = false;
            self.due.extend(all());
        }
        let mut batch = Vec::new();
        while batch.len() < settings.route_batch
            && let Some(target) = self.next()
        {
            self.due.remove(&target);
            self.cursor = Some(target);
            batch.push(target);
        }
        let next = now + settings.route_debounce;
        self.not_before = Some(next);
        self.batch_at = (self.all_due || !self.due.is_empty()).then_some(next);
        batch
    }

    fn next(&self) -> Option<IpAddr> {
        let behind = self.cursor.and_then(|cursor| self.due.range((Excluded(cursor), Unbounded)).next());
        behind.or_else(|| self.due.first()).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use std::time::Duration;

    fn addresses(count: u32) -> impl Iterator<Item = IpAddr> {
        (0..count).map(|n| IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n)))
    }

    fn settings() -> Settings {
        Settings { route_batch: 100, ..Settings::default() }
    }

    #[test]
    fn a_burst_of_changes_costs_one_round() {
        let (settings, start) = (settings(), Instant::now());
        let mut requery = Requery::new();
        for ms in 0..50 {
            requery.add(addresses(3), start + Duration::from_millis(ms), &settings);
            let early = requery.handle_timeout(|| addresses(3), start + Duration::from_millis(ms), &settings);
            assert!(early.is_empty());
        }
        let batch = requery.handle_timeout(|| addresses(3), start + Duration::from_millis(50), &settings);
        assert_eq!(batch, addresses(3).collect::<Vec<_>>());
    }

    #[test]
    fn constant_change_is_limited_to_one_batch_per_debounce_time() {
        let (settings, start) = (settings(), Instant::now());
        let mut requery = Requery::new();
        let mut asked = 0;
        for ms in 0..1000 {
            let now = start + Duration::from_millis(ms);
            requery.add(addresses(1000), now, &settings);
            asked += requery.handle_timeout(|| addresses(1000), now, &settings).len();
        }
        assert_eq!(asked, 19 * 100);
    }

    #[test]
    fn under_constant_change_every_target_gets_its_turn() {
        let (settings, start) = (settings(), Instant::now());
        for whole in [true, false] {
            let mut requery = Requery::new();
            let mut asked = BTreeSet::new();
            for ms in 0..1000 {
                let now = start + Duration::from_millis(ms);
                if whole {
                    requery.add_all(now, &settings);
                } else {
                    requery.add(addresses(1000), now, &settings);
                }
                asked.extend(requery.handle_timeout(|| addresses(1000), now, &settings));
            }
            assert_eq!(asked.len(), 1000);
        }
    }

    #[test]
    fn everything_is_asked_again_after_settling_and_on_refresh() {
        let (settings, start) = (settings(), Instant::now());
        let mut requery = Requery::new();
        requery.start(start, &settings);
        requery.settle(start, &settings);
        let mut rounds = Vec::new();
        let mut now = start;
        while let Some(at) = requery.poll_timeout().filter(|at| *at < start + Duration::from_secs(130)) {
            now = now.max(at);
            if !requery.handle_timeout(|| addresses(2), now, &settings).is_empty() {
                rounds.push((now - start).as_secs());
            }
        }
        assert_eq!(rounds, [1, 60, 120]);
    }
}
