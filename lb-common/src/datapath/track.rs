//! Packets that the established table does not settle at once: first packets, state changes, half-open connections.

use super::connection::{
    NOWHERE, NewEntry, Position, Region, count, find, find_partner, flow_key_of_reply, insert, recount, remove,
    reply_key_of_flow, uncount,
};
use super::packet::TCP;
use super::schedule::schedule;
use super::tcp_state::{self, Direction, State};
use super::{ConnectionTables, Packet, Tables, event, flow_hash};
use crate::atomic::{compare_exchange, load};
use crate::layout::{
    ConnectionEntry, ConnectionKey, ConnectionMeta, DropReason, Event, HotWord, Method, PassReason, RealServer,
    ServiceKey,
};

/// What to do with a packet; eight bytes, because a BPF function returns no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    Forward { slot: u32, reverse: bool },
    Pass(PassReason),
    Drop(DropReason),
}

const _: () = assert!(size_of::<Decision>() == 8);

/// Finds the packet's connection or begins one.
#[inline(never)]
pub(super) fn track<T: Tables>(tables: &T, packet: &Packet, hash: u64) -> Decision {
    if let Some((position, word)) = find(tables, hash)
        && let Some(decision) = known(tables, packet, hash, position, word)
    {
        return decision;
    }
    begin(tables, packet, hash)
}

/// A packet of a connection that has an entry. `None`: the entry is none of this packet's, or no longer valid.
#[inline(always)]
fn known<T: Tables>(
    tables: &T,
    packet: &Packet,
    hash: u64,
    position: Position,
    word: HotWord,
) -> Option<Decision> {
    let slot = word.slot();
    let entry = tables.entry(position.0)?;
    // Another flow's tag may match by chance (8 in 2^40 per look-up); packets that only ask for their server live
    // with that, those that change something look at the key.
    if !entry.holds(&packet.key) {
        return None;
    }
    let server = tables.real_server(slot)?;
    let method = server.method();
    if method == Method::Removed {
        event(tables, Event::StaleEntry);
        remove(tables, position.0);
        return None;
    }
    let reverse = word.has(HotWord::REVERSE);
    if packet.key.protocol != TCP {
        return Some(Decision::Forward { slot, reverse });
    }
    let state = ConnectionMeta(load(entry.meta())).state();
    if !reverse && packet.begins_connection() && tcp_state::is_closing(state) {
        event(tables, Event::Reused);
        end(tables, server, &packet.key, position.0);
        return None;
    }
    let direction = match method {
        Method::Nat if reverse => Direction::Output,
        Method::Nat => Direction::Input,
        _ => Direction::InputOnly,
    };
    if reverse {
        let flow = flow_key_of_reply(server, &packet.key);
        let partner = find_partner(tables, flow_hash(&flow, tables.geometry().seed));
        if (partner >> 32) as u32 == slot
            && let Some(entry) = tables.entry(partner as u32)
            && entry.holds(&flow)
        {
            advance(tables, entry, slot, direction, packet.tcp_flags);
        }
        entry.seen(tables.now());
        return Some(Decision::Forward { slot, reverse });
    }
    let state = advance(tables, entry, slot, direction, packet.tcp_flags);
    entry.seen(tables.now());
    if state == tcp_state::ESTABLISHED && position.is_embryonic(&tables.geometry()) {
        promote(tables, server, &packet.key, hash, slot, position.0);
    }
    Some(Decision::Forward { slot, reverse })
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

/// Moves a connection from the embryonic to the established buckets, with its replies' entry.
#[inline(always)]
fn promote<T: Tables>(
    tables: &T,
    server: &RealServer,
    key: &ConnectionKey,
    hash: u64,
    slot: u32,
    position: u32,
) {
    // Counted anew before the old entry is taken out of the counters: the sum is right at every moment but this one.
    let moved = NewEntry {
        key,
        hash,
        slot,
        state: tcp_state::ESTABLISHED,
        reverse: false,
        region: Region::Established,
    };
    count(tables, slot, tcp_state::ESTABLISHED);
    if insert(tables, &moved) == NOWHERE {
        uncount(tables, slot, tcp_state::ESTABLISHED);
        return;
    }
    remove(tables, position);
    event(tables, Event::ConnectionPromoted);
    if server.method() == Method::Nat {
        let reply = reply_key_of_flow(server, key);
        let reply_hash = flow_hash(&reply, tables.geometry().seed);
        insert_reply(tables, &NewEntry { key: &reply, hash: reply_hash, reverse: true, ..moved });
    }
}

/// Makes the entry of a NAT connection's replies and removes the one that the same key had before: from the embryonic
/// buckets, or left over from a connection that had to give way.
#[inline(always)]
fn insert_reply<T: Tables>(tables: &T, reply: &NewEntry<'_>) -> u32 {
    let before = find_partner(tables, reply.hash);
    let position = insert(tables, reply);
    if before != 0
        && before as u32 != position
        && let Some(entry) = tables.entry(before as u32)
        && entry.holds(reply.key)
    {
        remove(tables, before as u32);
    }
    position
}

/// Ends a connection together with the entry of its replies.
#[inline(always)]
pub(super) fn end<T: ConnectionTables>(tables: &T, server: &RealServer, key: &ConnectionKey, position: u32) {
    if server.method() == Method::Nat {
        let reply = reply_key_of_flow(server, key);
        let partner = find_partner(tables, flow_hash(&reply, tables.geometry().seed));
        if partner != 0
            && let Some(entry) = tables.entry(partner as u32)
            && entry.holds(&reply)
        {
            remove(tables, partner as u32);
        }
    }
    remove(tables, position);
}

/// A packet without a connection: schedules one if it asks for it.
#[inline(always)]
fn begin<T: Tables>(tables: &T, packet: &Packet, hash: u64) -> Decision {
    let key = ServiceKey::new(packet.key.destination, packet.key.destination_port(), packet.key.protocol);
    let id = match tables.find_service(&key) {
        Some(id) => id,
        None => match tables.find_service(&key.any_port()) {
            Some(id) => id,
            None => return Decision::Pass(PassReason::NoService),
        },
    };
    if !packet.begins_connection() {
        return Decision::Pass(PassReason::NoConnection);
    }
    let Some(service) = tables.service(id) else { return Decision::Drop(DropReason::Internal) };
    let slot = schedule(tables, service, &packet.key);
    if slot == 0 {
        return Decision::Drop(DropReason::NoRealServer);
    }
    let Some(server) = tables.real_server(slot) else { return Decision::Drop(DropReason::Internal) };
    let (state, region) = if packet.key.protocol == TCP {
        (tcp_state::SYN_RECV, Region::Embryonic)
    } else {
        (tcp_state::UDP_FLOW, Region::Established)
    };
    count(tables, slot, state);
    let new = NewEntry { key: &packet.key, hash, slot, state, reverse: false, region };
    let position = insert(tables, &new);
    if position == NOWHERE {
        uncount(tables, slot, state);
        return Decision::Drop(DropReason::TableFull);
    }
    if server.method() == Method::Nat {
        let reply = reply_key_of_flow(server, &packet.key);
        let reply_hash = flow_hash(&reply, tables.geometry().seed);
        let reply = NewEntry { key: &reply, hash: reply_hash, reverse: true, ..new };
        if insert_reply(tables, &reply) == NOWHERE {
            remove(tables, position);
            return Decision::Drop(DropReason::TableFull);
        }
    }
    if let Some(traffic) = tables.traffic(slot) {
        traffic.connection();
    }
    event(tables, Event::ConnectionCreated);
    Decision::Forward { slot, reverse: false }
}
