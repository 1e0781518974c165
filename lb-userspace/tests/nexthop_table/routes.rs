//! Routes, links and addresses that change under the targets.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use lb_userspace::nexthop::{
    Action, Address, Dump, Event, Link, LinkKind, Neighbour, NeighbourState, Prefix, Reason, Resolution,
    RouteAnswer, RouteError, Settings, Table, Vlan,
};

use crate::world::{
    ETH0, ETH1, FAR, GATEWAY, MAC_A, MAC_B, SERVER, TUN, World, down, ip, key, link, next_hop, on_link,
    through, unresolved,
};

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
        world.queries.sort();
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
