//! Rows about the choice of a real server.

use std::net::SocketAddr;

use lb_common::layout::{DropReason, PassReason};

use super::director::Connection;
use super::fixture::{INGRESS, KINDS, Kind, Scheduler, TCP4, TCP6, own_mac, server_mac};
use super::frames::{ACK, FIN, Packet};
use super::row::{Row, entry, opened};

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for kind in KINDS {
        for (scheduler, turns) in
            [(Scheduler::Rr, &[0, 1, 2, 0][..]), (Scheduler::Wrr, &[0, 0, 2, 0, 1, 2, 0])]
        {
            rows.extend(in_turn(kind, scheduler, turns));
        }
        rows.extend(hashed(kind));
        rows.extend(least(kind, Scheduler::Lc, &[0, 1, 2, 0, 1, 2]));
        // Weights 1, 2, 0: the second gets twice as many, the third none.
        rows.extend(least(kind, Scheduler::Wlc, &[0, 1, 1, 0, 1, 1]));
        // (a + 1) / w: 1 and 1/2, 1 and 1, 2 and 1, 2 and 3/2, 2 and 2, 3 and 2. Flows of UDP count as if they were active.
        rows.extend(least(kind, Scheduler::Sed, &[1, 0, 1, 1, 0, 1]));
        // First everybody once, then as sed.
        rows.extend(least(kind, Scheduler::Nq, &[0, 1, 1, 1, 0, 1]));
        // A server takes one connection more than its weight; then nobody has room.
        rows.extend(least(kind, Scheduler::Ovf, &[1, 1, 1, 0, 0]));
        let all: Vec<_> = (1..=5).map(|number| request(kind, Scheduler::Ovf, number)).collect();
        let slots = kind.slots(Scheduler::Ovf);
        let opened: Vec<_> =
            all.iter().zip([1, 1, 1, 0, 0]).map(|(packet, turn)| opened(kind, packet, slots[turn])).collect();
        let full = Row::drops(
            format!("{kind} Ovf: nobody has room"),
            &request(kind, Scheduler::Ovf, 6),
            DropReason::NoRealServer,
        );
        rows.push(full.after(&all.iter().collect::<Vec<_>>()).connections(&opened));
    }
    for kind in [TCP4, TCP6] {
        rows.extend(inactive(kind));
        let udp = Kind { tcp: false, ..kind };
        let strange = udp.request(SocketAddr::new(udp.vip(), 9100)).bytes();
        rows.push(Row::passes(
            format!("{udp}: a port next to the schedulers'"),
            strange,
            PassReason::NoService,
        ));
    }
    rows
}

/// The first packet of client `number`.
fn request(kind: Kind, scheduler: Scheduler, number: u8) -> Packet {
    kind.request(kind.scheduled(scheduler)).from(kind.client(number))
}

/// The packet begins a connection with one of the three servers, which `before` have begun theirs with.
fn chosen(name: String, kind: Kind, packet: &Packet, slot: u32, before: &[Connection]) -> Row {
    let output = packet.clone().routed(own_mac(INGRESS), server_mac(slot));
    let all = [before, &[opened(kind, packet, slot)]].concat();
    Row::transmits(name, packet, &output).begins(slot, packet, &all)
}

/// Each client gets the next in turn.
fn in_turn(kind: Kind, scheduler: Scheduler, turns: &[usize]) -> Vec<Row> {
    let slots = kind.slots(scheduler);
    let mut rows = Vec::new();
    let (mut packets, mut connections) = (Vec::new(), Vec::new());
    for (number, turn) in (1..).zip(turns) {
        let packet = request(kind, scheduler, number);
        let name = format!("{kind} {scheduler:?}: connection {number}");
        let before: Vec<_> = packets.iter().collect();
        rows.push(chosen(name, kind, &packet, slots[*turn], &connections).after(&before));
        connections.push(opened(kind, &packet, slots[*turn]));
        packets.push(packet);
    }
    // A packet of a connection that is there takes no turn.
    let first = &packets[0];
    let second = &packets[1];
    let name = format!("{kind} {scheduler:?}: only first packets take turns");
    let row = chosen(name, kind, second, slots[turns[1]], &connections[..1]);
    rows.push(row.after(&[first, first, first]));
    rows
}

/// Places of the clients 1 to 5 in the schedulers' tables modulo three, computed beside this program from the formulas
/// of IPVS: `((address + port) * 0x61c88647) >> 24` for sh, SipHash-1-3 of the address plus port modulo 251 for mh.
struct Places {
    scheduler: Scheduler,
    ipv4: [usize; 5],
    ipv6: [usize; 5],
}

const PLACES: [Places; 5] = [
    // The virtual address is the same for all of them.
    Places { scheduler: Scheduler::Dh, ipv4: [0; 5], ipv6: [0; 5] },
    Places { scheduler: Scheduler::Sh, ipv4: [2, 0, 2, 1, 1], ipv6: [0, 2, 2, 1, 2] },
    Places { scheduler: Scheduler::ShPort, ipv4: [0, 2, 0, 2, 0], ipv6: [1, 0, 1, 2, 1] },
    Places { scheduler: Scheduler::Mh, ipv4: [0, 1, 0, 1, 0], ipv6: [0, 0, 2, 1, 2] },
    Places { scheduler: Scheduler::MhPort, ipv4: [0, 1, 1, 1, 2], ipv6: [2, 2, 0, 1, 2] },
];

/// The same for client 1's next port.
const NEXT_PORT: [(Scheduler, usize, usize); 4] =
    [(Scheduler::Sh, 2, 0), (Scheduler::ShPort, 2, 0), (Scheduler::Mh, 0, 0), (Scheduler::MhPort, 1, 2)];

fn hashed(kind: Kind) -> Vec<Row> {
    let mut rows = Vec::new();
    for Places { scheduler, ipv4, ipv6 } in PLACES {
        let slots = kind.slots(scheduler);
        for (number, place) in (1..).zip(if kind.ipv4 { ipv4 } else { ipv6 }) {
            let packet = request(kind, scheduler, number);
            let name = format!("{kind} {scheduler:?}: client {number}");
            rows.push(chosen(name, kind, &packet, slots[place], &[]));
        }
    }
    for (scheduler, ipv4, ipv6) in NEXT_PORT {
        let mut from = kind.client(1);
        from.set_port(40_001);
        let packet = request(kind, scheduler, 1).from(from);
        let slot = kind.slots(scheduler)[if kind.ipv4 { ipv4 } else { ipv6 }];
        rows.push(chosen(format!("{kind} {scheduler:?}: the next port"), kind, &packet, slot, &[]));
    }
    rows
}

/// Each client gets the least loaded.
fn least(kind: Kind, scheduler: Scheduler, turns: &[usize]) -> Vec<Row> {
    let slots = kind.slots(scheduler);
    let mut rows = Vec::new();
    let (mut packets, mut connections) = (Vec::new(), Vec::new());
    for (number, turn) in (1..).zip(turns) {
        let packet = request(kind, scheduler, number);
        let name = format!("{kind} {scheduler:?}: connection {number}");
        let before: Vec<_> = packets.iter().collect();
        rows.push(chosen(name, kind, &packet, slots[*turn], &connections).after(&before));
        connections.push(opened(kind, &packet, slots[*turn]));
        packets.push(packet);
    }
    rows
}

/// A closing connection weighs little, but something.
fn inactive(kind: Kind) -> Vec<Row> {
    let scheduler = Scheduler::Lc;
    let slots = kind.slots(scheduler);
    let all: Vec<_> = (1..=3).map(|number| request(kind, scheduler, number)).collect();
    let finished = |number: usize| [all[number].clone().flags(ACK), all[number].clone().flags(FIN | ACK)];
    let ended = |number: usize| entry(&all[number], slots[number], lb_common::datapath::tcp_state::FIN_WAIT);
    let open = |number: usize| opened(kind, &all[number], slots[number]);
    let packet = request(kind, scheduler, 9);
    let [ack, fin] = finished(1);
    let before = [open(0), ended(1), open(2)];
    let row = chosen(format!("{kind} Lc: one is closing"), kind, &packet, slots[1], &before);
    let one = row.after(&[&all[0], &all[1], &all[2], &ack, &fin]);
    let [other_ack, other_fin] = finished(2);
    let before = [open(0), ended(1), ended(2)];
    let row = chosen(format!("{kind} Lc: two are closing"), kind, &packet, slots[1], &before);
    let two = row.after(&[&all[0], &all[1], &all[2], &ack, &fin, &other_ack, &other_fin]);
    vec![one, two]
}
