//! Rows about direct routing, next hops and ways out: what every forwarding method has in common.

use lb_common::datapath::tcp_state;
use lb_common::layout::{DropReason, Event, PassReason};

use super::fixture::{EAST, INGRESS, KINDS, Kind, Purpose, WEST, gateway_mac, own_mac, server_mac};
use super::frames::{ACK, CUSTOMER, PROVIDER, PSH, Packet};
use super::row::{Row, Step, entry, first_entries, opened};

pub(crate) fn rows() -> Vec<Row> {
    KINDS.into_iter().flat_map(|kind| [direct(kind), ways_out(kind), refusals(kind)].concat()).collect()
}

/// A packet as it leaves for the real server of a purpose, whose next hop is known.
fn to_server(kind: Kind, purpose: Purpose, packet: &Packet) -> Packet {
    packet.clone().routed(own_mac(INGRESS), server_mac(kind.slot(purpose)))
}

/// A row's start: client 1's first packet for a purpose.
fn first(kind: Kind, purpose: Purpose) -> (Packet, u32) {
    (kind.request(kind.service(purpose)), kind.slot(purpose))
}

fn direct(kind: Kind) -> Vec<Row> {
    let (packet, slot) = first(kind, Purpose::Direct);
    let mut rows = Vec::new();
    for (name, changed) in [
        ("as it is", packet.clone()),
        ("TTL 2", packet.clone().ttl(2)),
        ("TTL 255", packet.clone().ttl(255)),
        ("type of service stays", packet.clone().tos(0xbb)),
        ("TTL 128, type of service 255", packet.clone().ttl(128).tos(0xff).payload(33)),
    ] {
        let output = to_server(kind, Purpose::Direct, &changed);
        let row = Row::transmits(format!("{kind} direct: {name}"), &changed, &output);
        rows.push(row.begins(slot, &changed, &[opened(kind, &changed, slot)]));
    }
    // The transport checksum is none of direct routing's business.
    let wrong = |frame: Vec<u8>| {
        let at = packet.transport_offset() + if kind.tcp { 16 } else { 6 };
        super::frames::patched(frame, at, &[0xde, 0xad])
    };
    let output = to_server(kind, Purpose::Direct, &packet);
    let row = Row::transmits(format!("{kind} direct: wrong transport checksum"), &packet, &output);
    let row = row.output_bytes(wrong(packet.bytes()), wrong(output.bytes()));
    rows.push(row.begins(slot, &packet, &[opened(kind, &packet, slot)]));
    // The second packet of a flow finds the entry of the first.
    let second = packet.clone().payload(700).tos(0x28).later(ACK | PSH);
    let output = to_server(kind, Purpose::Direct, &second);
    let mut row = Row::transmits(format!("{kind} direct: second packet"), &second, &output)
        .after(&[&packet])
        .inward(slot, &second);
    if kind.tcp {
        let moved = entry(&packet, slot, tcp_state::ESTABLISHED);
        row = row.event(Event::ConnectionPromoted).connections(&[moved]);
    }
    rows.push(row);
    rows.push(
        Row::transmits(format!("{kind} direct: third packet"), &second, &output)
            .after(&[&packet, &second])
            .inward(slot, &second),
    );
    rows
}

fn ways_out(kind: Kind) -> Vec<Row> {
    let mut rows = Vec::new();
    let (packet, slot) = first(kind, Purpose::East);
    let output = packet.clone().routed(own_mac(EAST), server_mac(slot));
    let begun = [opened(kind, &packet, slot)];
    let name = |text: &str| format!("{kind} way out: {text}");
    rows.push(
        Row::redirects(name("another interface"), &packet, EAST, &output).begins(slot, &packet, &begun),
    );
    let row = Row::transmits(name("the same interface, as the packet came by it"), &packet, &output);
    rows.push(row.ingress(EAST).begins(slot, &packet, &begun));
    for tags in [&[(CUSTOMER, 5)][..], &[(PROVIDER, 5), (CUSTOMER, 6)]] {
        let tag = |packet: &Packet| tags.iter().fold(packet.clone(), |packet, tag| packet.tag(tag.0, tag.1));
        let tagged = tag(&packet);
        let row = Row::drops(
            name(&format!("{} tags to another interface", tags.len())),
            &tagged,
            DropReason::VlanCrossing,
        );
        rows.push(row.begins(slot, &tagged, &begun));
        let row =
            Row::transmits(name(&format!("{} tags back to their trunk", tags.len())), &tagged, &tag(&output));
        rows.push(row.ingress(EAST).begins(slot, &tagged, &begun));
    }
    let (packet, slot) = first(kind, Purpose::TunnelEast);
    let output = packet
        .clone()
        .routed(own_mac(EAST), server_mac(slot))
        .tunnelled(kind.director(), kind.server(Purpose::TunnelEast).ip());
    let begun = [opened(kind, &packet, slot)];
    let row = Row::redirects(name("a tunnel through another interface"), &packet, EAST, &output);
    rows.push(row.begins(slot, &packet, &begun));

    let (packet, slot) = first(kind, Purpose::NatEast);
    let begun = first_entries(kind, Purpose::NatEast, &packet);
    let output = packet.clone().routed(own_mac(EAST), server_mac(slot)).to(kind.server(Purpose::NatEast));
    let row = Row::redirects(name("NAT through another interface"), &packet, EAST, &output);
    rows.push(row.begins(slot, &packet, &begun));

    let (packet, slot) = first(kind, Purpose::West);
    let begun = [opened(kind, &packet, slot)];
    let row =
        Row::drops(name("an interface that is not attached"), &packet, DropReason::InterfaceNotAttached);
    rows.push(row.begins(slot, &packet, &begun));
    let output = packet.clone().routed(own_mac(WEST), server_mac(slot));
    let row = Row::transmits(name("back where it came from needs no attachment"), &packet, &output);
    rows.push(row.ingress(WEST).begins(slot, &packet, &begun));

    // The next hop is the kernel's to know.
    let gateway = |packet: &Packet| packet.clone().routed(own_mac(INGRESS), gateway_mac(INGRESS));
    let (packet, slot) = first(kind, Purpose::KernelRoute);
    let row = Row::transmits(name("the kernel's route"), &packet, &gateway(&packet));
    let begun = [opened(kind, &packet, slot)];
    rows.push(row.event(Event::FibLookup).begins(slot, &packet, &begun));
    let row =
        Row::redirects(name("the kernel's route to another interface"), &packet, INGRESS, &gateway(&packet));
    rows.push(row.ingress(EAST).event(Event::FibLookup).begins(slot, &packet, &begun));

    let (packet, slot) = first(kind, Purpose::TunnelKernelRoute);
    let server = kind.server(Purpose::TunnelKernelRoute);
    let output = gateway(&packet).tunnelled(kind.director(), server.ip());
    let row = Row::transmits(name("the kernel's route, tunnel"), &packet, &output);
    rows.push(row.event(Event::FibLookup).begins(slot, &packet, &[opened(kind, &packet, slot)]));

    let (packet, slot) = first(kind, Purpose::NatKernelRoute);
    let begun = first_entries(kind, Purpose::NatKernelRoute, &packet);
    let output = gateway(&packet).to(kind.server(Purpose::NatKernelRoute));
    let row = Row::transmits(name("the kernel's route, NAT"), &packet, &output);
    rows.push(row.event(Event::FibLookup).begins(slot, &packet, &begun));

    for purpose in [Purpose::NoRoute, Purpose::TunnelNoRoute, Purpose::NatNoRoute] {
        let (packet, slot) = first(kind, purpose);
        let row = Row::drops(name(&format!("{purpose:?}")), &packet, DropReason::NoNextHop);
        let begun = first_entries(kind, purpose, &packet);
        rows.push(row.event(Event::FibLookup).begins(slot, &packet, &begun));
    }
    rows
}

fn refusals(kind: Kind) -> Vec<Row> {
    let mut rows = Vec::new();
    for purpose in [Purpose::Direct, Purpose::Tunnel, Purpose::TunnelAcross, Purpose::Nat] {
        for ttl in [0, 1] {
            let (packet, slot) = first(kind, purpose);
            let packet = packet.ttl(ttl);
            let begun = first_entries(kind, purpose, &packet);
            let name = format!("{kind} {purpose:?}: TTL {ttl}");
            rows.push(Row::drops(name, &packet, DropReason::TtlExceeded).begins(slot, &packet, &begun));
        }
    }
    // The director's own stack is the last hop: TTL 1 is enough.
    let (packet, slot) = first(kind, Purpose::Local);
    for (name, packet) in
        [("as it is", packet.clone()), ("TTL 1", packet.clone().ttl(1)), ("a tag", packet.tag(CUSTOMER, 3))]
    {
        let row = Row::passes(format!("{kind} Local: {name}"), packet.bytes(), PassReason::Local);
        rows.push(row.begins(slot, &packet, &[opened(kind, &packet, slot)]));
    }
    let (packet, _) = first(kind, Purpose::Empty);
    rows.push(Row::drops(format!("{kind}: no real server"), &packet, DropReason::NoRealServer));
    rows.extend(removed(kind));
    rows
}

/// Packets of connections whose real server is gone.
fn removed(kind: Kind) -> Vec<Row> {
    let (packet, slot) = first(kind, Purpose::Direct);
    let name = |text: &str| format!("{kind} removed: {text}");
    let second = packet.clone().later(ACK);
    let open = |row: Row| row.after(&[&packet, &second]).step(Step::Retire(slot));
    // The established bucket still names the server: the packet ends the entry and is looked at anew.
    let row = if kind.tcp {
        let row = Row::passes(name("an established packet"), second.bytes(), PassReason::NoConnection);
        open(row).connections(&[])
    } else {
        let row = Row::drops(name("an established packet"), &second, DropReason::RemovedRealServer);
        open(row).begins(slot, &second, &[opened(kind, &second, slot)])
    };
    let mut rows = vec![row.event(Event::StaleEntry)];
    let mut row = Row::drops(name("after the sweep"), &second, DropReason::RemovedRealServer);
    if kind.tcp {
        row = Row::passes(name("after the sweep"), second.bytes(), PassReason::NoConnection);
    } else {
        // The service of the rows still names its only server, as no controller would.
        row = row.begins(slot, &second, &[opened(kind, &second, slot)]);
    }
    rows.push(open(row).step(Step::Sweep(1)));
    if kind.tcp {
        // A new SYN looks at the record, ends it, and begins anew.
        let row = Row::drops(name("a SYN"), &packet, DropReason::RemovedRealServer);
        let row = open(row).event(Event::StaleEntry);
        rows.push(row.begins(slot, &packet, &[opened(kind, &packet, slot)]));
        let fin = packet.clone().flags(super::frames::FIN | ACK);
        let row = Row::passes(name("a FIN"), fin.bytes(), PassReason::NoConnection);
        rows.push(open(row).event(Event::StaleEntry).connections(&[]));
        let row = Row::passes(name("an ACK to a half-open one"), second.bytes(), PassReason::NoConnection);
        let row = row.after(&[&packet]).step(Step::Retire(slot));
        rows.push(row.event(Event::StaleEntry).connections(&[]));
    }
    rows
}
