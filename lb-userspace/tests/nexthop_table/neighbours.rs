//! Targets and the neighbours they go through.

use std::time::Duration;

use lb_userspace::nexthop::{Event, NeighbourState, NextHop, Reason, Resolution};

use crate::world::{
    ETH0, FAR, GATEWAY, MAC_A, MAC_B, SERVER, World, ip, key, link, next_hop, on_link, through, unresolved,
};

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
