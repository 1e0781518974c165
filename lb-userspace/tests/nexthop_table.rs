//! The table of next hops in virtual time, against a kernel made of three maps.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic where it is")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use lb_userspace::nexthop::{
    Action, Address, Dump, Event, Link, LinkKind, Neighbour, NeighbourKey, NeighbourState, NextHop, Prefix,
    Reason, Resolution, RouteAnswer, RouteError, Settings, Table, Vlan,
};

const ETH0: u32 = 2;
const ETH1: u32 = 3;
const TUN: u32 = 4;
const SERVER: &str = "192.0.2.10";
const FAR: &str = "198.51.100.7";
const GATEWAY: &str = "192.0.2.1";
const MAC_A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
const MAC_B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn key(ifindex: u32, address: &str) -> NeighbourKey {
    NeighbourKey { ifindex, address: ip(address) }
}

fn link(ifindex: u32, up: bool) -> Link {
    Link {
        ifindex,
        name: format!("eth{}", ifindex - 2),
        mac: Some([2, 0, 0, 0, 1, ifindex as u8]),
        up,
        mtu: 1500,
        kind: LinkKind::Other("veth".to_owned()),
    }
}

fn on_link(ifindex: u32) -> Result<RouteAnswer, RouteError> {
    Ok(RouteAnswer::Unicast { ifindex, gateway: None, source: Some(ip("192.0.2.254")), mtu: None })
}

fn through(ifindex: u32, gateway: &str) -> Result<RouteAnswer, RouteError> {
    Ok(RouteAnswer::Unicast {
        ifindex,
        gateway: Some(ip(gateway)),
        source: Some(ip("192.0.2.254")),
        mtu: None,
    })
}

/// The table, the time, and a kernel that answers route look-ups at once.
struct World {
    table: Table,
    start: Instant,
    now: Instant,
    routes: BTreeMap<IpAddr, Result<RouteAnswer, RouteError>>,
    queries: Vec<IpAddr>,
    probes: Vec<(NeighbourKey, bool)>,
}

impl World {
    fn new() -> Self {
        let start = Instant::now();
        let mut table = Table::new(Settings::default(), 42);
        let links = vec![link(ETH0, true), link(ETH1, true)];
        table.handle_dump(Dump { links, ..Dump::default() }, start);
        Self { table, start, now: start, routes: BTreeMap::new(), queries: Vec::new(), probes: Vec::new() }
    }

    /// A world with one server on eth0 that is resolved to MAC_A.
    fn with_server() -> Self {
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

    fn targets(&mut self, targets: &[&str]) {
        let targets: BTreeSet<IpAddr> = targets.iter().map(|text| ip(text)).collect();
        self.table.set_targets(&targets, self.now);
        self.act();
    }

    fn event(&mut self, event: Event) {
        self.table.handle_event(event, self.now);
        self.act();
    }

    fn neighbour(&mut self, ifindex: u32, address: &str, state: NeighbourState, mac: Option<[u8; 6]>) {
        self.event(Event::Neighbour(Neighbour { key: key(ifindex, address), mac, state }));
    }

    fn act(&mut self) {
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
    fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(at) = self.table.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.act();
        }
        self.now = end;
    }

    fn changes(&mut self) -> Vec<(IpAddr, Resolution)> {
        self.table.take_changes()
    }

    fn one(&mut self, target: &str) -> Resolution {
        let changes = self.changes();
        assert_eq!(changes.len(), 1, "{changes:?}");
        assert_eq!(changes[0].0, ip(target));
        changes[0].1.clone()
    }

    fn state(&self, target: &str) -> Resolution {
        self.table.resolution(ip(target)).unwrap()
    }
}

fn next_hop(resolution: Resolution) -> NextHop {
    match resolution {
        Resolution::Via(next_hop) => next_hop,
        other => panic!("expected a next hop, got {other}"),
    }
}

fn unresolved(reason: Reason) -> Resolution {
    Resolution::Unresolved(reason)
}

fn down(interface: &str) -> Resolution {
    unresolved(Reason::LinkDown { interface: interface.to_owned() })
}

#[test]
fn a_server_on_the_link_is_asked_for_and_resolved() {
    let mut world = World::new();
    world.routes.insert(ip(SERVER), on_link(ETH0));
    world.targets(&[SERVER]);
    assert_eq!(world.queries, [ip(SERVER)]);
    assert_eq!(world.probes, [(key(ETH0, SERVER), false)]);
    assert_eq!(world.changes(), [], "nothing is known yet, which is what a new target counts as");

    world.neighbour(ETH0, SERVER, NeighbourState::Reachable, Some(MAC_A));
    let expected = NextHop {
        ifindex: ETH0,
        interface: "eth0".to_owned(),
        gateway: ip(SERVER),
        source_mac: [2, 0, 0, 0, 1, 2],
        mac: MAC_A,
        source: Some(ip("192.0.2.254")),
        mtu: 1500,
        vlan: None,
    };
    assert_eq!(world.one(SERVER), Resolution::Via(expected));
}

#[test]
fn every_failed_route_has_its_reason() {
    for (answer, reason) in [
        (Err(RouteError::NoRoute), Reason::NoRoute),
        (Err(RouteError::Refused), Reason::Refused),
        (Err(RouteError::NotUnicast), Reason::NotUnicast),
        (on_link(TUN), Reason::NotEthernet { interface: "tun0".to_owned() }),
    ] {
        let mut world = World::new();
        let tun = Link { name: "tun0".to_owned(), mac: None, ..link(TUN, true) };
        world.event(Event::Link(tun));
        world.routes.insert(ip(SERVER), answer);
        world.targets(&[SERVER]);
        assert_eq!(world.one(SERVER), unresolved(reason));
        assert_eq!(world.probes, []);
    }
}

#[test]
fn the_directors_own_address_is_local_until_it_is_taken_away() {
    let mut world = World::new();
    world.routes.insert(ip(SERVER), Ok(RouteAnswer::Local));
    let address = Address { ifindex: ETH0, address: ip(SERVER), prefix_length: 24, usable: true };
    world.event(Event::Address(address));
    world.targets(&[SERVER]);
    assert_eq!(world.one(SERVER), Resolution::Local);
    assert_eq!(world.table.addresses().collect::<Vec<_>>(), [&address]);

    world.routes.insert(ip(SERVER), on_link(ETH0));
    world.event(Event::AddressRemoved(address));
    world.advance(Duration::from_millis(100));
    assert_eq!(world.one(SERVER), unresolved(Reason::Resolving));
    assert_eq!(world.table.addresses().count(), 0);
}

#[test]
fn targets_behind_one_gateway_share_its_neighbour() {
    let mut world = World::new();
    let far: Vec<String> = (1..=50).map(|n| format!("198.51.100.{n}")).collect();
    for target in &far {
        world.routes.insert(ip(target), through(ETH0, GATEWAY));
    }
    world.targets(&far.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(world.probes, [(key(ETH0, GATEWAY), false)]);
    world.neighbour(ETH0, GATEWAY, NeighbourState::Reachable, Some(MAC_A));
    let changes = world.changes();
    assert_eq!(changes.len(), 50);
    assert!(changes.iter().all(|(_, r)| next_hop(r.clone()).gateway == ip(GATEWAY)));

    world.neighbour(ETH0, GATEWAY, NeighbourState::Stale, Some(MAC_A));
    assert!(!world.table.has_changes(), "a state that changes no address concerns nobody");
    world.neighbour(ETH0, GATEWAY, NeighbourState::Reachable, Some(MAC_B));
    assert!(world.changes().iter().all(|(_, r)| next_hop(r.clone()).mac == MAC_B));

    world.targets(&far[..1].iter().map(String::as_str).collect::<Vec<_>>());
    world.neighbour(ETH0, GATEWAY, NeighbourState::Reachable, Some(MAC_A));
    assert_eq!(world.changes().len(), 1);
    world.targets(&[]);
    world.neighbour(ETH0, GATEWAY, NeighbourState::Failed, None);
    world.probes.clear();
    world.advance(Duration::from_secs(100));
    assert_eq!(world.probes, [], "a neighbour nobody needs is left alone");
}

#[test]
fn a_neighbour_the_kernel_already_knows_needs_no_probe() {
    let mut world = World::new();
    world.neighbour(ETH0, SERVER, NeighbourState::Permanent, Some(MAC_A));
    world.routes.insert(ip(SERVER), on_link(ETH0));
    world.targets(&[SERVER]);
    assert_eq!(next_hop(world.one(SERVER)).mac, MAC_A);
    world.advance(Duration::from_secs(300));
    assert_eq!(world.probes, []);
}

#[test]
fn a_stale_neighbour_is_used_and_probed() {
    let mut world = World::with_server();
    world.neighbour(ETH0, SERVER, NeighbourState::Stale, Some(MAC_A));
    world.advance(Duration::from_secs(2));
    assert_eq!(world.probes, [(key(ETH0, SERVER), true)]);
    world.advance(Duration::from_secs(58));
    let again = world.probes.len() - 1;
    assert!((1..=5).contains(&again), "every 10 to 30 s: {again} in 58 s");
    assert_eq!(world.changes(), []);
}

#[test]
fn a_dead_neighbour_is_given_up_after_the_grace_time_and_found_again() {
    let mut world = World::with_server();
    world.neighbour(ETH0, SERVER, NeighbourState::Failed, None);
    assert_eq!(world.probes, [(key(ETH0, SERVER), false)]);
    world.advance(Duration::from_millis(9900));
    assert_eq!(world.changes(), []);
    world.advance(Duration::from_millis(200));
    let reason = Reason::NoNeighbour { interface: "eth0".to_owned(), gateway: ip(SERVER) };
    assert_eq!(world.one(SERVER), unresolved(reason));
    world.probes.clear();
    world.advance(Duration::from_secs(300));
    assert!((10..=30).contains(&world.probes.len()), "{} probes in 300 s", world.probes.len());
    world.neighbour(ETH0, SERVER, NeighbourState::Reachable, Some(MAC_B));
    assert_eq!(next_hop(world.one(SERVER)).mac, MAC_B);
}

#[test]
fn flapping_that_ends_where_it_began_is_not_reported() {
    let mut world = World::with_server();
    for _ in 0..10 {
        world.neighbour(ETH0, SERVER, NeighbourState::Reachable, Some(MAC_B));
        world.event(Event::Link(link(ETH0, false)));
        world.event(Event::Link(link(ETH0, true)));
        world.neighbour(ETH0, SERVER, NeighbourState::Reachable, Some(MAC_A));
    }
    assert!(world.table.has_changes());
    assert_eq!(world.changes(), []);
}

#[test]
fn a_link_that_goes_down_and_comes_back() {
    let mut world = World::with_server();
    world.event(Event::Link(link(ETH0, false)));
    assert_eq!(world.one(SERVER), down("eth0"));
    // The kernel takes the route and the neighbour away.
    world.routes.remove(&ip(SERVER));
    world.event(Event::NeighbourRemoved(key(ETH0, SERVER)));
    world.advance(Duration::from_secs(30));
    assert!(world.queries.len() >= 2, "asked at once and after settling");
    assert_eq!(world.changes(), [], "the lost route is still the link's fault");
    assert_eq!(world.state(SERVER), down("eth0"));
    assert_eq!(world.probes, [], "nothing is sent on a link that is down");

    world.routes.insert(ip(SERVER), on_link(ETH0));
    world.event(Event::Link(link(ETH0, true)));
    world.advance(Duration::from_millis(100));
    assert_eq!(world.one(SERVER), unresolved(Reason::Resolving), "the old MAC address is forgotten");
    assert_eq!(world.probes, [(key(ETH0, SERVER), false)]);
    world.neighbour(ETH0, SERVER, NeighbourState::Reachable, Some(MAC_B));
    assert_eq!(next_hop(world.one(SERVER)).mac, MAC_B);
}

#[test]
fn a_link_that_loses_its_carrier_keeps_the_route_but_not_the_neighbour() {
    let mut world = World::with_server();
    world.event(Event::Link(link(ETH0, false)));
    assert_eq!(world.one(SERVER), down("eth0"));
    world.advance(Duration::from_secs(5));
    world.event(Event::NeighbourRemoved(key(ETH0, SERVER)));
    world.event(Event::Link(link(ETH0, true)));
    assert_eq!(world.one(SERVER), unresolved(Reason::Resolving));
    assert_eq!(world.probes, [(key(ETH0, SERVER), false)]);
}

#[test]
fn with_another_route_a_lost_link_moves_the_traffic() {
    let mut world = World::with_server();
    world.routes.insert(ip(SERVER), through(ETH1, "203.0.113.1"));
    world.neighbour(ETH1, "203.0.113.1", NeighbourState::Reachable, Some(MAC_B));
    world.event(Event::Link(link(ETH0, false)));
    world.advance(Duration::from_millis(100));
    let moved = next_hop(world.one(SERVER));
    assert_eq!((moved.ifindex, moved.mac), (ETH1, MAC_B));
    assert_eq!(moved.interface, "eth1");
}

#[test]
fn a_removed_link_takes_its_targets_and_addresses_along() {
    let mut world = World::with_server();
    world.event(Event::Address(Address {
        ifindex: ETH0,
        address: ip("192.0.2.254"),
        prefix_length: 24,
        usable: true,
    }));
    world.routes.remove(&ip(SERVER));
    world.event(Event::LinkRemoved(ETH0));
    assert_eq!(world.one(SERVER), unresolved(Reason::NoRoute));
    assert_eq!(world.table.addresses().count(), 0);
    assert_eq!(world.table.links().count(), 1);
    world.advance(Duration::from_secs(100));
    assert_eq!(world.probes, []);
}

#[test]
fn a_changed_interface_mac_or_mtu_is_reported() {
    let mut world = World::with_server();
    let changed = Link { mac: Some(MAC_B), mtu: 9000, ..link(ETH0, true) };
    world.event(Event::Link(changed));
    let seen = next_hop(world.one(SERVER));
    assert_eq!((seen.source_mac, seen.mtu), (MAC_B, 9000));
    assert!(world.queries.is_empty(), "neither moves a route");

    let narrow = RouteAnswer::Unicast { ifindex: ETH0, gateway: None, source: None, mtu: Some(1400) };
    world.routes.insert(ip(SERVER), Ok(narrow));
    world.event(Event::Routes(None));
    world.advance(Duration::from_millis(100));
    let seen = next_hop(world.one(SERVER));
    assert_eq!((seen.mtu, seen.source), (1400, None));
}

#[test]
fn a_vlan_interface_tells_its_tag_and_lower_device() {
    let mut world = World::with_server();
    let kind = LinkKind::Vlan { id: 42, protocol: 0x8100, lower: ETH1 };
    world.event(Event::Link(Link { kind, ..link(ETH0, true) }));
    let vlan = Vlan { id: 42, protocol: 0x8100, lower: ETH1 };
    assert_eq!(next_hop(world.one(SERVER)).vlan, Some(vlan));
}

#[test]
fn a_changed_gateway_is_probed_and_replaces_the_old_one() {
    let mut world = World::new();
    world.routes.insert(ip(FAR), through(ETH0, GATEWAY));
    world.targets(&[FAR]);
    world.neighbour(ETH0, GATEWAY, NeighbourState::Reachable, Some(MAC_A));
    world.changes();
    world.probes.clear();

    world.routes.insert(ip(FAR), through(ETH0, "192.0.2.2"));
    world.event(Event::Routes(Some(Prefix { address: ip("198.51.100.0"), length: 24 })));
    world.advance(Duration::from_millis(100));
    assert_eq!(world.probes, [(key(ETH0, "192.0.2.2"), false)]);
    assert_eq!(world.one(FAR), unresolved(Reason::Resolving));
    world.neighbour(ETH0, "192.0.2.2", NeighbourState::Reachable, Some(MAC_B));
    assert_eq!(next_hop(world.one(FAR)).mac, MAC_B);
    world.neighbour(ETH0, GATEWAY, NeighbourState::Failed, None);
    assert_eq!(world.changes(), []);
}

#[test]
fn only_targets_within_a_changed_prefix_are_asked_again() {
    let mut world = World::new();
    world.targets(&[SERVER, FAR, "2001:db8::10", "2001:db8:1::10"]);
    for (address, length, expected) in [
        ("198.51.100.0", 24, vec![FAR]),
        ("192.0.2.10", 32, vec![SERVER]),
        ("0.0.0.0", 0, vec![SERVER, FAR]),
        ("2001:db8::", 48, vec!["2001:db8::10"]),
        ("2001:db8::", 32, vec!["2001:db8::10", "2001:db8:1::10"]),
        ("10.0.0.0", 8, vec![]),
    ] {
        world.advance(Duration::from_millis(100));
        world.queries.clear();
        world.event(Event::Routes(Some(Prefix { address: ip(address), length })));
        world.advance(Duration::from_millis(100));
        let expected: Vec<IpAddr> = expected.into_iter().map(ip).collect();
        assert_eq!(world.queries, expected, "{address}/{length}");
    }
}

#[test]
fn a_hundred_thousand_targets_are_asked_once_and_again_at_a_bounded_rate() {
    let mut world = World::new();
    let targets: BTreeSet<IpAddr> =
        (0..100_000u32).map(|n| IpAddr::from((0x0a00_0000 + n).to_be_bytes())).collect();
    for target in &targets {
        world.routes.insert(*target, through(ETH0, GATEWAY));
    }
    world.table.set_targets(&targets, world.now);
    world.act();
    assert_eq!(world.queries.len(), 100_000);
    assert_eq!(world.probes.len(), 1);
    world.queries.clear();
    for _ in 0..100 {
        world.event(Event::Routes(None));
        world.advance(Duration::from_millis(10));
    }
    assert!((18_000..=20_000).contains(&world.queries.len()), "{} in 1 s", world.queries.len());
    world.advance(Duration::from_secs(6));
    assert!(world.queries.len() <= 200_000, "a storm of changes costs two rounds at most");
    assert!(world.now - world.start < Duration::from_secs(10));
}

#[test]
fn an_answer_that_a_change_overtook_is_asked_for_again() {
    let mut table = Table::new(Settings::default(), 1);
    let start = Instant::now();
    table.handle_event(Event::Link(link(ETH0, true)), start);
    table.set_targets(&BTreeSet::from([ip(SERVER)]), start);
    assert_eq!(table.poll_action(), Some(Action::QueryRoute(ip(SERVER))));
    table.handle_event(Event::Routes(None), start);
    let later = start + Duration::from_millis(60);
    table.handle_timeout(later);
    assert_eq!(table.poll_action(), None, "one question at a time");
    table.handle_route(ip(SERVER), Err(RouteError::NoRoute), later);
    table.handle_timeout(later + Duration::from_millis(60));
    assert_eq!(table.poll_action(), Some(Action::QueryRoute(ip(SERVER))));
    table.handle_route(ip(SERVER), Err(RouteError::Lost), later);
    assert_eq!(table.resolution(ip(SERVER)), Some(unresolved(Reason::NoRoute)), "the last answer stands");
    table.handle_timeout(later + Duration::from_millis(120));
    assert_eq!(table.poll_action(), Some(Action::QueryRoute(ip(SERVER))));
}

#[test]
fn a_silent_change_of_routes_is_found_by_the_regular_look() {
    let mut world = World::with_server();
    world.routes.insert(ip(SERVER), Ok(RouteAnswer::Local));
    world.advance(Duration::from_secs(61));
    assert_eq!(world.one(SERVER), Resolution::Local);
}

#[test]
fn a_dump_replaces_what_lost_events_would_have_told() {
    let mut world = World::with_server();
    world.routes.insert(ip(SERVER), on_link(ETH1));
    let neighbours =
        vec![Neighbour { key: key(ETH1, SERVER), mac: Some(MAC_B), state: NeighbourState::Reachable }];
    let dump = Dump { links: vec![link(ETH1, true)], addresses: vec![], neighbours };
    world.table.handle_dump(dump, world.now);
    world.act();
    world.advance(Duration::from_millis(100));
    let moved = next_hop(world.one(SERVER));
    assert_eq!((moved.ifindex, moved.mac), (ETH1, MAC_B));
    assert_eq!(world.table.links().map(|link| link.ifindex).collect::<Vec<_>>(), [ETH1]);
}

#[test]
fn a_route_through_a_link_not_announced_yet_waits_for_it() {
    let mut world = World::new();
    world.routes.insert(ip(SERVER), on_link(9));
    world.targets(&[SERVER]);
    assert_eq!(world.probes, []);
    assert_eq!(world.state(SERVER), unresolved(Reason::Resolving));
    world.event(Event::Link(link(9, true)));
    assert_eq!(world.probes, [(key(9, SERVER), false)]);
    world.neighbour(9, SERVER, NeighbourState::Reachable, Some(MAC_A));
    assert_eq!(next_hop(world.one(SERVER)).ifindex, 9);
}

#[test]
fn a_full_neighbour_table_is_reported_as_such() {
    let mut world = World::new();
    world.routes.insert(ip(SERVER), on_link(ETH0));
    world.targets(&[SERVER]);
    world.table.handle_table_full(key(ETH0, SERVER));
    let reason = Reason::NeighbourTableFull { interface: "eth0".to_owned(), gateway: ip(SERVER) };
    assert_eq!(world.one(SERVER), unresolved(reason));
    world.neighbour(ETH0, SERVER, NeighbourState::Reachable, Some(MAC_A));
    assert_eq!(next_hop(world.one(SERVER)).mac, MAC_A);
}

#[test]
fn targets_that_stay_are_not_asked_again_and_removed_ones_are_forgotten() {
    let mut world = World::with_server();
    world.routes.insert(ip(FAR), through(ETH0, GATEWAY));
    world.targets(&[SERVER, FAR]);
    assert_eq!(world.queries, [ip(FAR)]);
    assert_eq!(world.changes(), []);
    world.targets(&[FAR]);
    world.neighbour(ETH0, SERVER, NeighbourState::Reachable, Some(MAC_B));
    assert_eq!(world.changes(), []);
    assert_eq!(world.table.resolution(ip(SERVER)), None);
}
