//! Rows about virtual addresses that another director serves at the moment: everything to them passes and nothing that
//! is known of them changes, so that connections go on when the address comes back.

use lb_common::datapath::tcp_state;
use lb_common::layout::{Event, PassReason};

use super::fixture::{INGRESS, KINDS, Kind, Purpose, Scheduler, own_mac, server_mac};
use super::frames::{ACK, FIN, PSH, Packet, RST, SYN};
use super::row::{Row, Step, entry, first_entries, opened};
use super::rows_nat::{reply, translated, untranslated};

pub(crate) fn rows() -> Vec<Row> {
    KINDS
        .into_iter()
        .flat_map(|kind| {
            let answers = [Purpose::Nat, Purpose::NatSamePort].into_iter();
            let answers = answers.flat_map(|purpose| nat(kind, purpose)).collect();
            [strangers(kind), connections(kind), answers, removed(kind), halves(kind)].concat()
        })
        .collect()
}

/// The other director takes over: a service whose number is that of its only real server's slot, and that slot.
fn leaves(row: Row, slot: u32) -> Row {
    row.step(Step::StandbyService(slot, true)).step(Step::StandbyServer(slot, true))
}

/// The address comes back.
fn returns(row: Row, slot: u32) -> Row {
    row.step(Step::StandbyServer(slot, false)).step(Step::StandbyService(slot, false))
}

fn passes(kind: Kind, text: &str, packet: &Packet) -> Row {
    Row::passes(format!("{kind} standby: {text}"), packet.bytes(), PassReason::Standby)
}

fn direct(kind: Kind) -> (Packet, u32) {
    (kind.request(kind.service(Purpose::Direct)), kind.slot(Purpose::Direct))
}

/// The packet goes to a direct routing server.
fn forwarded(kind: Kind, text: &str, packet: &Packet, slot: u32) -> Row {
    let output = packet.clone().routed(own_mac(INGRESS), server_mac(slot));
    Row::transmits(format!("{kind} standby: {text}"), packet, &output)
}

/// Packets without a connection.
fn strangers(kind: Kind) -> Vec<Row> {
    let mut rows = Vec::new();
    for purpose in [Purpose::Direct, Purpose::Tunnel, Purpose::Nat, Purpose::Local, Purpose::Empty] {
        let packet = kind.request(kind.service(purpose));
        rows.push(leaves(passes(kind, &format!("new, {purpose:?}"), &packet), kind.slot(purpose)));
    }
    let (packet, slot) = direct(kind);
    if kind.tcp {
        for (name, flags) in [("ACK", ACK), ("RST", RST), ("FIN and ACK", FIN | ACK), ("no flags", 0)] {
            let packet = packet.clone().flags(flags);
            rows.push(leaves(passes(kind, &format!("{name} without a connection"), &packet), slot));
        }
    }
    let any = kind.request(std::net::SocketAddr::new(kind.any_port_vip(), 4711));
    let any = leaves(passes(kind, "new, a service on all ports", &any), kind.any_port_slot());
    rows.push(any);
    let late = packet.clone().ttl(1);
    rows.push(leaves(passes(kind, "new, TTL 1", &late), slot));
    let row = leaves(forwarded(kind, "new, after the return", &packet, slot), slot);
    let row = returns(row.after(&[&packet]), slot);
    rows.push(row.begins(slot, &packet, &[opened(kind, &packet, slot)]));
    // Another service of the same address is not concerned, as far as the datapath knows.
    let other = kind.slot(Purpose::Tunnel);
    let row = leaves(forwarded(kind, "new, to the service next to it", &packet, slot), other);
    rows.push(row.begins(slot, &packet, &[opened(kind, &packet, slot)]));
    rows.push(turns(kind));
    rows
}

/// No turn of a scheduler is lost meanwhile.
fn turns(kind: Kind) -> Row {
    let [first, second, _] = kind.slots(Scheduler::Rr);
    let from = |host| kind.request(kind.scheduled(Scheduler::Rr)).from(kind.client(host));
    let (before, packet) = (from(1), from(3));
    let row = forwarded(kind, "whose turn it is", &packet, second).after(&[&before]);
    let row = row.step(Step::StandbyService(first, true)).after(&[&from(2)]);
    let row = row.step(Step::StandbyService(first, false));
    row.begins(second, &packet, &[opened(kind, &before, first), opened(kind, &packet, second)])
}

/// Packets of connections that were there before.
fn connections(kind: Kind) -> Vec<Row> {
    let (first, slot) = direct(kind);
    let ack = first.clone().later(ACK);
    let later: &[(&str, u8)] = match kind.tcp {
        true => &[("ACK", ACK), ("data", PSH | ACK), ("SYN", SYN), ("FIN", FIN | ACK), ("RST", RST)],
        false => &[("a datagram", 0)],
    };
    let mut rows = Vec::new();
    for (text, flags) in later {
        let packet = first.clone().later(*flags);
        let row = passes(kind, &format!("{text} of a connection that is new"), &packet);
        rows.push(leaves(row.after(&[&first]), slot));
        let row = passes(kind, &format!("{text} of a connection"), &packet).after(&[&first, &ack]);
        rows.push(leaves(row, slot));
        // It was nothing, as far as this director is concerned: the next packet goes on with the same entry.
        let row = forwarded(kind, &format!("after the return, and {text} meanwhile"), &ack, slot);
        let row = leaves(row.after(&[&first, &ack]), slot).after(&[&packet]);
        rows.push(returns(row, slot).inward(slot, &ack));
    }
    for purpose in [Purpose::Tunnel, Purpose::Nat, Purpose::Local, Purpose::NoRoute] {
        let (first, slot) = (kind.request(kind.service(purpose)), kind.slot(purpose));
        let ack = first.clone().later(ACK);
        let row = passes(kind, &format!("of a connection, {purpose:?}"), &ack).after(&[&first, &ack]);
        rows.push(leaves(row, slot));
    }
    if kind.tcp {
        // A half-open connection is promoted when the packet that promotes it comes to the right director.
        let row = forwarded(kind, "promoted after the return", &ack, slot).after(&[&first]);
        let row = returns(leaves(row, slot).after(&[&ack]), slot);
        let is = [entry(&first, slot, tcp_state::ESTABLISHED)];
        rows.push(row.inward(slot, &ack).event(Event::ConnectionPromoted).connections(&is));
        // One that is closing stays what it is.
        let fin = first.clone().flags(FIN | ACK);
        let row = passes(kind, "SYN on a closing connection", &first).after(&[&first, &ack, &fin]);
        rows.push(leaves(row, slot));
    }
    rows
}

/// Packets of a real server that answers through the director.
fn nat(kind: Kind, purpose: Purpose) -> Vec<Row> {
    let (first, slot) = (kind.request(kind.service(purpose)), kind.slot(purpose));
    let ack = first.clone().later(ACK);
    let name = |text: &str| format!("{purpose:?} reply, {text}");
    let answer = |flags| reply(kind, purpose, &first, flags);
    let mut rows = vec![
        leaves(passes(kind, &name("first"), &answer(SYN | ACK)).after(&[&first]), slot),
        leaves(passes(kind, &name("later"), &answer(ACK)).after(&[&first, &answer(SYN | ACK), &ack]), slot),
        leaves(
            passes(kind, &name("FIN"), &answer(FIN | ACK)).after(&[&first, &answer(SYN | ACK), &ack]),
            slot,
        ),
        // A refusal is the other director's to count.
        leaves(passes(kind, &name("RST"), &answer(RST | ACK)).after(&[&first]), slot),
    ];
    let entries = |half_open: bool| {
        let mut entries = first_entries(kind, purpose, &first);
        if kind.tcp && !half_open {
            for entry in &mut entries {
                entry.half_open = false;
                entry.state = if entry.reply { 0 } else { tcp_state::ESTABLISHED };
            }
        }
        entries
    };
    let data = answer(ACK);
    let output = untranslated(kind, purpose, &data, INGRESS);
    let row = Row::transmits(format!("{kind} standby: {}", name("after the return")), &data, &output);
    let row = leaves(row.after(&[&first, &answer(SYN | ACK), &ack]), slot).after(&[&data, &ack]);
    rows.push(returns(row, slot).outward(slot, &data).connections(&entries(false)));
    let output = translated(kind, purpose, &ack);
    let name = format!("{kind} standby: {purpose:?} request, after the return");
    let row = Row::transmits(name, &ack, &output).after(&[&first, &answer(SYN | ACK), &ack]);
    let row = leaves(row, slot).after(&[&data, &ack]);
    rows.push(returns(row, slot).inward(slot, &ack).connections(&entries(false)));
    rows
}

/// A removed real server is a removed one, whatever is said of its address.
fn removed(kind: Kind) -> Vec<Row> {
    let (first, slot) = direct(kind);
    let ack = first.clone().later(ACK);
    let mut rows = Vec::new();
    for (text, before, after) in [("before", true, false), ("after", false, true), ("throughout", true, true)]
    {
        let mut row = passes(kind, &format!("removed, standby {text}"), &ack).after(&[&first, &ack]);
        row = row.step(Step::StandbyService(slot, true));
        if before {
            row = row.step(Step::StandbyServer(slot, true));
        }
        row = row.step(Step::Retire(slot));
        if after {
            row = row.step(Step::StandbyServer(slot, true));
        }
        rows.push(row.event(Event::StaleEntry).connections(&[]));
        let row = passes(kind, &format!("removed, standby {text}, swept"), &ack).after(&[&first, &ack]);
        let row = leaves(row, slot).step(Step::Retire(slot));
        let row = if after { row.step(Step::StandbyServer(slot, true)) } else { row };
        rows.push(row.step(Step::Sweep(1)).connections(&[]));
    }
    // The bit alone, left by somebody who was late: the service goes on without the server.
    let [slot, next, _] = kind.slots(Scheduler::Rr);
    let first = kind.request(kind.scheduled(Scheduler::Rr));
    let ack = first.clone().later(ACK);
    let row = if kind.tcp {
        let name = format!("{kind} standby: of a removed server, the service is not");
        Row::passes(name, ack.bytes(), PassReason::NoConnection).connections(&[])
    } else {
        let row = forwarded(kind, "of a removed server, the service is not", &ack, next);
        row.begins(next, &ack, &[opened(kind, &ack, next)])
    };
    let row = row.after(&[&first, &ack]).step(Step::Retire(slot)).step(Step::StandbyServer(slot, true));
    rows.push(row.event(Event::StaleEntry));
    rows
}

/// Service and real server are told one after the other.
fn halves(kind: Kind) -> Vec<Row> {
    let (first, slot) = direct(kind);
    let ack = first.clone().later(ACK);
    let service = |row: Row| row.step(Step::StandbyService(slot, true));
    let server = |row: Row| row.step(Step::StandbyServer(slot, true));
    vec![
        service(passes(kind, "new, only the service so far", &first)),
        server(passes(kind, "new, only the real server so far", &first)),
        service(
            forwarded(kind, "of a connection, only the service so far", &ack, slot).after(&[&first, &ack]),
        )
        .inward(slot, &ack),
        server(passes(kind, "of a connection, only the real server so far", &ack).after(&[&first, &ack])),
    ]
}
