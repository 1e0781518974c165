//! The connection table: look-up, insertion, removal.
//!
//! Established entries have two buckets to be in, embryonic ones have one. Nothing is locked. A free word is claimed by
//! compare-and-exchange with slot 0, the record is filled in, and the final word makes it visible. The state word of
//! the record owns the connection: whoever exchanges it for zero takes the connection out of the counters.

use super::{ConnectionTables, Tables, tcp_state};
use crate::atomic::{compare_exchange, fetch_add, fetch_or, load, store};
use crate::layout::{
    BUCKET_WAYS, Bucket, ConnectionKey, ConnectionMeta, Event, Geometry, HotWord, RealServer,
};

/// Place of an entry: bucket index times ways plus way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position(pub u32);

impl Position {
    /// Whether the place is among the half-open connections.
    #[inline(always)]
    #[must_use]
    pub const fn is_embryonic(self, geometry: &Geometry) -> bool {
        self.0 >= geometry.embryonic_base() * BUCKET_WAYS
    }
}

/// Which part of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Region {
    Established,
    Embryonic,
}

#[inline(always)]
const fn first_bucket(geometry: &Geometry, hash: u64) -> u32 {
    hash as u32 & geometry.established_mask
}

/// The other bucket of an established entry; applied twice it gives the first again.
#[inline(always)]
const fn second_bucket(geometry: &Geometry, hash: u64) -> u32 {
    (hash as u32 ^ ((hash >> 40) as u32 | 1)) & geometry.established_mask
}

#[inline(always)]
const fn embryonic_bucket(geometry: &Geometry, hash: u64) -> u32 {
    geometry.embryonic_base() + (hash as u32 & geometry.embryonic_mask)
}

#[inline(always)]
fn search(bucket: &Bucket, hash: u64) -> (u32, HotWord) {
    for (way, cell) in bucket.0.iter().enumerate() {
        let word = HotWord(load(cell));
        if word.matches(hash) {
            return (way as u32, word);
        }
    }
    (0, HotWord(0))
}

#[inline(always)]
fn touch(bucket: &Bucket, way: u32, word: HotWord) {
    // Setting a set bit would dirty the line of a busy connection on every packet.
    if !word.has(HotWord::TOUCHED)
        && let Some(cell) = bucket.0.get((way & (BUCKET_WAYS - 1)) as usize)
    {
        fetch_or(cell, HotWord::TOUCHED);
    }
}

/// The word of an established connection, marked as used; zero where there is none.
#[inline(always)]
pub(super) fn established<T: ConnectionTables>(tables: &T, hash: u64) -> HotWord {
    let geometry = tables.geometry();
    let Some(bucket) = tables.bucket(first_bucket(&geometry, hash)) else { return HotWord(0) };
    let (way, word) = search(bucket, hash);
    if word.slot() != 0 {
        touch(bucket, way, word);
        return word;
    }
    let Some(bucket) = tables.bucket(second_bucket(&geometry, hash)) else { return HotWord(0) };
    let (way, word) = search(bucket, hash);
    if word.slot() != 0 {
        touch(bucket, way, word);
        return word;
    }
    HotWord(0)
}

/// Finds the entry whose tag matches; the caller compares the key.
#[inline(always)]
pub fn find<T: ConnectionTables>(tables: &T, hash: u64) -> Option<(Position, HotWord)> {
    let geometry = tables.geometry();
    for step in 0..3 {
        let index = match step {
            0 => first_bucket(&geometry, hash),
            1 => second_bucket(&geometry, hash),
            _ => embryonic_bucket(&geometry, hash),
        };
        let (way, word) = search(tables.bucket(index)?, hash);
        if word.slot() != 0 {
            return Some((Position(index * BUCKET_WAYS + way), word));
        }
    }
    None
}

/// [`find`] out of line, for the rarer callers: one copy in the BPF program.
#[inline(never)]
pub(super) fn find_partner<T: ConnectionTables>(tables: &T, hash: u64) -> u64 {
    match find(tables, hash) {
        Some((position, word)) => u64::from(position.0) | (u64::from(word.slot()) << 32),
        None => 0,
    }
}

/// The key of the client's packets, from a reply of a NAT real server.
#[inline(always)]
#[must_use]
pub fn flow_key_of_reply(server: &RealServer, reply: &ConnectionKey) -> ConnectionKey {
    let virtual_port = match server.virtual_port() {
        0 => reply.source_port(),
        port => port,
    };
    ConnectionKey {
        source: reply.destination,
        destination: server.source(),
        ports: u32::from(reply.destination_port()) | (u32::from(virtual_port) << 16),
        protocol: reply.protocol,
    }
}

/// The key of the replies, from a client's packet to a NAT real server.
#[inline(always)]
#[must_use]
pub(super) fn reply_key_of_flow(server: &RealServer, flow: &ConnectionKey) -> ConnectionKey {
    let port = match server.port() {
        0 => flow.destination_port(),
        port => port,
    };
    ConnectionKey {
        source: server.address(),
        destination: flow.source,
        ports: u32::from(port) | (u32::from(flow.source_port()) << 16),
        protocol: flow.protocol,
    }
}

/// One connection more of the kind that `state` is.
#[inline(always)]
const fn share(state: tcp_state::State) -> u64 {
    if tcp_state::is_active(state) { 1 << 32 } else { 1 }
}

#[inline(always)]
pub(super) fn count<T: ConnectionTables>(tables: &T, slot: u32, state: tcp_state::State) {
    if let Some(load) = tables.load(slot) {
        fetch_add(load, share(state));
    }
}

#[inline(always)]
pub(super) fn uncount<T: ConnectionTables>(tables: &T, slot: u32, state: tcp_state::State) {
    if let Some(load) = tables.load(slot) {
        fetch_add(load, share(state).wrapping_neg());
    }
}

/// Moves a connection of `slot` from one state's counter to the other's.
#[inline(always)]
pub(super) fn recount<T: ConnectionTables>(tables: &T, slot: u32, old: tcp_state::State, new: tcp_state::State) {
    if tcp_state::is_active(old) != tcp_state::is_active(new)
        && let Some(load) = tables.load(slot)
    {
        fetch_add(load, share(new).wrapping_sub(share(old)));
    }
}

/// What an entry holds when it is made.
#[derive(Clone, Copy)]
pub(super) struct NewEntry<'a> {
    pub(super) key: &'a ConnectionKey,
    pub(super) hash: u64,
    pub(super) slot: u32,
    pub(super) state: tcp_state::State,
    pub(super) reverse: bool,
    pub(super) region: Region,
}

/// Makes an entry, at the cost of another one where all places are taken; returns its position, or [`NOWHERE`] where
/// even that failed. The counters of the real server are the caller's affair, those of an entry that gave way are
/// settled here.
#[inline(never)]
pub(super) fn insert<T: Tables>(tables: &T, new: &NewEntry<'_>) -> u32 {
    let geometry = tables.geometry();
    let claim = HotWord::new(new.hash, 0, 0).0;
    let first = match new.region {
        Region::Established => first_bucket(&geometry, new.hash),
        Region::Embryonic => embryonic_bucket(&geometry, new.hash),
    };
    let mut position = claim_free(tables, first, claim);
    if position == NOWHERE && matches!(new.region, Region::Established) {
        position = claim_free(tables, second_bucket(&geometry, new.hash), claim);
    }
    if position == NOWHERE {
        position = claim_taken(tables, first, new.hash, claim, new.region);
    }
    if position == NOWHERE {
        return NOWHERE;
    }
    let (Some(entry), Some(bucket)) = (tables.entry(position), tables.bucket(position / BUCKET_WAYS)) else {
        return NOWHERE;
    };
    entry.fill(new.key, new.slot, tables.now());
    store(entry.meta(), ConnectionMeta::new(new.key, new.state, new.reverse).0);
    if let Some(cell) = bucket.0.get((position & (BUCKET_WAYS - 1)) as usize) {
        let flags = HotWord::TOUCHED | if new.reverse { HotWord::REVERSE } else { 0 };
        store(cell, HotWord::new(new.hash, new.slot, flags).0);
    }
    position
}

/// No position: past every table.
pub(super) const NOWHERE: u32 = u32::MAX;

/// Claims a free way of a bucket.
#[inline(always)]
fn claim_free<T: ConnectionTables>(tables: &T, index: u32, claim: u64) -> u32 {
    let Some(bucket) = tables.bucket(index) else { return NOWHERE };
    for (way, cell) in bucket.0.iter().enumerate() {
        if load(cell) == 0 && compare_exchange(cell, 0, claim) == 0 {
            return index * BUCKET_WAYS + way as u32;
        }
    }
    NOWHERE
}

/// Makes an entry give way: one that was not used since the last sweep if there is one, else any. Entries for NAT
/// replies only go when there is nothing else, because the client's packets cannot tell that theirs is missing.
#[inline(always)]
fn claim_taken<T: Tables>(tables: &T, index: u32, hash: u64, claim: u64, region: Region) -> u32 {
    let Some(bucket) = tables.bucket(index) else { return NOWHERE };
    let mut victim = (hash >> 56) as u32 & (BUCKET_WAYS - 1);
    if matches!(region, Region::Established) {
        for (way, cell) in bucket.0.iter().enumerate() {
            if load(cell) & (HotWord::TOUCHED | HotWord::REVERSE) == 0 {
                victim = way as u32;
            }
        }
    }
    let position = index * BUCKET_WAYS + victim;
    if !exchange(tables, Position(position), claim) {
        return NOWHERE;
    }
    tables.count(
        match region {
            Region::Established => Event::EstablishedEvicted,
            Region::Embryonic => Event::EmbryonicEvicted,
        }
        .into(),
    );
    position
}

/// Ends the entry at a position: takes it out of the counters and puts `replacement` into its place. False where
/// somebody else was faster.
#[inline(always)]
fn exchange<T: ConnectionTables>(tables: &T, position: Position, replacement: u64) -> bool {
    let (Some(entry), Some(bucket)) = (tables.entry(position.0), tables.bucket(position.0 / BUCKET_WAYS)) else {
        return false;
    };
    let Some(cell) = bucket.0.get((position.0 & (BUCKET_WAYS - 1)) as usize) else { return false };
    let word = HotWord(load(cell));
    if word.slot() == 0 {
        return false;
    }
    let meta = ConnectionMeta(load(entry.meta()));
    if meta.0 != 0 && compare_exchange(entry.meta(), meta.0, 0) == meta.0 && !meta.is_reverse() {
        uncount(tables, word.slot(), meta.state());
    }
    compare_exchange(cell, word.0, replacement) == word.0
}

/// Ends the entry at a position. False where somebody else was faster.
#[inline(never)]
pub fn remove<T: ConnectionTables>(tables: &T, position: u32) -> bool {
    exchange(tables, Position(position), 0)
}
