//! Picks: what the datapath computes for one new connection.
//!
//! Compiles for the BPF target: no heap, no indexing, no panics, no 128-bit arithmetic.
//!
//! - rr, wrr: the entry at `cursor % length`, where the cursor is a counter of the virtual service;
//! - sh: the entry at [`source_hash`];
//! - mh: the entry at [`maglev_index`];
//! - lc, wlc: a [`Best`] over the live counters.

mod hash;
mod load;

#[cfg(feature = "alloc")]
pub(super) use hash::{LOOKUP_KEY, siphash13};
pub use hash::{SOURCE_BUCKETS, fold, maglev_index, source_hash};
pub use load::{ActiveRule, Best, LoadKind, MAX_SCANNED_WEIGHT};
