//! What the XDP program and the controller of LVX share.
//!
//! Rules of this crate: no clock, no I/O, no aya. Everything under `datapath` and `sched::pick` compiles for the BPF
//! target as well: no slicing or indexing that can panic, no 128-bit arithmetic, bounded loops. Addresses are kept as
//! they stand on the wire; ports are in host byte order unless a name ends in `_be`.
#![no_std]
#![cfg_attr(target_arch = "bpf", feature(core_intrinsics, adt_const_params), allow(internal_features))]

#[cfg(feature = "alloc")]
extern crate alloc;

pub mod atomic;
pub mod checksum;
pub mod datapath;
pub mod layout;
pub mod sched;
