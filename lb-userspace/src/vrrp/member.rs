//! One instance of the configuration: its virtual router with what is tracked, announced, counted.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::{Advertisement, Reason, Reject, Sealer, State, Verifier, VirtualRouter};
use crate::model::{Announce, Instance, TrackKind};

/// Transitions that are kept for listings.
const HISTORY: usize = 16;

/// Other routers that are kept for listings; more than a link has, and a bound for forged ones.
const MOST_PEERS: usize = 64;

/// What is known of something tracked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tracked {
    /// Whether it is well.
    pub up: bool,
    /// Of a file: the number in it.
    pub number: i32,
}

impl Default for Tracked {
    /// Until the first look everything is well: a start of the daemon must not take addresses away.
    fn default() -> Self {
        Self { up: true, number: 0 }
    }
}

/// A change of state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// When.
    pub time: SystemTime,
    /// What it was before.
    pub from: State,
    /// What it has been since.
    pub to: State,
    /// Why.
    pub reason: Reason,
}

/// What was counted since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Advertisements sent.
    pub sent: u64,
    /// Those that could not be sent.
    pub send_errors: u64,
    /// Good advertisements received.
    pub received: u64,
    /// Of those, with priority 0.
    pub received_zero: u64,
    /// Refused ones, by reason.
    pub rejects: BTreeMap<&'static str, u64>,
    /// Entries into each state, by name.
    pub transitions: BTreeMap<&'static str, u64>,
    /// Advertisements that list other addresses than this instance has.
    pub other_addresses: u64,
    /// Advertisements that went out later than half an interval after their time.
    pub late: u64,
}

/// Another router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// Interface by which it was heard.
    pub interface: String,
    /// Its priority; 0 gave the addresses up.
    pub priority: u8,
    /// When it was last heard.
    pub heard: Instant,
}

/// An instance at work.
#[derive(Debug, Clone)]
pub struct Member {
    pub(super) instance: Arc<Instance>,
    pub(super) router: VirtualRouter,
    pub(super) hmac: Option<(Sealer, Verifier)>,
    pub(super) tracked: Vec<Tracked>,
    /// Why it cannot run, by its interface and its tracks.
    pub(super) missing: Option<Reason>,
    pub(super) announcements: Announcements,
    pub(super) statistics: Statistics,
    pub(super) history: VecDeque<Transition>,
    pub(super) peers: Vec<Peer>,
    /// When another active router was last heard while this one was active.
    pub(super) rival: Option<Instant>,
}

impl Member {
    pub(super) fn new(instance: Arc<Instance>) -> Self {
        Self {
            router: VirtualRouter::new(instance.router.clone()),
            hmac: hmac(&instance),
            tracked: vec![Tracked::default(); instance.tracks.len()],
            missing: None,
            announcements: Announcements::default(),
            statistics: Statistics::default(),
            history: VecDeque::new(),
            peers: Vec::new(),
            rival: None,
            instance,
        }
    }

    /// Its configuration.
    #[must_use]
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Its virtual router.
    #[must_use]
    pub fn router(&self) -> &VirtualRouter {
        &self.router
    }

    /// What was counted.
    #[must_use]
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// The last transitions, the newest last.
    pub fn history(&self) -> impl Iterator<Item = &Transition> {
        self.history.iter()
    }

    /// Other routers that were heard.
    #[must_use]
    pub fn peers(&self) -> &[Peer] {
        &self.peers
    }

    /// What is known of what it tracks, in the order of the configuration.
    #[must_use]
    pub fn tracked(&self) -> &[Tracked] {
        &self.tracked
    }

    /// Whether another router has been active at the same time within the last three intervals.
    #[must_use]
    pub fn has_rival(&self, now: Instant) -> bool {
        let bound = self.instance.router.interval.duration() * 3;
        self.router.state() == State::Active
            && self.rival.is_some_and(|heard| now.duration_since(heard) < bound)
    }

    /// Another router with a higher priority, or the same and a higher address than `own`, that was heard lately: it would
    /// take the addresses back at once.
    #[must_use]
    pub fn stronger_peer(&self, own: IpAddr, now: Instant) -> Option<&Peer> {
        let bound = self.router.active_interval().duration() * 3;
        self.peers.iter().find(|peer| {
            now.duration_since(peer.heard) < bound
                && (peer.priority, peer.address) > (self.router.priority(), own)
        })
    }

    /// What its tracks lack that is a fault.
    pub(super) fn failed_track(&self) -> Option<Reason> {
        let mut tracks = self.instance.tracks.iter().zip(&self.tracked);
        let fault = |(track, tracked): &(&crate::model::Track, &Tracked)| {
            track.weight == 0
                && match track.kind {
                    TrackKind::File(_) => tracked.number != 0,
                    _ => !tracked.up,
                }
        };
        tracks.find(fault).map(|(track, _)| Reason::Missing(format!("{} failed", track.name)))
    }

    /// The configured priority with the weights of its tracks.
    pub(super) fn priority(&self) -> i32 {
        let tracks = self.instance.tracks.iter().zip(&self.tracked);
        let sum: i32 = tracks
            .map(|(track, tracked)| match track.kind {
                TrackKind::File(_) => tracked.number.saturating_mul(track.weight).clamp(-1000, 1000),
                _ if (track.weight > 0) == tracked.up => track.weight,
                _ => 0,
            })
            .sum();
        i32::from(self.instance.router.priority) + sum
    }

    pub(super) fn entered(&mut self, from: State, to: State, reason: &Reason, clock: SystemTime) {
        *self.statistics.transitions.entry(to.name()).or_default() += 1;
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(Transition { time: clock, from, to, reason: reason.clone() });
    }

    pub(super) fn rejected(&mut self, reject: Reject) {
        *self.statistics.rejects.entry(reject.name()).or_default() += 1;
    }

    pub(super) fn heard(
        &mut self,
        advertisement: &Advertisement,
        address: IpAddr,
        interface: &str,
        now: Instant,
    ) {
        self.statistics.received += 1;
        if advertisement.priority == 0 {
            self.statistics.received_zero += 1;
        } else if self.router.state() == State::Active {
            self.rival = Some(now);
        }
        let mut own = self.instance.addresses.iter().map(|own| own.address);
        let same = advertisement.addresses.len() == self.instance.addresses.len()
            && own.all(|own| advertisement.addresses.contains(&own));
        self.statistics.other_addresses += u64::from(!same);
        let priority = advertisement.priority;
        match self.peers.iter_mut().find(|peer| peer.address == address && peer.interface == interface) {
            Some(peer) => (peer.priority, peer.heard) = (priority, now),
            None => {
                if self.peers.len() == MOST_PEERS {
                    self.peers.sort_by_key(|peer| peer.heard);
                    self.peers.remove(0);
                }
                self.peers.push(Peer { address, interface: interface.to_owned(), priority, heard: now });
            }
        }
    }
}

pub(super) fn hmac(instance: &Instance) -> Option<(Sealer, Verifier)> {
    let config = instance.hmac.as_ref()?;
    let (version, vrid) = (instance.router.version, instance.router.vrid);
    Some((Sealer::new(version, vrid, config.clone()), Verifier::new(version, vrid, config.clone())))
}

/// When the network is told again whose the addresses are.
#[derive(Debug, Clone, Default)]
pub(super) struct Announcements {
    again: Option<Instant>,
    refresh: Option<Instant>,
}

impl Announcements {
    /// The addresses were taken; the first burst is the caller's.
    pub(super) fn begin(&mut self, announce: &Announce, now: Instant) {
        self.again = (announce.delay > Duration::ZERO).then(|| now + announce.delay);
        self.refresh = (announce.refresh > Duration::ZERO).then(|| now + announce.refresh);
    }

    pub(super) fn end(&mut self) {
        *self = Self::default();
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.again.into_iter().chain(self.refresh).min()
    }

    /// How often each address is to be announced now.
    pub(super) fn handle_timeout(&mut self, announce: &Announce, now: Instant) -> u32 {
        let mut count = 0;
        if self.again.is_some_and(|due| due <= now) {
            self.again = None;
            count += announce.repeat;
        }
        if self.refresh.is_some_and(|due| due <= now) {
            self.refresh = Some(now + announce.refresh);
            count = count.max(1);
        }
        count
    }
}
