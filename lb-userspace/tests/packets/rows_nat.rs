//! Rows about NAT: requests to the real server, replies to the client, checksums.

use lb_common::datapath::tcp_state;
use lb_common::layout::{DropReason, Event, PassReason};

use super::fixture::{
    EAST, INGRESS, KINDS, Kind, Purpose, UDP4, UDP6, WEST, gateway_mac, own_mac, server_mac,
};
use super::frames::{ACK, CUSTOMER, FIN, PROVIDER, Packet, RST, SYN, patched};
use super::row::{Row, Step, entry, first_entries, opened, replies};

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for kind in KINDS {
        for purpose in [Purpose::Nat, Purpose::NatSamePort] {
            rows.extend(requests(kind, purpose));
            rows.extend(answers(kind, purpose));
        }
        rows.extend(ways_back(kind));
        rows.extend(checksum_borders(kind));
    }
    rows.extend(absent_checksums());
    rows.extend(KINDS.into_iter().filter(|kind| kind.tcp).flat_map(states));
    rows
}

/// A request as it leaves for the real server.
pub(super) fn translated(kind: Kind, purpose: Purpose, request: &Packet) -> Packet {
    let mac = server_mac(kind.slot(purpose));
    request.clone().routed(own_mac(INGRESS), mac).to(kind.server(purpose))
}

/// The real server's answer to a client's packet, as it reaches the director.
pub(super) fn reply(kind: Kind, purpose: Purpose, request: &Packet, flags: u8) -> Packet {
    Packet::new(kind.transport(flags), kind.server(purpose), request.from)
}

/// The answer as it leaves for the client through an interface.
pub(super) fn untranslated(kind: Kind, purpose: Purpose, reply: &Packet, ifindex: u32) -> Packet {
    reply.clone().from(kind.service(purpose)).routed(own_mac(ifindex), gateway_mac(ifindex))
}

fn requests(kind: Kind, purpose: Purpose) -> Vec<Row> {
    let (packet, slot) = (kind.request(kind.service(purpose)), kind.slot(purpose));
    let mut variants = vec![
        ("as it is", packet.clone()),
        ("type of service and TTL 2", packet.clone().tos(0xb9).ttl(2)),
        ("an odd payload", packet.clone().payload(255)),
        ("no payload", packet.clone().payload(0)),
        ("padding", packet.clone().payload(1).padding(5)),
        ("a tag", packet.clone().tag(CUSTOMER, 77)),
        ("two tags", packet.clone().tag(PROVIDER, 1).tag(CUSTOMER, 77)),
        ("a large frame", packet.clone().payload(1500 - 60)),
    ];
    if kind.ipv4 {
        variants.push(("4 bytes of options", packet.clone().options(1)));
        variants.push(("40 bytes of options", packet.clone().options(10)));
    } else {
        variants.push(("extension headers", packet.clone().extension(0, 0).extension(60, 2)));
    }
    let mut rows = Vec::new();
    for (name, packet) in variants {
        let output = translated(kind, purpose, &packet);
        let row = Row::transmits(format!("{kind} {purpose:?}: {name}"), &packet, &output);
        rows.push(row.begins(slot, &packet, &first_entries(kind, purpose, &packet)));
    }
    // A wrong checksum stays wrong by as much: the real server's stack is to see it.
    let at = packet.transport_offset() + if kind.tcp { 16 } else { 6 };
    let off_by_one = |packet: &Packet| {
        let frame = packet.bytes();
        let right = u16::from_be_bytes([frame[at], frame[at + 1]]);
        patched(frame, at, &(right - 1).to_be_bytes())
    };
    let output = translated(kind, purpose, &packet);
    let row = Row::transmits(format!("{kind} {purpose:?}: wrong transport checksum"), &packet, &output);
    let row = row.output_bytes(off_by_one(&packet), off_by_one(&output));
    rows.push(row.begins(slot, &packet, &first_entries(kind, purpose, &packet)));
    rows
}

fn answers(kind: Kind, purpose: Purpose) -> Vec<Row> {
    let (packet, slot) = (kind.request(kind.service(purpose)), kind.slot(purpose));
    let name = |text: &str| format!("{kind} {purpose:?} reply: {text}");
    let answer = reply(kind, purpose, &packet, SYN | ACK);
    let mut variants = vec![
        ("as it is", answer.clone()),
        ("type of service and TTL 2", answer.clone().tos(0x11).ttl(2)),
        ("an odd payload", answer.clone().payload(999)),
        ("padding", answer.clone().payload(0).padding(6)),
        ("a tag", answer.clone().tag(CUSTOMER, 78)),
        ("two tags", answer.clone().tag(PROVIDER, 2).tag(CUSTOMER, 78)),
    ];
    if kind.ipv4 {
        variants.push(("options", answer.clone().options(7)));
    } else {
        variants.push(("extension headers", answer.clone().extension(60, 0).extension(43, 1)));
    }
    let mut rows = Vec::new();
    for (text, answer) in variants {
        let output = untranslated(kind, purpose, &answer, INGRESS);
        let row = Row::transmits(name(text), &answer, &output).after(&[&packet]);
        rows.push(row.outward(slot, &answer));
    }
    for ttl in [0, 1] {
        let late = answer.clone().ttl(ttl);
        let row = Row::drops(name(&format!("TTL {ttl}")), &late, DropReason::TtlExceeded);
        rows.push(row.after(&[&packet]).outward(slot, &late));
    }
    // Once more with the connection among the established ones.
    let ack = packet.clone().later(ACK);
    let data = reply(kind, purpose, &packet, ACK).payload(1000);
    let output = untranslated(kind, purpose, &data, INGRESS);
    let row = Row::transmits(name("established"), &data, &output).after(&[&packet, &answer, &ack]);
    rows.push(row.outward(slot, &data));
    let request = ack.clone().payload(100);
    let output = translated(kind, purpose, &request);
    let row = Row::transmits(format!("{kind} {purpose:?}: established"), &request, &output);
    rows.push(row.after(&[&packet, &answer, &ack]).inward(slot, &request));
    // Nothing but replies to clients' packets is translated.
    let mut other = |text: &str, packet: Packet| {
        let row = Row::passes(name(text), packet.bytes(), PassReason::NoService);
        rows.push(row.after(&[&kind.request(kind.service(purpose))]));
    };
    other("to a client without a connection", answer.clone().to(kind.client(2)));
    let mut to = packet.from;
    to.set_port(to.port() + 1);
    other("to another port of the client", answer.clone().to(to));
    let mut from = kind.server(purpose);
    from.set_port(from.port() + 1);
    other("from another port of the server", answer.clone().from(from));
    other("from another server", answer.clone().from(kind.server(Purpose::Direct)));
    let without = Row::passes(name("without any connection"), answer.bytes(), PassReason::NoService);
    rows.push(without);
    // The server is removed: the connection is over, and its answers are nobody's.
    let gone = Row::passes(name("of a removed server"), answer.bytes(), PassReason::NoService);
    let gone = gone.after(&[&packet]).step(Step::Retire(slot)).event(Event::StaleEntry);
    // The client's half of the connection stays until somebody finds it.
    rows.push(gone.connections(&[opened(kind, &packet, slot)]));
    rows
}

fn ways_back(kind: Kind) -> Vec<Row> {
    let purpose = Purpose::Nat;
    let slot = kind.slot(purpose);
    let from = |net| kind.request(kind.service(purpose)).from(kind.client_in(net, 1));
    let answer = |net| reply(kind, purpose, &from(net), SYN | ACK);
    let name = |text: &str| format!("{kind} way back: {text}");
    let unrouted = |text: &str, net: u8, answer: &Packet| {
        let passed = answer.clone().from(kind.service(purpose));
        let row = Row::passes(name(text), answer.bytes(), PassReason::ReplyUnrouted);
        row.output(&passed).after(&[&from(net)]).outward(slot, answer)
    };
    let (east, west, nowhere) = (answer(1), answer(2), answer(3));
    let to_east = untranslated(kind, purpose, &east, EAST);
    let tag = |packet: &Packet| packet.clone().tag(CUSTOMER, 4);
    vec![
        Row::redirects(name("through another interface"), &east, EAST, &to_east)
            .after(&[&from(1)])
            .outward(slot, &east),
        Row::transmits(name("through the interface it came by"), &east, &to_east)
            .after(&[&from(1)])
            .ingress(EAST)
            .outward(slot, &east),
        Row::transmits(name("tagged, through the interface it came by"), &tag(&east), &tag(&to_east))
            .after(&[&from(1)])
            .ingress(EAST)
            .outward(slot, &tag(&east)),
        unrouted("tagged, through another interface", 1, &tag(&east)),
        Row::drops(
            name("through an interface that is not attached"),
            &west,
            DropReason::InterfaceNotAttached,
        )
        .after(&[&from(2)])
        .outward(slot, &west),
        Row::transmits(
            name("back by an interface that is not attached"),
            &west,
            &untranslated(kind, purpose, &west, WEST),
        )
        .after(&[&from(2)])
        .ingress(WEST)
        .outward(slot, &west),
        unrouted("no route", 3, &nowhere),
        unrouted("no route, padding and an odd payload", 3, &nowhere.clone().payload(7).padding(3)),
    ]
}

/// Payloads that bring the transport checksum to the ends of its range, before or after the translation.
fn checksum_borders(kind: Kind) -> Vec<Row> {
    let (purpose, slot) = (Purpose::Nat, kind.slot(Purpose::Nat));
    let packet = kind.request(kind.service(purpose));
    let at = packet.transport_offset() + if kind.tcp { 16 } else { 6 };
    let mut rows = Vec::new();
    for (side, to) in [("before", packet.to), ("after", kind.server(purpose))] {
        for (name, wanted) in [("0", 0), ("1", 1), ("0xfffe", 0xfffe)] {
            // The checksum goes down by as much as the payload goes up, in one's complement.
            let zero = packet.clone().to(to).payload_of(&[0, 0]).bytes();
            let field = u16::from_be_bytes([zero[at], zero[at + 1]]);
            let difference = u32::from(field) + 0xffff - wanted;
            let payload = ((difference & 0xffff) + (difference >> 16)) as u16;
            let packet = packet.clone().payload_of(&payload.to_be_bytes());
            let seen = packet.clone().to(to).bytes();
            let seen = u16::from_be_bytes([seen[at], seen[at + 1]]);
            // UDP writes 0 as 0xffff, because 0 says that there is no checksum.
            let expected = if wanted == 0 && !kind.tcp { 0xffff } else { wanted as u16 };
            assert_eq!(seen, expected, "{kind}: a payload for checksum {name}");
            let output = translated(kind, purpose, &packet);
            let row = Row::transmits(format!("{kind} Nat: checksum {name} {side}"), &packet, &output);
            rows.push(row.begins(slot, &packet, &first_entries(kind, purpose, &packet)));
        }
    }
    rows
}

/// UDP without a checksum has none afterwards either (RFC 768).
fn absent_checksums() -> Vec<Row> {
    let mut rows = Vec::new();
    for kind in [UDP4, UDP6] {
        let (purpose, slot) = (Purpose::Nat, kind.slot(Purpose::Nat));
        let request = kind.request(kind.service(purpose));
        let without = |packet: &Packet| packet.clone().without_checksum();
        let packet = without(&request);
        let output = without(&translated(kind, purpose, &request));
        let row = Row::transmits(format!("{kind} Nat: no checksum"), &packet, &output);
        rows.push(row.begins(slot, &packet, &first_entries(kind, purpose, &request)));
        let answer = reply(kind, purpose, &request, 0);
        let output = without(&untranslated(kind, purpose, &answer, INGRESS));
        let row = Row::transmits(format!("{kind} Nat reply: no checksum"), &without(&answer), &output);
        rows.push(row.after(&[&request]).outward(slot, &answer));
    }
    rows
}

/// What the two directions of a NAT connection do to its state.
fn states(kind: Kind) -> Vec<Row> {
    let (purpose, slot) = (Purpose::Nat, kind.slot(Purpose::Nat));
    let syn = kind.request(kind.service(purpose));
    let flow = |flags| syn.clone().flags(flags);
    let back = |flags| reply(kind, purpose, &syn, flags);
    let replies = |half_open| replies(&back(ACK), slot, half_open);
    let name = |text: &str| format!("{kind} NAT states: {text}");
    let request = |text: &str, packet: &Packet| {
        Row::transmits(name(text), packet, &translated(kind, purpose, packet)).inward(slot, packet)
    };
    let answer = |text: &str, packet: &Packet| {
        let output = untranslated(kind, purpose, packet, INGRESS);
        Row::transmits(name(text), packet, &output).outward(slot, packet)
    };
    let (syn_ack, ack, fin) = (back(SYN | ACK), flow(ACK), flow(FIN | ACK));
    let open: [&Packet; 3] = [&syn, &syn_ack, &ack];
    let is = |state| [entry(&syn, slot, state), replies(state == tcp_state::SYN_RECV)];
    vec![
        answer("SYN and ACK of the server", &syn_ack).after(&[&syn]).connections(&is(tcp_state::SYN_RECV)),
        request("ACK of the client", &ack)
            .after(&[&syn, &syn_ack])
            .event(Event::ConnectionPromoted)
            .connections(&is(tcp_state::ESTABLISHED)),
        request("SYN again", &syn).after(&[&syn]).connections(&is(tcp_state::SYN_RECV)),
        request("SYN on an established connection", &syn)
            .after(&open)
            .connections(&is(tcp_state::ESTABLISHED)),
        answer("data of the server before the client's ACK", &back(ACK)).after(&[&syn]).connections(&[
            super::director::Connection { half_open: true, ..entry(&syn, slot, tcp_state::ESTABLISHED) },
            replies(true),
        ]),
        request("the client's ACK after that", &ack)
            .after(&[&syn, &back(ACK)])
            .event(Event::ConnectionPromoted)
            .connections(&is(tcp_state::ESTABLISHED)),
        request("FIN of the client", &fin).after(&open).connections(&is(tcp_state::CLOSE_WAIT)),
        answer("FIN of the server", &back(FIN | ACK)).after(&open).connections(&is(tcp_state::FIN_WAIT)),
        answer("FIN of the server after the client's", &back(FIN | ACK))
            .after(&open)
            .after(&[&fin])
            .connections(&is(tcp_state::TIME_WAIT)),
        request("FIN of the client after the server's", &fin)
            .after(&open)
            .after(&[&back(FIN | ACK)])
            .connections(&is(tcp_state::TIME_WAIT)),
        request("RST of the client", &flow(RST)).after(&open).connections(&is(tcp_state::CLOSE)),
        answer("RST of the server", &back(RST | ACK)).after(&open).connections(&is(tcp_state::CLOSE)),
        request("SYN after the server's RST", &syn)
            .after(&[&syn, &back(RST | ACK)])
            .event(Event::Reused)
            .begins_again(slot, &is(tcp_state::SYN_RECV)),
        request("SYN on a closed connection", &syn)
            .after(&open)
            .after(&[&flow(RST)])
            .event(Event::Reused)
            .begins_again(slot, &is(tcp_state::SYN_RECV)),
        Row::passes(name("ACK after everything has expired"), ack.bytes(), PassReason::NoConnection)
            .after(&open)
            .step(Step::Sweep(1))
            .step(Step::Sweep(902)),
        answer("reply shortly before the connection expires", &back(ACK))
            .after(&open)
            .step(Step::Sweep(1))
            .step(Step::Sweep(900)),
    ]
}
