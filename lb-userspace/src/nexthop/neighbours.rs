//! All neighbours: the kernel's entries, who waits for which, and one queue of timers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use super::kernel::{Neighbour, NeighbourKey};
use super::probing::{Probe, View, Watch};
use super::settings::{Jitter, Settings};

#[derive(Debug)]
pub(super) struct Neighbours {
    settings: Settings,
    jitter: Jitter,
    /// What the kernel has, watched or not: a target may turn to any neighbour at any time.
    kernel: BTreeMap<NeighbourKey, Neighbour>,
    watched: BTreeMap<NeighbourKey, Watched>,
    timers: BTreeSet<(Instant, NeighbourKey)>,
}

#[derive(Debug)]
struct Watched {
    watch: Watch,
    /// Targets that go through this neighbour.
    users: BTreeSet<IpAddr>,
    armed: Option<Instant>,
    /// Whether the link can carry a probe; without, the watch rests.
    link_up: bool,
}

impl Neighbours {
    pub(super) fn new(settings: Settings, jitter_seed: u64) -> Self {
        Self {
            settings,
            jitter: Jitter::new(jitter_seed),
            kernel: BTreeMap::new(),
            watched: BTreeMap::new(),
            timers: BTreeSet::new(),
        }
    }

    /// Starts to watch `key` for the target `user`.
    pub(super) fn want(&mut self, key: NeighbourKey, user: IpAddr, link_up: bool, now: Instant) {
        if let Some(watched) = self.watched.get_mut(&key) {
            watched.users.insert(user);
            return;
        }
        let mut watched =
            Watched { watch: Watch::new(), users: BTreeSet::from([user]), armed: None, link_up };
        if link_up {
            watched.watch.observe(self.kernel.get(&key), now, &self.settings, &mut self.jitter);
        }
        arm(&mut self.timers, key, &mut watched);
        self.watched.insert(key, watched);
    }

    /// The target `user` no longer needs `key`.
    pub(super) fn release(&mut self, key: NeighbourKey, user: IpAddr) {
        let Some(watched) = self.watched.get_mut(&key) else { return };
        watched.users.remove(&user);
        if watched.users.is_empty() {
            if let Some(at) = watched.armed {
                self.timers.remove(&(at, key));
            }
            self.watched.remove(&key);
        }
    }

    /// Takes in the kernel's entry (None: deleted). True if the view of a watched neighbour changed.
    pub(super) fn observe(&mut self, key: NeighbourKey, neighbour: Option<Neighbour>, now: Instant) -> bool {
        match neighbour {
            Some(neighbour) => self.kernel.insert(key, neighbour),
            None => self.kernel.remove(&key),
        };
        let Some(watched) = self.watched.get_mut(&key).filter(|watched| watched.link_up) else {
            return false;
        };
        let before = watched.watch.view();
        watched.watch.observe(neighbour.as_ref(), now, &self.settings, &mut self.jitter);
        arm(&mut self.timers, key, watched);
        watched.watch.view() != before
    }

    /// The link went up or down. What was learnt before it went down is forgotten: another network may be at the
    /// end of the wire, and asking again takes one round trip.
    pub(super) fn set_link(&mut self, ifindex: u32, up: bool, now: Instant) {
        for (key, watched) in self.watched.range_mut(keys_of(ifindex)) {
            watched.watch = Watch::new();
            watched.link_up = up;
            if up {
                watched.watch.observe(self.kernel.get(key), now, &self.settings, &mut self.jitter);
            }
            arm(&mut self.timers, *key, watched);
        }
    }

    /// The kernel had no room for the entry. True if that changed the view.
    pub(super) fn table_full(&mut self, key: NeighbourKey) -> bool {
        let Some(watched) = self.watched.get_mut(&key) else { return false };
        let before = watched.watch.view();
        watched.watch.table_full();
        watched.watch.view() != before
    }

    /// Does what is due: probes to send, and neighbours whose view changed.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> (Vec<(NeighbourKey, Probe)>, Vec<NeighbourKey>) {
        let (mut probes, mut changed) = (Vec::new(), Vec::new());
        while let Some(&(at, key)) = self.timers.first().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, key));
            let Some(watched) = self.watched.get_mut(&key) else { continue };
            watched.armed = None;
            let before = watched.watch.view();
            let probe = watched.watch.handle_timeout(now, &self.settings, &mut self.jitter);
            probes.extend(probe.map(|probe| (key, probe)));
            if watched.watch.view() != before {
                changed.push(key);
            }
            arm(&mut self.timers, key, watched);
        }
        (probes, changed)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    pub(super) fn view(&self, key: NeighbourKey) -> View {
        self.watched.get(&key).map_or(View::Resolving, |watched| watched.watch.view())
    }

    /// Targets that go through `key`.
    pub(super) fn users(&self, key: NeighbourKey) -> impl Iterator<Item = IpAddr> + '_ {
        self.watched.get(&key).into_iter().flat_map(|watched| watched.users.iter().copied())
    }

    /// Entries the kernel has, as far as announced.
    pub(super) fn known(&self) -> impl Iterator<Item = NeighbourKey> + '_ {
        self.kernel.keys().copied()
    }
}

fn arm(timers: &mut BTreeSet<(Instant, NeighbourKey)>, key: NeighbourKey, watched: &mut Watched) {
    let next = watched.watch.poll_timeout();
    if next == watched.armed {
        return;
    }
    if let Some(at) = watched.armed {
        timers.remove(&(at, key));
    }
    timers.extend(next.map(|at| (at, key)));
    watched.armed = next;
}

fn keys_of(ifindex: u32) -> std::ops::RangeInclusive<NeighbourKey> {
    NeighbourKey { ifindex, address: IpAddr::V4(Ipv4Addr::UNSPECIFIED) }..=NeighbourKey {
        ifindex,
        address: IpAddr::V6(Ipv6Addr::from(u128::MAX)),
    }
}
