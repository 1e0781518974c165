//! The resolver's decisions: events, route answers and the time go in, actions and changed resolutions come out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Instant;

use super::kernel::{Address, Dump, Event, Link, LinkKind, NeighbourKey, Prefix, RouteAnswer, RouteError};
use super::neighbours::Neighbours;
use super::probing::{Probe, View};
use super::requery::Requery;
use super::resolution::{NextHop, Reason, Resolution, Vlan};
use super::settings::Settings;

/// What the table wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Ask the kernel for the route to the target; the answer goes to [`Table::handle_route`]. Exactly one answer
    /// per action ([`RouteError::Lost`] if none came).
    QueryRoute(IpAddr),
    /// Have the kernel send ARP requests or neighbour solicitations; what comes of it arrives as events.
    Probe {
        /// Who is asked for.
        neighbour: NeighbourKey,
        /// True: the kernel has a MAC address to confirm; false: the address has to be resolved anew.
        confirm: bool,
    },
}

/// Resolutions of a set of targets.
///
/// After every `handle_*` and [`Table::set_targets`], drain [`Table::poll_action`], then read
/// [`Table::poll_timeout`]; take [`Table::take_changes`] whenever somebody can receive them.
#[derive(Debug)]
pub struct Table {
    settings: Settings,
    targets: BTreeMap<IpAddr, Target>,
    links: BTreeMap<u32, Link>,
    addresses: BTreeMap<(u32, IpAddr, u8), Address>,
    neighbours: Neighbours,
    requery: Requery,
    actions: VecDeque<Action>,
    /// Targets whose resolution may differ from what was last reported.
    touched: BTreeSet<IpAddr>,
}

#[derive(Debug)]
struct Target {
    route: Route,
    /// Interface of the last route there was: says whether a lost route is due to its link.
    last_ifindex: Option<u32>,
    querying: bool,
    /// Something changed while the question was under way, so that the answer may be outdated.
    query_again: bool,
    reported: Resolution,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Unknown,
    Local,
    Via { neighbour: NeighbourKey, source: Option<IpAddr>, mtu: Option<u32> },
    Failed(RouteError),
}

impl Route {
    fn neighbour(&self) -> Option<NeighbourKey> {
        match self {
            Self::Via { neighbour, .. } => Some(*neighbour),
            _ => None,
        }
    }
}

impl Table {
    /// An empty table. `jitter_seed` spreads probe times; any number will do.
    #[must_use]
    pub fn new(settings: Settings, jitter_seed: u64) -> Self {
        Self {
            neighbours: Neighbours::new(settings.clone(), jitter_seed),
            settings,
            targets: BTreeMap::new(),
            links: BTreeMap::new(),
            addresses: BTreeMap::new(),
            requery: Requery::new(),
            actions: VecDeque::new(),
            touched: BTreeSet::new(),
        }
    }

    /// Replaces the set of addresses to resolve; those that stay keep what is known.
    ///
    /// A new target counts as reported [`Reason::Resolving`]: the first change to come is the first real answer.
    pub fn set_targets(&mut self, targets: &BTreeSet<IpAddr>, now: Instant) {
        self.requery.start(now, &self.settings);
        let gone: Vec<IpAddr> = self.targets.keys().filter(|ip| !targets.contains(ip)).copied().collect();
        for ip in gone {
            if let Some(neighbour) = self.targets.remove(&ip).and_then(|target| target.route.neighbour()) {
                self.neighbours.release(neighbour, ip);
            }
            self.requery.forget(ip);
            self.touched.remove(&ip);
        }
        for &ip in targets {
            if let std::collections::btree_map::Entry::Vacant(vacant) = self.targets.entry(ip) {
                vacant.insert(Target {
                    route: Route::Unknown,
                    last_ifindex: None,
                    querying: true,
                    query_again: false,
                    reported: Resolution::Unresolved(Reason::Resolving),
                });
                self.actions.push_back(Action::QueryRoute(ip));
            }
        }
    }

    /// Takes in a change the kernel announced.
    pub fn handle_event(&mut self, event: Event, now: Instant) {
        match event {
            Event::Link(link) => self.handle_link(link, now),
            Event::LinkRemoved(ifindex) => self.remove_link(ifindex, now),
            Event::Address(address) => {
                if self.addresses.insert(address_key(&address), address) != Some(address) {
                    self.routes_may_have_changed(now);
                }
            }
            Event::AddressRemoved(address) => {
                if self.addresses.remove(&address_key(&address)).is_some() {
                    self.routes_may_have_changed(now);
                }
            }
            Event::Neighbour(neighbour) => {
                if self.neighbours.observe(neighbour.key, Some(neighbour), now) {
                    self.touched.extend(self.neighbours.users(neighbour.key));
                }
            }
            Event::NeighbourRemoved(key) => {
                if self.neighbours.observe(key, None, now) {
                    self.touched.extend(self.neighbours.users(key));
                }
            }
            Event::Routes(prefix) => self.query_prefix(prefix, now),
        }
    }

    /// Replaces all that events have told by a fresh dump: at the start, and after events were lost.
    pub fn handle_dump(&mut self, dump: Dump, now: Instant) {
        let links: BTreeSet<u32> = dump.links.iter().map(|link| link.ifindex).collect();
        let gone: Vec<u32> = self.links.keys().filter(|index| !links.contains(index)).copied().collect();
        let neighbours: BTreeSet<NeighbourKey> = dump.neighbours.iter().map(|entry| entry.key).collect();
        let lost: Vec<NeighbourKey> =
            self.neighbours.known().filter(|key| !neighbours.contains(key)).collect();
        self.addresses = dump.addresses.into_iter().map(|a| (address_key(&a), a)).collect();
        let events = (gone.into_iter().map(Event::LinkRemoved))
            .chain(dump.links.into_iter().map(Event::Link))
            .chain(lost.into_iter().map(Event::NeighbourRemoved))
            .chain(dump.neighbours.into_iter().map(Event::Neighbour))
            .chain([Event::Routes(None)]);
        for event in events {
            self.handle_event(event, now);
        }
    }

    /// Takes in the answer to [`Action::QueryRoute`].
    pub fn handle_route(&mut self, ip: IpAddr, answer: Result<RouteAnswer, RouteError>, now: Instant) {
        let Some(target) = self.targets.get_mut(&ip) else { return };
        target.querying = false;
        if target.query_again || answer == Err(RouteError::Lost) {
            target.query_again = false;
            self.requery.add([ip], now, &self.settings);
        }
        let route = match answer {
            Err(RouteError::Lost) => return,
            Err(error) => Route::Failed(error),
            Ok(RouteAnswer::Local) => Route::Local,
            Ok(RouteAnswer::Unicast { ifindex, gateway, source, mtu }) => {
                target.last_ifindex = Some(ifindex);
                let neighbour = NeighbourKey { ifindex, address: gateway.unwrap_or(ip) };
                Route::Via { neighbour, source, mtu }
            }
        };
        let before = std::mem::replace(&mut target.route, route);
        if before == route {
            return;
        }
        self.touched.insert(ip);
        if before.neighbour() != route.neighbour() {
            // A wanted neighbour first, so that a shared one is not dropped in between.
            if let Some(key) = route.neighbour().filter(|key| self.is_ethernet(key.ifindex)) {
                let link_up = self.links.get(&key.ifindex).is_some_and(|link| link.up);
                self.neighbours.want(key, ip, link_up, now);
            }
            if let Some(key) = before.neighbour() {
                self.neighbours.release(key, ip);
            }
        }
    }

    /// Takes in that the kernel had no room for a probed neighbour (gc_thresh3 of arp(7)).
    pub fn handle_table_full(&mut self, key: NeighbourKey) {
        if self.neighbours.table_full(key) {
            self.touched.extend(self.neighbours.users(key));
        }
    }

    /// Does what is due; early calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        let (probes, changed) = self.neighbours.handle_timeout(now);
        for (neighbour, kind) in probes {
            self.actions.push_back(Action::Probe { neighbour, confirm: kind == Probe::Confirm });
        }
        for key in changed {
            self.touched.extend(self.neighbours.users(key));
        }
        let targets = &self.targets;
        for ip in self.requery.handle_timeout(|| targets.keys().copied(), now, &self.settings) {
            let Some(target) = self.targets.get_mut(&ip) else { continue };
            if target.querying {
                target.query_again = true;
            } else {
                target.querying = true;
                self.actions.push_back(Action::QueryRoute(ip));
            }
        }
    }

    /// When [`Table::handle_timeout`] has something to do; None: not before the next input.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.neighbours.poll_timeout(), self.requery.poll_timeout()].into_iter().flatten().min()
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether [`Table::take_changes`] may have something.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        !self.touched.is_empty()
    }

    /// Targets whose resolution differs from what was last taken, in the order of addresses. Changes that were undone
    /// in between do not appear.
    pub fn take_changes(&mut self) -> Vec<(IpAddr, Resolution)> {
        let mut changes = Vec::new();
        for ip in std::mem::take(&mut self.touched) {
            let Some(resolution) = self.resolution(ip) else { continue };
            let Some(target) = self.targets.get_mut(&ip) else { continue };
            if target.reported != resolution {
                target.reported = resolution.clone();
                changes.push((ip, resolution));
            }
        }
        changes
    }

    /// The resolution of a target as of now; None for an address that is no target.
    #[must_use]
    pub fn resolution(&self, ip: IpAddr) -> Option<Resolution> {
        let target = self.targets.get(&ip)?;
        Some(match target.route {
            Route::Unknown => Resolution::Unresolved(Reason::Resolving),
            Route::Local => Resolution::Local,
            Route::Failed(error) => Resolution::Unresolved(self.failure(target, error)),
            Route::Via { neighbour, source, mtu } => match self.links.get(&neighbour.ifindex) {
                Some(link) => self.via(link, neighbour, source, mtu),
                None => Resolution::Unresolved(Reason::Resolving),
            },
        })
    }

    /// Targets in order.
    pub fn targets(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.targets.keys().copied()
    }

    /// Interfaces by index.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.values()
    }

    /// Addresses of the director, by interface.
    pub fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.addresses.values()
    }

    fn failure(&self, target: &Target, error: RouteError) -> Reason {
        let down = target.last_ifindex.and_then(|index| self.links.get(&index)).filter(|link| !link.up);
        if let Some(link) = down {
            return Reason::LinkDown { interface: link.name.clone() };
        }
        match error {
            RouteError::NoRoute => Reason::NoRoute,
            RouteError::Refused => Reason::Refused,
            RouteError::NotUnicast => Reason::NotUnicast,
            RouteError::Lost => Reason::Resolving,
        }
    }

    fn via(&self, link: &Link, key: NeighbourKey, source: Option<IpAddr>, mtu: Option<u32>) -> Resolution {
        let interface = link.name.clone();
        let gateway = key.address;
        let reason = match (link.mac, link.up, self.neighbours.view(key)) {
            (_, false, _) => Reason::LinkDown { interface },
            (None, ..) => Reason::NotEthernet { interface },
            (Some(source_mac), _, View::Mac(mac)) => {
                let vlan = match link.kind {
                    LinkKind::Vlan { id, protocol, lower } => Some(Vlan { id, protocol, lower }),
                    LinkKind::Physical | LinkKind::Other(_) => None,
                };
                return Resolution::Via(NextHop {
                    ifindex: link.ifindex,
                    interface,
                    gateway,
                    source_mac,
                    mac,
                    source,
                    mtu: mtu.map_or(link.mtu, |mtu| mtu.min(link.mtu)),
                    vlan,
                });
            }
            (_, _, View::Resolving) => Reason::Resolving,
            (_, _, View::NotAnswering) => Reason::NoNeighbour { interface, gateway },
            (_, _, View::TableFull) => Reason::NeighbourTableFull { interface, gateway },
        };
        Resolution::Unresolved(reason)
    }

    fn handle_link(&mut self, link: Link, now: Instant) {
        let (ifindex, up, ethernet) = (link.ifindex, link.up, link.mac.is_some());
        let before = self.links.insert(ifindex, link);
        if before.as_ref() == self.links.get(&ifindex) {
            return;
        }
        let was_up = before.as_ref().is_some_and(|link| link.up);
        let was_ethernet = before.as_ref().is_some_and(|link| link.mac.is_some());
        for (ip, target) in self.targets.iter_mut().filter(|(_, t)| t.last_ifindex == Some(ifindex)) {
            self.touched.insert(*ip);
            if up && !was_up && matches!(target.route, Route::Failed(_)) {
                target.route = Route::Unknown;
            }
            if let Some(key) = target.route.neighbour().filter(|key| key.ifindex == ifindex) {
                if ethernet && !was_ethernet {
                    self.neighbours.want(key, *ip, up, now);
                } else if !ethernet {
                    self.neighbours.release(key, *ip);
                }
            }
        }
        if up != was_up {
            self.neighbours.set_link(ifindex, up, now);
        }
        if up != was_up || before.is_none() {
            self.routes_may_have_changed(now);
        }
    }

    fn remove_link(&mut self, ifindex: u32, now: Instant) {
        if self.links.remove(&ifindex).is_none() {
            return;
        }
        self.addresses.retain(|(index, ..), _| *index != ifindex);
        for (ip, target) in self.targets.iter_mut().filter(|(_, t)| t.last_ifindex == Some(ifindex)) {
            target.last_ifindex = None;
            self.touched.insert(*ip);
            if let Some(key) = target.route.neighbour() {
                self.neighbours.release(key, *ip);
                target.route = Route::Failed(RouteError::NoRoute);
            }
        }
        self.routes_may_have_changed(now);
    }

    fn routes_may_have_changed(&mut self, now: Instant) {
        self.query_prefix(None, now);
        self.requery.settle(now, &self.settings);
    }

    fn query_prefix(&mut self, prefix: Option<Prefix>, now: Instant) {
        match prefix {
            Some(prefix) => {
                let targets = self.targets.range(prefix.bounds()).map(|(ip, _)| *ip);
                self.requery.add(targets, now, &self.settings);
            }
            None => self.requery.add_all(now, &self.settings),
        }
    }

    /// False only for links known to carry something else: an unknown one may yet turn out to be Ethernet.
    fn is_ethernet(&self, ifindex: u32) -> bool {
        self.links.get(&ifindex).is_none_or(|link| link.mac.is_some())
    }
}

/// Without [`Address::usable`], which changes during an address's life.
fn address_key(address: &Address) -> (u32, IpAddr, u8) {
    (address.ifindex, address.address, address.prefix_length)
}
