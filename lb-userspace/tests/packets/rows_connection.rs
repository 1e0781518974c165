//! Rows about the connection table: states, promotion, reuse, expiry, eviction.

use lb_common::datapath::tcp_state;
use lb_common::layout::{Event, PassReason};

use super::fixture::{
    ESTABLISHED_PLACES, HALF_OPEN_PLACES, INGRESS, KINDS, Kind, Purpose, TCP4, TCP6, UDP4, own_mac,
    server_mac,
};
use super::frames::{ACK, FIN, PSH, Packet, RST, SYN};
use super::row::{Row, Step, entry, opened};

pub(crate) fn rows() -> Vec<Row> {
    let tcp = [TCP4, TCP6].into_iter().flat_map(|kind| [strangers(kind), states(kind), reuse(kind)].concat());
    let both = KINDS.into_iter().flat_map(|kind| [expiry(kind), flows(kind)].concat());
    tcp.chain(both).chain(evictions()).collect()
}

fn first(kind: Kind) -> (Packet, u32) {
    (kind.request(kind.service(Purpose::Direct)), kind.slot(Purpose::Direct))
}

/// The packet goes to the only real server.
fn forwarded(name: String, packet: &Packet, slot: u32) -> Row {
    let output = packet.clone().routed(own_mac(INGRESS), server_mac(slot));
    Row::transmits(name, packet, &output)
}

/// TCP packets that do not begin a connection.
fn strangers(kind: Kind) -> Vec<Row> {
    let (syn, slot) = first(kind);
    let mut rows = Vec::new();
    for (name, flags) in [
        ("no flags", 0),
        ("ACK", ACK),
        ("PSH and ACK", PSH | ACK),
        ("SYN and ACK", SYN | ACK),
        ("RST", RST),
        ("RST and ACK", RST | ACK),
        ("FIN", FIN),
        ("FIN and ACK", FIN | ACK),
        ("SYN and FIN", SYN | FIN),
        ("SYN and RST", SYN | RST),
        ("all flags", 0x3f),
    ] {
        let packet = syn.clone().flags(flags);
        let name = format!("{kind} without a connection: {name}");
        rows.push(Row::passes(name, packet.bytes(), PassReason::NoConnection));
    }
    let packet = syn.clone().flags(SYN | PSH);
    let row = forwarded(format!("{kind} without a connection: SYN and PSH"), &packet, slot);
    rows.push(row.begins(slot, &packet, &[opened(kind, &packet, slot)]));
    rows
}

/// What a client's packets do to a connection whose replies are not seen.
fn states(kind: Kind) -> Vec<Row> {
    let (syn, slot) = first(kind);
    let ack = syn.clone().flags(ACK);
    let name = |text: &str| format!("{kind} states: {text}");
    let sent = |text: &str, flags: u8| {
        let packet = syn.clone().flags(flags);
        forwarded(name(text), &packet, slot).inward(slot, &packet)
    };
    let is = |state| [entry(&syn, slot, state)];
    let half_open = |state| [super::director::Connection { half_open: true, ..entry(&syn, slot, state) }];
    let mut rows = vec![
        sent("SYN again", SYN).after(&[&syn]).connections(&is(tcp_state::SYN_RECV)),
        sent("ACK", ACK)
            .after(&[&syn])
            .event(Event::ConnectionPromoted)
            .connections(&is(tcp_state::ESTABLISHED)),
        sent("data as the first ACK", PSH | ACK)
            .after(&[&syn])
            .event(Event::ConnectionPromoted)
            .connections(&is(tcp_state::ESTABLISHED)),
        sent("RST while half-open", RST).after(&[&syn]).connections(&is(tcp_state::SYN_RECV)),
        sent("FIN while half-open", FIN).after(&[&syn]).connections(&half_open(tcp_state::TIME_WAIT)),
        sent("FIN and ACK while half-open", FIN | ACK)
            .after(&[&syn])
            .connections(&half_open(tcp_state::TIME_WAIT)),
        sent("no flags while half-open", 0).after(&[&syn]).connections(&half_open(tcp_state::CLOSE)),
        sent("ACK on one closed while half-open", ACK)
            .after(&[&syn, &syn.clone().flags(0)])
            .connections(&half_open(tcp_state::CLOSE)),
    ];
    for (text, flags, state) in [
        ("ACK", ACK, tcp_state::ESTABLISHED),
        ("PSH and ACK", PSH | ACK, tcp_state::ESTABLISHED),
        ("SYN", SYN, tcp_state::ESTABLISHED),
        ("SYN and ACK", SYN | ACK, tcp_state::ESTABLISHED),
        ("FIN and ACK", FIN | ACK, tcp_state::FIN_WAIT),
        ("FIN", FIN, tcp_state::FIN_WAIT),
        ("RST", RST, tcp_state::CLOSE),
        ("RST and ACK", RST | ACK, tcp_state::CLOSE),
        ("no flags", 0, tcp_state::CLOSE),
    ] {
        let row = sent(&format!("{text} on an established one"), flags);
        rows.push(row.after(&[&syn, &ack]).connections(&is(state)));
    }
    let fin = syn.clone().flags(FIN | ACK);
    rows.push(sent("ACK after FIN", ACK).after(&[&syn, &ack, &fin]).connections(&is(tcp_state::FIN_WAIT)));
    let row = sent("RST after FIN", RST).after(&[&syn, &ack, &fin]);
    rows.push(row.connections(&is(tcp_state::CLOSE)));
    let row = sent("FIN again", FIN | ACK).after(&[&syn, &ack, &fin]);
    rows.push(row.connections(&is(tcp_state::FIN_WAIT)));
    rows
}

/// A SYN on a connection that is closing begins a new one.
fn reuse(kind: Kind) -> Vec<Row> {
    let (syn, slot) = first(kind);
    let ack = syn.clone().flags(ACK);
    let name = |text: &str| format!("{kind} reuse: {text}");
    let again = |text: &str, end: &[&Packet]| {
        forwarded(name(text), &syn, slot).after(&[&syn]).after(end).event(Event::Reused).begins(
            slot,
            &syn,
            &[entry(&syn, slot, tcp_state::SYN_RECV)],
        )
    };
    let fin = syn.clone().flags(FIN | ACK);
    vec![
        again("SYN after FIN", &[&ack, &fin]),
        again("SYN after RST", &[&ack, &syn.clone().flags(RST)]),
        again("SYN after a FIN while half-open", &[&fin]),
        again("SYN after a packet without flags", &[&syn.clone().flags(0)]),
        // Only a plain SYN does: this one is none.
        forwarded(name("SYN and ACK after FIN"), &syn.clone().flags(SYN | ACK), slot)
            .after(&[&syn, &ack, &fin])
            .inward(slot, &syn)
            .connections(&[super::director::Connection {
                half_open: false,
                ..entry(&syn, slot, tcp_state::SYN_RECV)
            }]),
    ]
}

/// Entries end when they were idle for as long as their state allows.
fn expiry(kind: Kind) -> Vec<Row> {
    let (packet, slot) = first(kind);
    let ack = packet.clone().later(ACK);
    let name = |text: String| format!("{kind} expiry: {text}");
    let mut cases = vec![];
    if kind.tcp {
        let fin = packet.clone().flags(FIN | ACK);
        let rst = packet.clone().flags(RST);
        cases.push(("half-open", vec![packet.clone()], 60));
        cases.push(("established", vec![packet.clone(), ack.clone()], 900));
        cases.push(("after FIN", vec![packet.clone(), ack.clone(), fin], 120));
        cases.push(("after RST", vec![packet.clone(), ack.clone(), rst], 10));
    } else {
        cases.push(("a flow", vec![packet.clone()], 300));
        cases.push(("a flow of two packets", vec![packet.clone(), packet.clone()], 300));
    }
    let mut rows = Vec::new();
    for (text, before, seconds) in cases {
        let before: Vec<_> = before.iter().collect();
        // The first sweep notes the use, one second on; from then on the entry is idle.
        let after =
            |row: Row, seconds: u64| row.after(&before).step(Step::Sweep(1)).step(Step::Sweep(1 + seconds));
        // Another SYN is the question; what it does to the counters tells whether the entry was there.
        let probe = if kind.tcp { packet.clone().flags(ACK) } else { packet.clone() };
        let row = if kind.tcp {
            Row::passes(name(format!("{text}, gone")), probe.bytes(), PassReason::NoConnection)
        } else {
            let row = forwarded(name(format!("{text}, gone")), &probe, slot);
            row.begins(slot, &probe, &[opened(kind, &probe, slot)])
        };
        rows.push(after(row, seconds + 2));
        let mut row = forwarded(name(format!("{text}, still there")), &probe, slot).inward(slot, &probe);
        if text == "half-open" {
            let moved = entry(&packet, slot, tcp_state::ESTABLISHED);
            row = row.event(Event::ConnectionPromoted).connections(&[moved]);
        }
        rows.push(after(row, seconds - 2));
    }
    // Use puts it off.
    let row = forwarded(name("put off by use".to_owned()), &ack, slot).inward(slot, &ack);
    let row = row.after(&[&packet, &ack]).step(Step::Sweep(1)).step(Step::Sweep(200)).after(&[&ack]);
    rows.push(row.step(Step::Sweep(290)).step(Step::Sweep(500)));
    rows
}

/// Flows are told apart by every part of the key.
fn flows(kind: Kind) -> Vec<Row> {
    let (packet, slot) = first(kind);
    let mut port = packet.from;
    port.set_port(port.port() ^ 1);
    let mut rows = Vec::new();
    for (name, other) in [
        ("another client", packet.clone().from(kind.client(2))),
        ("another port of the client", packet.clone().from(port)),
    ] {
        let row = forwarded(format!("{kind} flows: {name}"), &other, slot).after(&[&packet]);
        let both = [opened(kind, &packet, slot), opened(kind, &other, slot)];
        rows.push(row.begins(slot, &other, &both));
    }
    let there = kind.any_port_slot();
    let mut to = std::net::SocketAddr::new(kind.any_port_vip(), packet.to.port());
    for (name, port) in [("another service", packet.to.port()), ("another port of the service", 1)] {
        to.set_port(port);
        let other = packet.clone().to(to);
        let row = forwarded(format!("{kind} flows: {name}"), &other, there).after(&[&packet]);
        let both = [opened(kind, &packet, slot), opened(kind, &other, there)];
        rows.push(row.begins(there, &other, &both));
    }
    // The same addresses and ports by the other protocol.
    let other_kind = Kind { tcp: !kind.tcp, ..kind };
    let (other, there) = first(other_kind);
    let row = forwarded(format!("{kind} flows: the other protocol"), &other, there).after(&[&packet]);
    rows.push(row.begins(there, &other, &[opened(kind, &packet, slot), opened(other_kind, &other, there)]));
    rows
}

/// More connections than there are places.
fn evictions() -> Vec<Row> {
    let crowd = |kind: Kind, count: usize, port: u16| {
        (0..count).map(move |number| {
            let mut from = kind.client((number % 200) as u8);
            from.set_port(port + (number / 200) as u16);
            kind.request(kind.service(Purpose::Direct)).from(from)
        })
    };
    let mut rows = Vec::new();
    // A flood of SYNs fills its own places and pushes out its like.
    let (syn, slot) = first(TCP4);
    let flood: Vec<_> = crowd(TCP4, HALF_OPEN_PLACES * 8, 50_000).collect();
    let flood: Vec<_> = flood.iter().collect();
    let row = forwarded("a SYN after a flood of them".to_owned(), &syn, slot).after(&flood);
    let new = opened(TCP4, &syn, slot);
    rows.push(row.event(Event::EmbryonicEvicted).begins_by_evicting(slot, &syn, new));
    // An established connection survives it.
    let ack = syn.clone().flags(ACK);
    let row = forwarded("an ACK in a flood of SYNs".to_owned(), &ack, slot).inward(slot, &ack);
    rows.push(row.after(&[&syn, &ack]).after(&flood));
    // Half-open ones do not.
    let row = Row::passes("the first SYN's ACK after a flood", ack.bytes(), PassReason::NoConnection);
    rows.push(row.after(&[&syn]).after(&flood));
    // Flows fill the other places.
    let (packet, slot) = first(UDP4);
    let many: Vec<_> = crowd(UDP4, ESTABLISHED_PLACES * 8, 50_000).collect();
    let many: Vec<_> = many.iter().collect();
    let row = forwarded("a flow after more flows than there are places".to_owned(), &packet, slot);
    let row = row.after(&many).event(Event::EstablishedEvicted);
    rows.push(row.begins_by_evicting(slot, &packet, opened(UDP4, &packet, slot)));
    // Those that were used since the last sweep are not chosen while others were not.
    let (idle, new) = many.split_at(ESTABLISHED_PLACES * 4);
    for kept in &idle[idle.len() - 12..] {
        let name = format!("the used flow of {} is kept rather than idle ones", kept.from);
        let row = forwarded(name, kept, slot).after(idle).step(Step::Sweep(1)).after(&[*kept]);
        rows.push(row.after(&new[..ESTABLISHED_PLACES / 4]).inward(slot, kept));
    }
    rows
}
