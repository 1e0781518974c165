//! The bytes that cross the map boundary: written by the controller, read by the XDP program, or the reverse.
//!
//! Shared records are arrays of 64-bit atomic words, so that neither side ever sees half a word and no padding exists;
//! accessors give the fields their names. Records are one cache line (64 bytes) where the datapath touches them.

mod address;
mod connection;
mod counters;
mod real_server;
mod service;

pub use address::Address;
pub use connection::{
    BUCKET_WAYS, Bucket, ConnectionEntry, ConnectionKey, ConnectionMeta, Geometry, HotWord, MAX_REAL_SERVERS,
};
pub use counters::{Counter, DropReason, Event, PassReason, Traffic, TrafficCounts};
pub use real_server::{CHECK_SERVICE, Method, NextHop, RealServer, RealServerFields};
pub use service::{SchedulerKind, Service, ServiceFields, ServiceKey, Stance};

/// Version of everything in this module; a controller refuses maps of another version.
pub const LAYOUT_VERSION: u32 = 1;

const _: () = assert!(cfg!(target_endian = "little"), "the map layout is defined for little-endian machines");
