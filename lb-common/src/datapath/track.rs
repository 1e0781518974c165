//! Packets that the established table does not settle at once: first packets, state changes, half-open connections.

use super::connection::{
    EVICTED, Found, NOWHERE, NewEntry, count, flow_key_of_reply, recount, reply_key_of_flow, uncount,
};
use super::packet::TCP;
use super::schedule::schedule;
use super::tcp_state::{self, Direction, State};
use super::{ConnectionTables, Packet, Tables, event, flow_hash};
use crate::atomic::{compare_exchange, load};
use crate::layout::{
    ConnectionEntry, ConnectionKey, ConnectionMeta, DropReason, Event, HotWord, Method, PassReason,
    RealServer, ServiceKey, Stance,
};

/// What to do with a packet; eight bytes, because a BPF function returns no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    Forward { slot: u32, reverse: bool },
    Pass(PassReason),
    Drop(DropReason),
}

const _: () = assert!(size_of::<Decision>() == 8);

/// What a look at the tables says.
enum Step {
    /// The packet's fate is known.
    Done(Decision),
    /// A connection to `slot` begins, or moves from `previous` to where its new state belongs.
    Open { slot: u32, state: State, previous: u32 },
}

/// Finds the packet's connection or begins one.
#[inline(never)]
pub(super) fn track<T: Tables>(tables: &T, packet: &Packet, hash: u64) -> Decision {
    let found = tables.find(hash);
    let step = match known(tables, packet, found) {
        Some(step) => step,
        None => begin(tables, packet),
    };
    match step {
        Step::Done(decision) => decision,
        Step::Open { slot, state, previous } => open(tables, packet, hash, slot, state, previous),
    }
}

/// A packet of a connection that has an entry. `None`: there is none, or it is no longer valid.
#[inline(always)]
fn known<T: Tables>(tables: &T, packet: &Packet, found: Found) -> Option<Step> {
    if !found.is_some() {
        return None;
    }
    let slot = found.word().slot();
    let entry = tables.entry(found.position())?;
    // Another flow's tag may match by chance (8 in 2^40 per look-up); packets that only ask for their server live
    // with that, those that change something look at the key.
    if !entry.holds(&packet.key) {
        return None;
    }
    let server = tables.real_server(slot)?;
    let method = server.method();
    if method == Method::Removed {
        event(tables, Event::StaleEntry);
        tables.remove(found.position());
        return None;
    }
    // Nothing is learnt from the packet: the director that serves the address follows the connection now.
    if server.is_standby() {
        return Some(Step::Done(Decision::Pass(PassReason::Standby)));
    }
    let reverse = found.word().has(HotWord::REVERSE);
    if packet.key.protocol != TCP {
        return Some(Step::Done(Decision::Forward { slot, reverse }));
    }
    let state = ConnectionMeta(load(entry.meta())).state();
    if !reverse && packet.begins_connection() && tcp_state::is_closing(state) {
        event(tables, Event::Reused);
        end(tables, server, &packet.key, found.position());
        return None;
    }
    let direction = match method {
        Method::Nat if reverse => Direction::Output,
        Method::Nat => Direction::Input,
        _ => Direction::InputOnly,
    };
    if reverse {
        let flow = flow_key_of_reply(server, &packet.key);
        let partner = tables.find(flow_hash(&flow, tables.geometry().seed));
        if partner.word().slot() == slot
            && let Some(entry) = tables.entry(partner.position())
            && entry.holds(&flow)
        {
            let half_open = ConnectionMeta(load(entry.meta())).state() == tcp_state::SYN_RECV;
            if half_open
                && packet.resets()
                && let Some(traffic) = tables.traffic(slot)
            {
                traffic.refused();
            }
            advance(tables, entry, slot, direction, packet.tcp_flags);
        }
        entry.seen(tables.now());
        answered(entry);
        return Some(Step::Done(Decision::Forward { slot, reverse }));
    }
    let state = advance(tables, entry, slot, direction, packet.tcp_flags);
    entry.seen(tables.now());
    if state == tcp_state::ESTABLISHED && found.is_embryonic(&tables.geometry()) {
        // The client's first ACK and its request may arrive on two CPUs at once: one of them moves the connection. Until
        // it is done, the others find the entry where it was.
        let meta = ConnectionMeta(load(entry.meta()));
        if !meta.is_moving() && compare_exchange(entry.meta(), meta.0, meta.moving().0) == meta.0 {
            return Some(Step::Open { slot, state, previous: found.position() });
        }
    }
    Some(Step::Done(Decision::Forward { slot, reverse }))
}

/// Notes in the entry of the replies that there was one; its state stands for nothing else.
#[inline(always)]
fn answered(entry: &ConnectionEntry) {
    let meta = ConnectionMeta(load(entry.meta()));
    if meta.0 != 0 && meta.state() == tcp_state::SYN_RECV {
        // Whoever was faster noted the same, or ended the entry.
        compare_exchange(entry.meta(), meta.0, meta.with_state(tcp_state::SYNACK).0);
    }
}

/// Moves a connection to its next state and settles the counters; returns the state.
#[inline(always)]
fn advance<T: ConnectionTables>(
    tables: &T,
    entry: &ConnectionEntry,
    slot: u32,
    direction: Direction,
    flags: u8,
) -> State {
    let mut state = tcp_state::NONE;
    // The other direction's packet may change the state at the same time, on another CPU.
    for _ in 0..2 {
        let meta = ConnectionMeta(load(entry.meta()));
        if meta.0 == 0 {
            return tcp_state::NONE;
        }
        state = tcp_state::next(meta.state(), direction, flags);
        if state == meta.state() {
            return state;
        }
        if compare_exchange(entry.meta(), meta.0, meta.with_state(state).0) == meta.0 {
            recount(tables, slot, meta.state(), state);
            return state;
        }
    }
    state
}

/// Makes the entry of a connection, and with NAT that of its replies; removes the ones that it had before.
#[inline(always)]
fn open<T: Tables>(
    tables: &T,
    packet: &Packet,
    hash: u64,
    slot: u32,
    state: State,
    previous: u32,
) -> Decision {
    let Some(server) = tables.real_server(slot) else { return Decision::Drop(DropReason::Internal) };
    // The bits of a service and of its real servers change one after the other, in whichever order.
    if previous == NOWHERE && server.is_standby() {
        return Decision::Pass(PassReason::Standby);
    }
    // A connection that moves is counted twice until its previous entry is gone, never not at all.
    count(tables, slot, state);
    let mut new =
        NewEntry { key: packet.key, hash, slot, now: tables.now(), state, reverse: 0, padding: [0; 6] };
    let position = make(tables, &new);
    if position == NOWHERE {
        uncount(tables, slot, state);
        if previous != NOWHERE {
            return Decision::Forward { slot, reverse: false };
        }
        return Decision::Drop(DropReason::TableFull);
    }
    if previous != NOWHERE {
        tables.remove(previous);
        event(tables, Event::ConnectionPromoted);
    } else {
        if let Some(traffic) = tables.traffic(slot) {
            traffic.connection();
        }
        event(tables, Event::ConnectionCreated);
    }
    if server.method() == Method::Nat {
        new.key = reply_key_of_flow(server, &packet.key);
        new.hash = flow_hash(&new.key, tables.geometry().seed);
        new.reverse = 1;
        // The same key may be among the half-open ones, or left over from a connection that had to give way.
        let before = tables.find(new.hash);
        let reply = make(tables, &new);
        if reply == NOWHERE {
            tables.remove(position);
            return Decision::Drop(DropReason::TableFull);
        }
        if before.is_some()
            && before.position() != reply
            && let Some(entry) = tables.entry(before.position())
            && entry.holds(&new.key)
        {
            tables.remove(before.position());
        }
    }
    Decision::Forward { slot, reverse: false }
}

/// Makes an entry and counts the one that had to give way; returns its position.
#[inline(always)]
fn make<T: Tables>(tables: &T, new: &NewEntry) -> u32 {
    let made = tables.insert(new);
    if made & EVICTED != 0 {
        let embryonic = new.state == tcp_state::SYN_RECV;
        event(tables, if embryonic { Event::EmbryonicEvicted } else { Event::EstablishedEvicted });
    }
    made as u32
}

/// Ends a connection together with the entry of its replies.
#[inline(always)]
pub(super) fn end<T: ConnectionTables>(tables: &T, server: &RealServer, key: &ConnectionKey, position: u32) {
    if server.method() == Method::Nat {
        let reply = reply_key_of_flow(server, key);
        let partner = tables.find(flow_hash(&reply, tables.geometry().seed));
        if partner.is_some()
            && let Some(entry) = tables.entry(partner.position())
            && entry.holds(&reply)
        {
            tables.remove(partner.position());
        }
    }
    tables.remove(position);
}

/// A packet without a connection: schedules one if it asks for it.
#[inline(always)]
fn begin<T: Tables>(tables: &T, packet: &Packet) -> Step {
    let mut key = ServiceKey::new(packet.key.destination, packet.key.destination_port(), packet.key.protocol);
    let mut id = tables.find_service(&key);
    if id.is_none() {
        key = key.any_port();
        id = tables.find_service(&key);
    }
    let Some(id) = id else { return Step::Done(Decision::Pass(PassReason::NoService)) };
    let Some(service) = tables.service(id) else { return Step::Done(Decision::Drop(DropReason::Internal)) };
    match service.stance() {
        Stance::Balance => {}
        Stance::StandBy => return Step::Done(Decision::Pass(PassReason::Standby)),
        Stance::Refuse => return Step::Done(Decision::Drop(DropReason::NotAccepted)),
    }
    if !packet.begins_connection() {
        return Step::Done(Decision::Pass(PassReason::NoConnection));
    }
    let slot = schedule(tables, service, &packet.key);
    if slot == 0 {
        return Step::Done(Decision::Drop(DropReason::NoRealServer));
    }
    let state = if packet.key.protocol == TCP { tcp_state::SYN_RECV } else { tcp_state::UDP_FLOW };
    Step::Open { slot, state, previous: NOWHERE }
}
