//! The connection table: look-up, insertion, removal.
//!
//! Established entries have two buckets to be in, embryonic ones have one. Nothing is locked. A free word is claimed by
//! compare-and-exchange with slot 0, the record is filled in, and the final word makes it visible. The state word of
//! the record owns the connection: whoever exchanges it for zero takes the connection out of the counters.

use super::{ConnectionTables, tcp_state};
use crate::atomic::{compare_exchange, fetch_add, fetch_or, load, store};
use crate::layout::{BUCKET_WAYS, Bucket, ConnectionKey, ConnectionMeta, Geometry, HotWord, RealServer};

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
pub(super) fn established<T: ConnectionTables + ?Sized>(tables: &T, hash: u64) -> HotWord {
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

/// Finds the entry whose tag matches: its position and word. The caller compares the key.
#[inline(always)]
pub fn find<T: ConnectionTables + ?Sized>(tables: &T, hash: u64) -> Found {
    let geometry = tables.geometry();
    let buckets =
        [first_bucket(&geometry, hash), second_bucket(&geometry, hash), embryonic_bucket(&geometry, hash)];
    for index in buckets {
        let Some(bucket) = tables.bucket(index) else { continue };
        let (way, word) = search(bucket, hash);
        if word.slot() != 0 {
            return Found::new(index * BUCKET_WAYS + way, word);
        }
    }
    Found(0)
}

/// Where an entry is and what its word says beside the tag, in one word; zero where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found(pub u64);

impl Found {
    const fn new(position: u32, word: HotWord) -> Self {
        Self(position as u64 | ((word.0 & 0xff_ffff) << 32))
    }

    /// Whether there is one.
    #[inline(always)]
    #[must_use]
    pub const fn is_some(self) -> bool {
        self.0 != 0
    }

    /// Bucket index times ways plus way.
    #[inline(always)]
    #[must_use]
    pub const fn position(self) -> u32 {
        self.0 as u32
    }

    /// Slot and flags.
    #[inline(always)]
    #[must_use]
    pub const fn word(self) -> HotWord {
        HotWord(self.0 >> 32)
    }

    /// Whether the entry is among the half-open connections.
    #[inline(always)]
    #[must_use]
    pub const fn is_embryonic(self, geometry: &Geometry) -> bool {
        self.position() >= geometry.embryonic_base() * BUCKET_WAYS
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
    let ports = u32::from(reply.destination_port()) | (u32::from(virtual_port) << 16);
    ConnectionKey::new(reply.destination, server.source(), ports, reply.protocol)
}

/// The key of the replies, from a client's packet to a NAT real server.
#[inline(always)]
#[must_use]
pub(super) fn reply_key_of_flow(server: &RealServer, flow: &ConnectionKey) -> ConnectionKey {
    let port = match server.port() {
        0 => flow.destination_port(),
        port => port,
    };
    let ports = u32::from(port) | (u32::from(flow.source_port()) << 16);
    ConnectionKey::new(server.address(), flow.source, ports, flow.protocol)
}

/// One connection more of the kind that `state` is.
#[inline(always)]
const fn share(state: tcp_state::State) -> u64 {
    if tcp_state::is_active(state) { 1 << 32 } else { 1 }
}

#[inline(always)]
pub(super) fn count<T: ConnectionTables + ?Sized>(tables: &T, slot: u32, state: tcp_state::State) {
    if let Some(load) = tables.load(slot) {
        fetch_add(load, share(state));
    }
}

#[inline(always)]
pub(super) fn uncount<T: ConnectionTables + ?Sized>(tables: &T, slot: u32, state: tcp_state::State) {
    if let Some(load) = tables.load(slot) {
        fetch_add(load, share(state).wrapping_neg());
    }
}

/// Moves a connection of `slot` from one state's counter to the other's.
#[inline(always)]
pub(super) fn recount<T: ConnectionTables + ?Sized>(
    tables: &T,
    slot: u32,
    old: tcp_state::State,
    new: tcp_state::State,
) {
    if tcp_state::is_active(old) != tcp_state::is_active(new)
        && let Some(load) = tables.load(slot)
    {
        fetch_add(load, share(new).wrapping_sub(share(old)));
    }
}

/// What an entry holds when it is made; no byte is undefined, because it crosses a function boundary of the BPF
/// program.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct NewEntry {
    /// What the entry matches.
    pub key: ConnectionKey,
    /// Hash of the key.
    pub hash: u64,
    /// Real-server slot.
    pub slot: u32,
    /// The time.
    pub now: u32,
    /// State of the connection.
    pub state: tcp_state::State,
    /// 1 for the entry of a NAT connection's replies.
    pub reverse: u8,
    /// Nothing.
    pub padding: [u8; 6],
}

impl NewEntry {
    /// Half-open connections have buckets of their own.
    const fn is_embryonic(&self) -> bool {
        self.state == tcp_state::SYN_RECV
    }
}

/// Makes an entry, at the cost of another one where all places are taken. Returns its position, with bit 32 set where
/// another entry gave way, or `u32::MAX` where even that failed. The counters of the real server are the caller's affair,
/// those of an entry that gave way are settled here.
#[inline(always)]
pub fn insert<T: ConnectionTables + ?Sized>(tables: &T, new: &NewEntry) -> u64 {
    let geometry = tables.geometry();
    let claim = HotWord::new(new.hash, 0, 0).0;
    let first = if !new.is_embryonic() {
        first_bucket(&geometry, new.hash)
    } else {
        embryonic_bucket(&geometry, new.hash)
    };
    let mut position = claim_free(tables, first, claim);
    if position == NOWHERE && !new.is_embryonic() {
        position = claim_free(tables, second_bucket(&geometry, new.hash), claim);
    }
    let mut outcome = 0;
    if position == NOWHERE {
        position = claim_taken(tables, first, new.hash, claim, !new.is_embryonic());
        outcome = EVICTED;
    }
    if position == NOWHERE {
        return u64::from(NOWHERE);
    }
    let (Some(entry), Some(bucket)) = (tables.entry(position), tables.bucket(position / BUCKET_WAYS)) else {
        return u64::from(NOWHERE);
    };
    let meta = ConnectionMeta::new(&new.key, new.state, new.reverse != 0);
    entry.fill(&new.key, new.slot, new.now);
    store(entry.meta(), meta.0);
    if let Some(cell) = bucket.0.get((position & (BUCKET_WAYS - 1)) as usize) {
        let flags = HotWord::TOUCHED | if meta.is_reverse() { HotWord::REVERSE } else { 0 };
        store(cell, HotWord::new(new.hash, new.slot, flags).0);
    }
    outcome | u64::from(position)
}

/// Added to the position that [`insert`] returns.
pub(super) const EVICTED: u64 = 1 << 32;

/// No position: past every table.
pub(super) const NOWHERE: u32 = u32::MAX;

/// Claims a free way of a bucket.
#[inline(always)]
fn claim_free<T: ConnectionTables + ?Sized>(tables: &T, index: u32, claim: u64) -> u32 {
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
fn claim_taken<T: ConnectionTables + ?Sized>(
    tables: &T,
    index: u32,
    hash: u64,
    claim: u64,
    established: bool,
) -> u32 {
    let Some(bucket) = tables.bucket(index) else { return NOWHERE };
    let mut victim = (hash >> 56) as u32 & (BUCKET_WAYS - 1);
    if established {
        for (way, cell) in bucket.0.iter().enumerate() {
            if load(cell) & (HotWord::TOUCHED | HotWord::REVERSE) == 0 {
                victim = way as u32;
            }
        }
    }
    let position = index * BUCKET_WAYS + victim;
    if !exchange(tables, position, claim) {
        return NOWHERE;
    }
    position
}

/// Ends the entry at a position: takes it out of the counters and puts `replacement` into its place. False where
/// somebody else was faster.
#[inline(always)]
fn exchange<T: ConnectionTables + ?Sized>(tables: &T, position: u32, replacement: u64) -> bool {
    let (Some(entry), Some(bucket)) = (tables.entry(position), tables.bucket(position / BUCKET_WAYS)) else {
        return false;
    };
    let Some(cell) = bucket.0.get((position & (BUCKET_WAYS - 1)) as usize) else { return false };
    let word = HotWord(load(cell));
    if word.slot() == 0 {
        return false;
    }
    let meta = ConnectionMeta(load(entry.meta()));
    if meta.0 != 0 && compare_exchange(entry.meta(), meta.0, 0) == meta.0 && !meta.is_reverse() {
        uncount(tables, word.slot(), meta.state());
    }
    let seen = compare_exchange(cell, word.0, replacement);
    // A packet marked the entry as used, or the sweep cleared that mark: it is the same entry.
    seen == word.0 || seen ^ word.0 == HotWord::TOUCHED && compare_exchange(cell, seen, replacement) == seen
}

/// Ends the entry at a position. False where somebody else was faster.
#[inline(always)]
pub fn remove<T: ConnectionTables + ?Sized>(tables: &T, position: u32) -> bool {
    exchange(tables, position, 0)
}
