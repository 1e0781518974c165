//! Scheduler tables: arrays of real server ids that userspace computes and the datapath indexes.

mod maglev;
mod round_robin;
mod source_hash;
mod weighted;

use alloc::vec::Vec;
use core::net::IpAddr;

pub use weighted::CYCLE_CAP;

/// A real server as a table scheduler sees it.
///
/// Lists of them are in IPVS list order: newest first, because IPVS adds a real server at the head of its list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Slot of the real server; never 0, which means "none" in a table.
    pub id: u32,
    /// Weight; 0 takes no new connections.
    pub weight: u32,
    /// The last weight that was not 0. mh goes by it, so that quiescing a server does not move the flows of the others.
    pub last_weight: u32,
    /// Address, hashed by mh.
    pub address: IpAddr,
    /// Port in host byte order, hashed by mh.
    pub port: u16,
}

/// Which table to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableKind {
    /// Round robin: one cycle over the eligible servers.
    Rr,
    /// Weighted round robin: one cycle in IPVS's interleaved order, at most [`CYCLE_CAP`] entries.
    Wrr,
    /// Source hashing: [`SOURCE_BUCKETS`](crate::sched::pick::SOURCE_BUCKETS) entries.
    Sh {
        /// A bucket whose server takes no connections goes to the next one that has one which does (`sh-fallback`).
        fallback: bool,
    },
    /// Destination hashing: as many entries, one server after the other whatever their weights.
    Dh,
    /// The server with the highest weight alone, the first in the list of several.
    Fo,
    /// Maglev hashing.
    Mh {
        /// Entries: one of [`TABLE_SIZES`](crate::sched::maglev::TABLE_SIZES); any other number stands for the next larger
        /// one of these (see [`table_size`](crate::sched::maglev::table_size)).
        table_size: u32,
    },
}

/// A scheduler table, and what it takes to go on from it after the list of real servers has changed.
#[derive(Clone, Debug)]
pub struct Table {
    kind: TableKind,
    slots: Vec<u32>,
    position: Position,
}

/// Where a scheduler that goes round stands.
#[derive(Clone, Debug)]
enum Position {
    /// The table is indexed by a hash: it depends on the list only.
    Hashed,
    Round(round_robin::Position),
    Weighted(weighted::Position),
}

impl Table {
    /// The table of a new virtual service whose real servers have just been added one by one.
    #[must_use]
    pub fn new(kind: TableKind, list: &[Candidate]) -> Self {
        let (slots, position) = match kind {
            TableKind::Rr => round(round_robin::first(list)),
            TableKind::Wrr => weighted(weighted::first(list)),
            TableKind::Sh { fallback } => (source_hash::fill(list, fallback), Position::Hashed),
            TableKind::Dh => (source_hash::deal(list), Position::Hashed),
            TableKind::Fo => (failover(list), Position::Hashed),
            TableKind::Mh { table_size } => (maglev::fill(list, table_size), Position::Hashed),
        };
        Self { kind, slots, position }
    }

    /// The table that follows this one when the list of real servers becomes `list`, after `cursor` entries of this one
    /// were used (entries passed over, such as an overloaded server's, count; the cursor may have gone round).
    ///
    /// Its entry 0 is the next pick: rr goes on behind the last pick, wrr at the head of the list on the level it had
    /// reached, as IPVS does after an edit. If neither ids nor weights differ, the cycle goes on where it was.
    /// A server that was deleted and added again counts as moved to the head; for IPVS's exact order, call this
    /// between the two.
    #[must_use]
    pub fn after(&self, list: &[Candidate], cursor: u64) -> Self {
        let (slots, position) = match &self.position {
            Position::Hashed => return Self::new(self.kind, list),
            Position::Round(old) => round(round_robin::next(old, &self.slots, cursor, list)),
            Position::Weighted(old) => weighted(weighted::next(old, &self.slots, cursor, list)),
        };
        Self { kind: self.kind, slots, position }
    }

    /// Which table it is.
    #[must_use]
    pub fn kind(&self) -> TableKind {
        self.kind
    }

    /// Ids of real servers. An entry 0 refuses the connection (sh and mh of a server with weight 0); rr and wrr
    /// tables have no such entries and are empty when no server is eligible.
    #[must_use]
    pub fn slots(&self) -> &[u32] {
        &self.slots
    }

    /// As [`slots`](Self::slots), when nothing will follow this table.
    #[must_use]
    pub fn into_slots(self) -> Vec<u32> {
        self.slots
    }
}

/// The entries of [`Table::new`].
#[must_use]
pub fn build(kind: TableKind, list: &[Candidate]) -> Vec<u32> {
    Table::new(kind, list).into_slots()
}

/// IPVS's fo (ip_vs_fo.c).
fn failover(list: &[Candidate]) -> Vec<u32> {
    // `max_by_key` gives the last of equals, so the list is gone through from its end.
    let first = list.iter().rev().filter(|server| server.weight > 0).max_by_key(|server| server.weight);
    first.map(|server| server.id).into_iter().collect()
}

fn round((slots, position): (Vec<u32>, round_robin::Position)) -> (Vec<u32>, Position) {
    (slots, Position::Round(position))
}

fn weighted((slots, position): (Vec<u32>, weighted::Position)) -> (Vec<u32>, Position) {
    (slots, Position::Weighted(position))
}

/// Index of the entry used last when `taken` entries were used; `None` if none was.
fn last_used(slots: &[u32], taken: u64) -> Option<usize> {
    let length = slots.len() as u64;
    // Below the length, so it fits.
    taken.checked_sub(1)?.checked_rem(length).map(|index| index as usize)
}

/// 0 counts as divisible by everything.
fn greatest_common_divisor(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
