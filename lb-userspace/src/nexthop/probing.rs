//! One watched neighbour: which MAC address is in use, when to probe, when to give up.

use std::time::{Duration, Instant};

use super::kernel::{Neighbour, NeighbourState};
use super::settings::{Jitter, Settings};

/// What a neighbour is good for at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// Frames may be sent to this MAC address.
    Mac([u8; 6]),
    /// No answer yet.
    Resolving,
    /// No answer, and the kernel has given up at least once.
    NotAnswering,
    /// The kernel could not take the entry.
    TableFull,
}

/// The kernel's entry, reduced to what matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    /// Confirmed, or not in need of it.
    Confirmed([u8; 6]),
    /// A MAC address that nobody has confirmed lately.
    Doubtful([u8; 6]),
    /// The kernel is about to confirm the MAC address.
    Confirming([u8; 6]),
    /// The kernel is asking for a MAC address.
    Asked,
    /// No entry, or one without use.
    Lost,
}

impl From<Option<&Neighbour>> for Entry {
    fn from(entry: Option<&Neighbour>) -> Self {
        use NeighbourState as State;
        let Some(Neighbour { mac, state, .. }) = entry else { return Self::Lost };
        match (state, mac) {
            (State::Reachable | State::Permanent | State::NoArp, Some(mac)) => Self::Confirmed(*mac),
            (State::Stale, Some(mac)) => Self::Doubtful(*mac),
            (State::Delay | State::Probe, Some(mac)) => Self::Confirming(*mac),
            (State::Incomplete, _) => Self::Asked,
            _ => Self::Lost,
        }
    }
}

/// A probe the kernel should send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Probe {
    /// Ask a known MAC address whether it is still right.
    Confirm,
    /// Ask all on the link for the address.
    Resolve,
}

/// State machine of one neighbour.
#[derive(Debug)]
pub(super) struct Watch {
    entry: Entry,
    mac: Option<[u8; 6]>,
    /// Set while `mac` is used although the kernel has lost it.
    grace_until: Option<Instant>,
    probe_at: Option<Instant>,
    /// Probes since the last sign of life.
    attempts: u32,
    failure: Option<View>,
}

impl Watch {
    /// A neighbour of which nothing is known; it acts only once observed.
    pub(super) fn new() -> Self {
        Self { entry: Entry::Lost, mac: None, grace_until: None, probe_at: None, attempts: 0, failure: None }
    }

    pub(super) fn view(&self) -> View {
        self.mac.map_or(self.failure.unwrap_or(View::Resolving), View::Mac)
    }

    /// When [`Watch::handle_timeout`] has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        [self.grace_until, self.probe_at].into_iter().flatten().min()
    }

    /// Takes in the kernel's entry.
    pub(super) fn observe(
        &mut self,
        neighbour: Option<&Neighbour>,
        now: Instant,
        settings: &Settings,
        jitter: &mut Jitter,
    ) {
        let previous = std::mem::replace(&mut self.entry, neighbour.into());
        match self.entry {
            Entry::Confirmed(mac) => {
                self.alive(mac);
                self.probe_at = None;
            }
            Entry::Doubtful(mac) => {
                self.alive(mac);
                self.probe_by(now + jitter.up_to(settings.confirm_within));
            }
            Entry::Confirming(mac) => {
                self.alive(mac);
                self.probe_at = Some(now + jitter.around(settings.confirm_again));
            }
            Entry::Asked => {
                self.start_grace(now, settings);
                if previous != Entry::Asked {
                    self.probe_at = Some(now + settings.probe_timeout);
                }
            }
            Entry::Lost => {
                self.start_grace(now, settings);
                if self.attempts == 0 {
                    self.probe_by(now);
                } else {
                    self.failure = Some(View::NotAnswering);
                    self.probe_by(now + self.pause(settings, jitter));
                }
            }
        }
    }

    /// Does what is due; tells whether the kernel should probe.
    pub(super) fn handle_timeout(
        &mut self,
        now: Instant,
        settings: &Settings,
        jitter: &mut Jitter,
    ) -> Option<Probe> {
        if self.grace_until.is_some_and(|until| until <= now) {
            self.grace_until = None;
            self.mac = None;
            self.failure.get_or_insert(View::NotAnswering);
        }
        if self.probe_at.is_none_or(|at| at > now) {
            return None;
        }
        if let Entry::Doubtful(_) | Entry::Confirming(_) = self.entry {
            self.probe_at = Some(now + jitter.around(settings.confirm_again));
            return Some(Probe::Confirm);
        }
        if self.attempts > 0 {
            self.failure.get_or_insert(View::NotAnswering);
        }
        self.attempts += 1;
        self.probe_at = Some(now + self.pause(settings, jitter).max(settings.probe_timeout));
        Some(Probe::Resolve)
    }

    /// Takes in that the kernel had no room for the entry.
    pub(super) fn table_full(&mut self) {
        self.failure = Some(View::TableFull);
    }

    fn alive(&mut self, mac: [u8; 6]) {
        self.mac = Some(mac);
        self.grace_until = None;
        self.attempts = 0;
        self.failure = None;
    }

    fn start_grace(&mut self, now: Instant, settings: &Settings) {
        if self.mac.is_some() {
            self.grace_until.get_or_insert(now + settings.grace);
        }
    }

    fn probe_by(&mut self, latest: Instant) {
        self.probe_at = Some(self.probe_at.map_or(latest, |at| at.min(latest)));
    }

    fn pause(&self, settings: &Settings, jitter: &mut Jitter) -> Duration {
        let doublings = self.attempts.saturating_sub(1).min(16);
        let mean = settings.retry_min.saturating_mul(1 << doublings).min(settings.retry_max);
        jitter.around(mean).min(settings.retry_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nexthop::NeighbourKey;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 2];

    struct World {
        watch: Watch,
        settings: Settings,
        jitter: Jitter,
        now: Instant,
    }

    impl World {
        fn new() -> Self {
            Self {
                watch: Watch::new(),
                settings: Settings::default(),
                jitter: Jitter::new(1),
                now: Instant::now(),
            }
        }

        fn see(&mut self, state: NeighbourState, mac: Option<[u8; 6]>) -> View {
            let key = NeighbourKey { ifindex: 2, address: "192.0.2.1".parse().unwrap() };
            let entry = Neighbour { key, mac, state };
            self.watch.observe(Some(&entry), self.now, &self.settings, &mut self.jitter);
            self.watch.view()
        }

        fn lose(&mut self) -> View {
            self.watch.observe(None, self.now, &self.settings, &mut self.jitter);
            self.watch.view()
        }

        /// Jumps to the next timer if it comes within `most`; otherwise lets `most` pass.
        fn probe_within(&mut self, most: Duration) -> Option<(Duration, Probe)> {
            let start = self.now;
            while let Some(at) = self.watch.poll_timeout().filter(|at| *at <= start + most) {
                self.now = self.now.max(at);
                if let Some(probe) = self.watch.handle_timeout(self.now, &self.settings, &mut self.jitter) {
                    return Some((self.now - start, probe));
                }
            }
            self.now = start + most;
            None
        }
    }

    #[test]
    fn first_view_of_every_state() {
        use NeighbourState as S;
        for (state, mac, view, probe) in [
            (S::Reachable, Some(MAC), View::Mac(MAC), None),
            (S::Permanent, Some(MAC), View::Mac(MAC), None),
            (S::NoArp, Some(MAC), View::Mac(MAC), None),
            (S::Stale, Some(MAC), View::Mac(MAC), Some((2, Probe::Confirm))),
            (S::Delay, Some(MAC), View::Mac(MAC), Some((30, Probe::Confirm))),
            (S::Probe, Some(MAC), View::Mac(MAC), Some((30, Probe::Confirm))),
            (S::Incomplete, None, View::Resolving, Some((4, Probe::Resolve))),
            (S::Failed, None, View::Resolving, Some((0, Probe::Resolve))),
            (S::None, None, View::Resolving, Some((0, Probe::Resolve))),
            (S::Reachable, None, View::Resolving, Some((0, Probe::Resolve))),
        ] {
            let mut world = World::new();
            assert_eq!(world.see(state, mac), view, "{state:?}");
            let seen = world.probe_within(Duration::from_secs(120));
            assert_eq!(seen.map(|(_, kind)| kind), probe.map(|(_, kind)| kind), "{state:?}");
            if let (Some((after, _)), Some((most, _))) = (seen, probe) {
                assert!(after <= Duration::from_secs(most), "{state:?}: after {after:?}");
            }
        }
    }

    #[test]
    fn a_stale_neighbour_is_asked_until_it_is_confirmed() {
        let mut world = World::new();
        world.see(NeighbourState::Stale, Some(MAC));
        assert!(world.probe_within(Duration::from_secs(2)).is_some());
        for _ in 0..5 {
            let (after, probe) = world.probe_within(Duration::from_secs(30)).unwrap();
            assert_eq!(probe, Probe::Confirm);
            assert!(after >= Duration::from_secs(10));
        }
        assert_eq!(world.see(NeighbourState::Reachable, Some(MAC)), View::Mac(MAC));
        assert_eq!(world.probe_within(Duration::from_secs(3600)), None);
    }

    #[test]
    fn a_neighbour_that_stops_answering_keeps_its_mac_for_the_grace_time() {
        let mut world = World::new();
        world.see(NeighbourState::Reachable, Some(MAC));
        assert_eq!(world.see(NeighbourState::Failed, None), View::Mac(MAC));
        assert_eq!(world.probe_within(Duration::ZERO), Some((Duration::ZERO, Probe::Resolve)));
        world.now += Duration::from_secs(3);
        assert_eq!(world.see(NeighbourState::Failed, None), View::Mac(MAC));
        let failed = world.now;
        while world.now < failed + Duration::from_millis(6900) {
            world.probe_within(Duration::from_millis(100));
            assert_eq!(world.watch.view(), View::Mac(MAC), "grace is 10 s from the first failure");
        }
        world.probe_within(Duration::from_millis(200));
        assert_eq!(world.watch.view(), View::NotAnswering);
        assert_eq!(world.see(NeighbourState::Reachable, Some(OTHER)), View::Mac(OTHER));
    }

    #[test]
    fn a_flapping_neighbour_gets_a_new_grace_time_only_when_it_was_there() {
        let mut world = World::new();
        world.see(NeighbourState::Reachable, Some(MAC));
        for _ in 0..20 {
            world.lose();
            world.probe_within(Duration::from_secs(6));
            assert_eq!(world.watch.view(), View::Mac(MAC));
            world.see(NeighbourState::Stale, Some(MAC));
        }
        let start = world.now;
        while world.now < start + Duration::from_secs(12) {
            world.see(NeighbourState::Failed, None);
            world.see(NeighbourState::Incomplete, None);
            world.probe_within(Duration::from_secs(1));
        }
        assert_eq!(world.watch.view(), View::NotAnswering);
    }

    #[test]
    fn pauses_between_probes_grow_to_the_longest_and_start_anew() {
        let mut world = World::new();
        world.lose();
        world.probe_within(Duration::ZERO).unwrap();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            world.now += Duration::from_secs(3);
            assert_eq!(world.see(NeighbourState::Failed, None), View::NotAnswering);
            pauses.push(world.probe_within(Duration::from_secs(60)).unwrap().0);
        }
        assert!(pauses[0] <= Duration::from_millis(1500), "{pauses:?}");
        assert!(pauses.iter().all(|p| *p <= Duration::from_secs(30)), "{pauses:?}");
        assert!(pauses[8..].iter().all(|p| *p >= Duration::from_secs(12)), "{pauses:?}");
        world.see(NeighbourState::Reachable, Some(MAC));
        world.lose();
        assert_eq!(world.probe_within(Duration::ZERO), Some((Duration::ZERO, Probe::Resolve)));
    }

    #[test]
    fn a_silent_kernel_does_not_stop_the_probes() {
        let mut world = World::new();
        assert_eq!(world.lose(), View::Resolving);
        world.probe_within(Duration::ZERO).unwrap();
        assert_eq!(world.watch.view(), View::Resolving);
        world.probe_within(Duration::from_secs(4)).unwrap();
        assert_eq!(world.watch.view(), View::NotAnswering);
        assert!(world.probe_within(Duration::from_secs(31)).is_some());
    }

    #[test]
    fn a_full_table_is_told_apart_and_mended_by_an_answer() {
        let mut world = World::new();
        world.lose();
        world.probe_within(Duration::ZERO).unwrap();
        world.watch.table_full();
        assert_eq!(world.watch.view(), View::TableFull);
        world.probe_within(Duration::from_secs(31)).unwrap();
        assert_eq!(world.watch.view(), View::TableFull, "asking again does not make room");
        assert_eq!(world.see(NeighbourState::Reachable, Some(MAC)), View::Mac(MAC));
    }
}
