//! Rows about virtual addresses that accept nothing but what their services take.

use std::net::{IpAddr, SocketAddr};

use lb_common::layout::{DropReason, PassReason};

use super::fixture::{INGRESS, KINDS, Kind, TCP4, TCP6, own_mac, server_mac};
use super::frames::{
    ACK, CUSTOMER, DESTINATION_OPTIONS, FIN, HOP_BY_HOP, PROVIDER, Packet, RST, SYN, Transport, cut, patched,
};
use super::row::{Row, Step, opened};

pub(crate) fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = KINDS.into_iter().flat_map(ports).collect();
    for kind in [TCP4, TCP6] {
        rows.extend(protocols(kind));
        rows.extend(fragments(kind));
        rows.extend(neighbours(kind));
    }
    rows
}

fn drops(kind: Kind, text: &str, packet: &Packet) -> Row {
    Row::drops(format!("{kind} refused: {text}"), packet, DropReason::NotAccepted)
}

fn passes(kind: Kind, text: &str, packet: &Packet, reason: PassReason) -> Row {
    Row::passes(format!("{kind} refused: {text}"), packet.bytes(), reason)
}

/// Another director has the address.
fn standby(kind: Kind, row: Row) -> Row {
    let [closed, _] = kind.refusals();
    row.step(Step::StandbyService(closed, true))
}

fn returned(kind: Kind, row: Row) -> Row {
    let [closed, _] = kind.refusals();
    row.step(Step::StandbyService(closed, false))
}

fn to(kind: Kind, address: IpAddr, port: u16) -> Packet {
    kind.request(SocketAddr::new(address, port))
}

/// A packet that goes to a real server and makes a connection.
fn balanced(kind: Kind, text: &str, packet: &Packet, slot: u32) -> Row {
    let output = packet.clone().routed(own_mac(INGRESS), server_mac(slot));
    let row = Row::transmits(format!("{kind} refused: {text}"), packet, &output);
    row.begins(slot, packet, &[opened(kind, packet, slot)])
}

/// TCP and UDP.
fn ports(kind: Kind) -> Vec<Row> {
    let closed = |port| to(kind, kind.closed_vip(), port);
    let (served, slot) = (closed(8000), kind.closed_slot());
    let other = closed(22);
    let tagged = other.clone().tag(PROVIDER, 1).tag(CUSTOMER, 2);
    let mut rows = vec![
        balanced(kind, "the port of its service", &served, slot),
        drops(kind, "another port", &other),
        drops(kind, "port 0", &closed(0)),
        drops(kind, "another port, tagged", &tagged),
        drops(kind, "another port, TTL 1", &other.clone().ttl(1)),
        standby(kind, passes(kind, "another port, standby", &other, PassReason::Standby)),
        returned(kind, standby(kind, drops(kind, "another port, after the return", &other))),
        // The service has a record of its own.
        standby(kind, balanced(kind, "the port of its service, only the address standby", &served, slot)),
        passes(kind, "standby, the port of its service", &served, PassReason::Standby)
            .step(Step::StandbyService(slot, true)),
        drops(kind, "another port, only the service standby", &other).step(Step::StandbyService(slot, true)),
    ];
    let later = served.clone().later(ACK);
    let output = later.clone().routed(own_mac(INGRESS), server_mac(slot));
    let row = Row::transmits(format!("{kind} refused: a connection of its service"), &later, &output);
    rows.push(row.after(&[&served, &later]).inward(slot, &later));
    if kind.tcp {
        rows.push(passes(kind, "its service without a connection", &later, PassReason::NoConnection));
        for (text, flags) in [("ACK", ACK), ("SYN and ACK", SYN | ACK), ("RST", RST), ("FIN", FIN | ACK)] {
            rows.push(drops(kind, &format!("another port, {text}"), &other.clone().flags(flags)));
        }
        let any = to(kind, kind.half_closed_vip(), 4711);
        rows.push(balanced(kind, "a service that takes all ports", &any, kind.half_closed_slot()));
    } else {
        let any = to(kind, kind.half_closed_vip(), 4711);
        rows.push(drops(kind, "a service that takes all ports of the other protocol", &any));
    }
    let open = to(kind, kind.vip(), 22);
    rows.push(passes(kind, "another address", &open, PassReason::NoService));
    rows
}

fn other(kind: Kind, number: u8) -> Packet {
    Packet::new(Transport::Other(number), kind.client(1), SocketAddr::new(kind.closed_vip(), 0))
}

/// Everything that has no ports.
fn protocols(kind: Kind) -> Vec<Row> {
    let mut rows = Vec::new();
    let numbers: &[(&str, u8)] = &[
        ("IGMP", 2),
        ("IPv4 in IP", 4),
        ("IPv6 in IP", 41),
        ("GRE", 47),
        ("ESP", 50),
        ("AH", 51),
        ("OSPF", 89),
        ("VRRP", 112),
        ("SCTP", 132),
        ("UDP-Lite", 136),
        ("protocol 255", 255),
    ];
    for (text, number) in numbers {
        let packet = other(kind, *number);
        rows.push(drops(kind, text, &packet));
        rows.push(drops(kind, &format!("{text}, cut behind the header"), &packet.payload(0)));
    }
    let echo = if kind.ipv4 { other(kind, 1) } else { other(kind, 58) };
    let echo = echo.payload_of(&[if kind.ipv4 { 8 } else { 128 }, 0, 0, 0, 0, 1, 0, 1]);
    rows.push(drops(kind, "echo", &echo));
    rows.push(drops(kind, "echo, tagged", &echo.clone().tag(CUSTOMER, 7)));
    rows.push(standby(kind, passes(kind, "echo, standby", &echo, PassReason::Standby)));
    rows.push(returned(kind, standby(kind, drops(kind, "echo, after the return", &echo))));
    let half = echo.clone().to(SocketAddr::new(kind.half_closed_vip(), 0));
    rows.push(drops(kind, "echo, next to a service that takes all ports", &half));
    let open = echo.clone().to(SocketAddr::new(kind.vip(), 0));
    rows.push(passes(kind, "echo, another address", &open, PassReason::NotTcpUdp));
    // From the address is not to the address.
    let from = Packet::new(Transport::Other(1), SocketAddr::new(kind.closed_vip(), 0), kind.client(1));
    rows.push(passes(kind, "echo, the other way", &from, PassReason::NotTcpUdp));
    rows
}

fn fragments(kind: Kind) -> Vec<Row> {
    let packet = to(kind, kind.closed_vip(), 8000);
    let first = packet.clone().fragment(0, true);
    let mut rows = vec![
        drops(kind, "first fragment", &first),
        drops(kind, "middle fragment", &packet.clone().fragment(185, true)),
        drops(kind, "last fragment", &packet.clone().fragment(185, false)),
        standby(kind, passes(kind, "first fragment, standby", &first, PassReason::Standby)),
        passes(
            kind,
            "fragment, another address",
            &first.clone().to(SocketAddr::new(kind.vip(), 22)),
            PassReason::Fragment,
        ),
    ];
    // The host's stack drops these, and says so in its own counters.
    let short = cut(packet.bytes(), packet.transport_offset() + 4);
    rows.push(Row::passes(format!("{kind} refused: half a TCP header"), short, PassReason::Malformed));
    if !kind.ipv4 {
        let chain = (0..5).fold(packet, |packet, _| packet.extension(DESTINATION_OPTIONS, 0));
        rows.push(drops(kind, "behind five extension headers", &chain));
        let row = passes(kind, "behind five extension headers, standby", &chain, PassReason::Standby);
        rows.push(standby(kind, row));
        let long = to(kind, kind.closed_vip(), 22).extension(HOP_BY_HOP, 14);
        rows.push(drops(kind, "behind a long extension header", &long));
    }
    rows
}

/// Neighbour discovery works (RFC 9568, 6.4.3).
fn neighbours(kind: Kind) -> Vec<Row> {
    let of_type = |number: u8| other(kind, 58).payload_of(&[number, 0, 0, 0, 0, 0, 0, 0]);
    let mut rows = Vec::new();
    for number in [0, 1, 2, 3, 4, 127, 128, 129, 130, 132, 133, 134, 135, 136, 137, 138, 200, 255] {
        let (text, packet) = (format!("ICMPv6 type {number}"), of_type(number));
        // In an IPv4 packet it is a protocol like any other.
        if kind.ipv4 || !(133..=137).contains(&number) {
            rows.push(drops(kind, &text, &packet));
        } else {
            let row = |text: &str, packet: &Packet| passes(kind, text, packet, PassReason::NotTcpUdp);
            rows.push(row(&text, &packet));
            rows.push(row(&format!("{text}, tagged"), &packet.clone().tag(CUSTOMER, 3)));
            let behind = packet.clone().extension(HOP_BY_HOP, 1).extension(DESTINATION_OPTIONS, 0);
            rows.push(row(&format!("{text}, behind extension headers"), &behind));
            let row = passes(kind, &format!("{text}, standby"), &packet, PassReason::Standby);
            rows.push(standby(kind, row));
        }
    }
    if !kind.ipv4 {
        let nothing = other(kind, 58).payload(0);
        rows.push(drops(kind, "ICMPv6 without a type", &nothing));
        let echo = of_type(128).extension(HOP_BY_HOP, 0);
        rows.push(drops(kind, "ICMPv6 echo behind an extension header", &echo));
        // Such a fragment is ignored by every node (RFC 6980).
        rows.push(drops(kind, "a fragment of neighbour discovery", &of_type(135).fragment(0, true)));
        // A type in the payload of something else is none.
        let udp = Packet::new(Transport::Other(50), kind.client(1), SocketAddr::new(kind.closed_vip(), 0));
        let frame = udp.bytes();
        let frame = patched(frame, udp.transport_offset(), &[135]);
        let row = drops(kind, "ESP that looks like neighbour discovery", &udp.payload_of(&frame[54..]));
        rows.push(row);
    }
    rows
}
