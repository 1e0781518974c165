//! A table, a clock, and a kernel made of three maps.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use lb_userspace::nexthop::{
    Action, Dump, Event, Link, LinkKind, Neighbour, NeighbourKey, NeighbourState, NextHop, Reason,
    Resolution, RouteAnswer, RouteError, Settings, Table,
};

pub(crate) const ETH0: u32 = 2;
pub(crate) const ETH1: u32 = 3;
pub(crate) const TUN: u32 = 4;
pub(crate) const SERVER: &str = "192.0.2.10";
pub(crate) const FAR: &str = "198.51.100.7";
pub(crate) const GATEWAY: &str = "192.0.2.1";
pub(crate) const MAC_A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
pub(crate) const MAC_B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn key(ifindex: u32, address: &str) -> NeighbourKey {
    NeighbourKey { ifindex, address: ip(address) }
}

pub(crate) fn link(ifindex: u32, up: bool) -> Link {
    Link {
        ifindex,
        name: format!("eth{}", ifindex - 2),
        mac: Some([2, 0, 0, 0, 1, ifindex as u8]),
        up,
        mtu: 1500,
        kind: LinkKind::Other("veth".to_owned()),
    }
}

pub(crate) fn on_link(ifindex: u32) -> Result<RouteAnswer, RouteError> {
    Ok(RouteAnswer::Unicast { ifindex, gateway: None, source: Some(ip("192.0.2.254")), mtu: None })
}

pub(crate) fn through(ifindex: u32, gateway: &str) -> Result<RouteAnswer, RouteError> {
    Ok(RouteAnswer::Unicast {
        ifindex,
        gateway: Some(ip(gateway)),
        source: Some(ip("192.0.2.254")),
        mtu: None,
    })
}

/// The table, the time, and a kernel that answers route look-ups at once.
pub(crate) struct World {
    pub(crate) table: Table,
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    pub(crate) routes: BTreeMap<IpAddr, Result<RouteAnswer, RouteError>>,
    pub(crate) queries: Vec<IpAddr>,
    pub(crate) probes: Vec<(NeighbourKey, bool)>,
}

impl World {
    pub(crate) fn new() -> Self {
        let start = Instant::now();
        let mut table = Table::new(Settings::default(), 42);
        let links = vec![link(ETH0, true), link(ETH1, true)];
        table.handle_dump(Dump { links, ..Dump::default() }, start);
        Self { table, start, now: start, routes: BTreeMap::new(), queries: Vec::new(), probes: Vec::new() }
    }

    /// A world with one server on eth0 that is resolved to MAC_A.
    pub(crate) fn with_server() -> Self {
        let mut world = Self::new();
        world.routes.insert(ip(SERVER), on_link(ETH0));
        world.targets(&[SERVER]);
        world.neighbour(ETH0, SERVER, NeighbourState::Reachable, Some(MAC_A));
        assert_eq!(world.changes().len(), 1);
        world.advance(Duration::from_millis(200));
        world.queries.clear();
        world.probes.clear();
        world
    }

    pub(crate) fn targets(&mut self, targets: &[&str]) {
        let targets: BTreeSet<IpAddr> = targets.iter().map(|text| ip(text)).collect();
        self.table.set_targets(&targets, self.now);
        self.act();
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.table.handle_event(event, self.now);
        self.act();
    }

    pub(crate) fn neighbour(
        &mut self,
        ifindex: u32,
        address: &str,
        state: NeighbourState,
        mac: Option<[u8; 6]>,
    ) {
        self.event(Event::Neighbour(Neighbour { key: key(ifindex, address), mac, state }));
    }

    pub(crate) fn act(&mut self) {
        self.table.handle_timeout(self.now);
        while let Some(action) = self.table.poll_action() {
            match action {
                Action::QueryRoute(target) => {
                    self.queries.push(target);
                    let answer = self.routes.get(&target).copied().unwrap_or(Err(RouteError::NoRoute));
                    self.table.handle_route(target, answer, self.now);
                    self.table.handle_timeout(self.now);
                }
                Action::Probe { neighbour, confirm } => self.probes.push((neighbour, confirm)),
            }
        }
    }

    /// Lets time pass from timer to timer.
    pub(crate) fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(at) = self.table.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.act();
        }
        self.now = end;
    }

    pub(crate) fn changes(&mut self) -> Vec<(IpAddr, Resolution)> {
        self.table.take_changes()
    }

    pub(crate) fn one(&mut self, target: &str) -> Resolution {
        let changes = self.changes();
        assert_eq!(changes.len(), 1, "{changes:?}");
        assert_eq!(changes[0].0, ip(target));
        changes[0].1.clone()
    }

    pub(crate) fn state(&self, target: &str) -> Resolution {
        self.table.resolution(ip(target)).unwrap()
    }
}

pub(crate) fn next_hop(resolution: Resolution) -> NextHop {
    match resolution {
        Resolution::Via(next_hop) => next_hop,
        other => panic!("expected a next hop, got {other}"),
    }
}

pub(crate) fn unresolved(reason: Reason) -> Resolution {
    Resolution::Unresolved(reason)
}

pub(crate) fn down(interface: &str) -> Resolution {
    unresolved(Reason::LinkDown { interface: interface.to_owned() })
}
