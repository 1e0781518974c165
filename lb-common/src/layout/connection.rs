//! The connection table: buckets of one cache line for the datapath, and one record per entry behind them.
//!
//! A bucket holds eight 64-bit words, each an entry: a 40-bit tag of the flow's hash, the real server's slot and flags.
//! An established packet needs nothing else. The record with the full key, the TCP state and the last-seen stamp lies
//! at the same position of a second array; only packets that change something read it.

use core::sync::atomic::AtomicU64;

use super::Address;
use crate::atomic::{load, store};

/// Entries of a bucket.
pub const BUCKET_WAYS: u32 = 8;

/// Real-server slots are 20 bits wide; slot 0 means none.
pub const MAX_REAL_SERVERS: u32 = 1 << 20;

/// One cache line of entries.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct Bucket(pub [AtomicU64; BUCKET_WAYS as usize]);

const _: () = assert!(size_of::<Bucket>() == 64);

/// An entry's word: tag (bits 24 to 63), flags (20 to 23), real-server slot (0 to 19). Zero is a free entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HotWord(pub u64);

impl HotWord {
    const SLOT: u64 = MAX_REAL_SERVERS as u64 - 1;
    /// Set by the datapath on use, cleared by the sweep, which notes the time.
    pub const TOUCHED: u64 = 1 << 20;
    /// The entry matches replies of a NAT connection.
    pub const REVERSE: u64 = 1 << 21;

    /// Builds a word; `hash` gives the tag.
    #[inline(always)]
    #[must_use]
    pub const fn new(hash: u64, slot: u32, flags: u64) -> Self {
        Self((hash & !((1 << 24) - 1)) | flags | (slot as u64 & Self::SLOT))
    }

    /// Whether the word carries the tag of `hash`.
    #[inline(always)]
    #[must_use]
    pub const fn matches(self, hash: u64) -> bool {
        (self.0 ^ hash) >> 24 == 0
    }

    /// Real-server slot; 0 while the entry is being made.
    #[inline(always)]
    #[must_use]
    pub const fn slot(self) -> u32 {
        (self.0 & Self::SLOT) as u32
    }

    /// Whether all the given flags are set.
    #[inline(always)]
    #[must_use]
    pub const fn has(self, flags: u64) -> bool {
        self.0 & flags == flags
    }
}

/// What identifies a connection: the packet's own addresses and ports. Ports are in wire order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct ConnectionKey {
    /// Source address of the packets that the entry matches.
    pub source: Address,
    /// Their destination address.
    pub destination: Address,
    /// Source port (low half) and destination port (high half) as loaded from the transport header.
    pub ports: u32,
    /// IP protocol number.
    pub protocol: u8,
    /// Nothing; no byte of a key is undefined, because keys cross function boundaries of the BPF program.
    pub padding: [u8; 3],
}

impl ConnectionKey {
    /// Builds a key; ports as in [`ConnectionKey::ports`].
    #[inline(always)]
    #[must_use]
    pub const fn new(source: Address, destination: Address, ports: u32, protocol: u8) -> Self {
        Self { source, destination, ports, protocol, padding: [0; 3] }
    }

    /// Destination port in wire order.
    #[inline(always)]
    #[must_use]
    pub const fn destination_port(&self) -> u16 {
        (self.ports >> 16) as u16
    }

    /// Source port in wire order.
    #[inline(always)]
    #[must_use]
    pub const fn source_port(&self) -> u16 {
        self.ports as u16
    }
}

/// State word of a record: ports (0 to 31), protocol (32 to 39), TCP state (40 to 47), flags (48 to 55). The state
/// changes by compare-and-exchange only, so that the counters of active and inactive connections stay exact. Zero:
/// no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionMeta(pub u64);

impl ConnectionMeta {
    const STATE: u64 = 0xff << 40;
    const REVERSE: u64 = 1 << 48;
    /// Some CPU is moving the connection to the established buckets.
    const MOVING: u64 = 1 << 49;

    /// Builds a state word.
    #[inline(always)]
    #[must_use]
    pub const fn new(key: &ConnectionKey, state: u8, reverse: bool) -> Self {
        Self(
            key.ports as u64
                | ((key.protocol as u64) << 32)
                | ((state as u64) << 40)
                | if reverse { Self::REVERSE } else { 0 },
        )
    }

    /// Ports as in [`ConnectionKey::ports`].
    #[inline(always)]
    #[must_use]
    pub const fn ports(self) -> u32 {
        self.0 as u32
    }

    /// IP protocol number.
    #[inline(always)]
    #[must_use]
    pub const fn protocol(self) -> u8 {
        (self.0 >> 32) as u8
    }

    /// State of [`crate::datapath::tcp_state`].
    #[inline(always)]
    #[must_use]
    pub const fn state(self) -> u8 {
        (self.0 >> 40) as u8
    }

    /// Whether the entry matches replies of a NAT connection; such entries are not counted as connections.
    #[inline(always)]
    #[must_use]
    pub const fn is_reverse(self) -> bool {
        self.0 & Self::REVERSE != 0
    }

    /// Whether some CPU is moving the connection to the established buckets.
    #[inline(always)]
    #[must_use]
    pub const fn is_moving(self) -> bool {
        self.0 & Self::MOVING != 0
    }

    /// The same, with the connection being moved.
    #[inline(always)]
    #[must_use]
    pub const fn moving(self) -> Self {
        Self(self.0 | Self::MOVING)
    }

    /// The same with another state.
    #[inline(always)]
    #[must_use]
    pub const fn with_state(self, state: u8) -> Self {
        Self((self.0 & !Self::STATE) | ((state as u64) << 40))
    }
}

/// The record of an entry, one cache line.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct ConnectionEntry {
    words: [AtomicU64; 8],
}

const _: () = assert!(size_of::<ConnectionEntry>() == 64);

impl ConnectionEntry {
    /// The state word.
    #[inline(always)]
    #[must_use]
    pub const fn meta(&self) -> &AtomicU64 {
        let [_, _, _, _, meta, ..] = &self.words;
        meta
    }

    /// Writes the key, slot and stamps; the state word comes last, by the caller.
    #[inline(always)]
    pub fn fill(&self, key: &ConnectionKey, slot: u32, now: u32) {
        let [source_hi, source_lo, destination_hi, destination_lo, _, slots, stamps, _] = &self.words;
        store(source_hi, key.source.hi);
        store(source_lo, key.source.lo);
        store(destination_hi, key.destination.hi);
        store(destination_lo, key.destination.lo);
        store(slots, u64::from(slot));
        store(stamps, u64::from(now) | (u64::from(now) << 32));
    }

    /// The key as last filled in.
    #[inline(always)]
    #[must_use]
    pub fn key(&self) -> ConnectionKey {
        let [source_hi, source_lo, destination_hi, destination_lo, meta, ..] = &self.words;
        let meta = ConnectionMeta(load(meta));
        ConnectionKey::new(
            Address { hi: load(source_hi), lo: load(source_lo) },
            Address { hi: load(destination_hi), lo: load(destination_lo) },
            meta.ports(),
            meta.protocol(),
        )
    }

    /// Whether the record belongs to the key.
    #[inline(always)]
    #[must_use]
    pub fn holds(&self, key: &ConnectionKey) -> bool {
        let own = self.key();
        ((own.source.hi ^ key.source.hi)
            | (own.source.lo ^ key.source.lo)
            | (own.destination.hi ^ key.destination.hi)
            | (own.destination.lo ^ key.destination.lo)
            | u64::from(own.ports ^ key.ports)
            | u64::from(own.protocol ^ key.protocol))
            == 0
    }

    /// Real-server slot.
    #[inline(always)]
    #[must_use]
    pub fn slot(&self) -> u32 {
        let [_, _, _, _, _, slots, ..] = &self.words;
        load(slots) as u32
    }

    /// When the entry was last seen in use, in units of [`Geometry::STAMP_SHIFT`].
    #[inline(always)]
    #[must_use]
    pub fn last_seen(&self) -> u32 {
        let [_, _, _, _, _, _, stamps, _] = &self.words;
        load(stamps) as u32
    }

    /// Notes that the entry was in use.
    #[inline(always)]
    pub fn seen(&self, now: u32) {
        let [_, _, _, _, _, _, stamps, _] = &self.words;
        store(stamps, (load(stamps) & !0xffff_ffff) | u64::from(now));
    }
}

/// Sizes and seeds of the connection table, fixed when the program is loaded.
///
/// Buckets `0..=established_mask` hold established connections, the `embryonic_mask + 1` buckets behind them half-open
/// ones: a flood of SYNs can only push out other half-open connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Number of established buckets less one; the number is a power of two.
    pub established_mask: u32,
    /// Number of embryonic buckets less one; the number is a power of two.
    pub embryonic_mask: u32,
    /// Secret of the flow hash; without it nobody can aim at a bucket.
    pub seed: u64,
}

impl Geometry {
    /// A stamp is monotonic time in nanoseconds shifted right by this: units of 67.1 ms, wrapping after nine years.
    pub const STAMP_SHIFT: u32 = 26;
    /// Most buckets of one kind; the hash has 24 bits beside the tag.
    pub const MAX_BUCKETS: u32 = 1 << 24;

    /// Buckets of both kinds.
    #[inline(always)]
    #[must_use]
    pub const fn buckets(&self) -> u32 {
        self.established_mask + self.embryonic_mask + 2
    }

    /// First embryonic bucket.
    #[inline(always)]
    #[must_use]
    pub const fn embryonic_base(&self) -> u32 {
        self.established_mask + 1
    }
}
