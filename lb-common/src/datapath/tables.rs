//! Everything the pipeline knows beside the packet.

use core::sync::atomic::AtomicU64;

use super::connection::{self, Found, NewEntry};
use super::schedule::{least_active, least_loaded};
use crate::layout::{
    Address, Bucket, ConnectionEntry, Counter, Geometry, NextHop, RealServer, Service, ServiceKey, Traffic,
};

/// Answer of the kernel's routing table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Interface and MAC addresses.
    pub hop: NextHop,
}

/// The connection table and what its entries refer to. Implementations hand out shared references to records of atomic
/// words; nothing is locked.
pub trait ConnectionTables {
    /// Sizes and seed of the connection table.
    fn geometry(&self) -> Geometry;
    /// A bucket of the connection table.
    fn bucket(&self, index: u32) -> Option<&Bucket>;
    /// A record of the connection table: bucket index times ways plus way.
    fn entry(&self, index: u32) -> Option<&ConnectionEntry>;
    /// A real server's slot.
    fn real_server(&self, slot: u32) -> Option<&RealServer>;
    /// Active (upper half) and inactive (lower half) connections of a real server.
    fn load(&self, slot: u32) -> Option<&AtomicU64>;

    /// Counts a half-open connection to this slot that expired unanswered; only the sweep calls it.
    fn unanswered(&self, slot: u32) {
        let _ = slot;
    }

    /// [`connection::find`]; an implementation may call it out of line. So it is with the methods below: the BPF program
    /// makes them functions of their own, each of which the verifier proves once and not once for every way to reach it.
    #[inline(always)]
    fn find(&self, hash: u64) -> Found {
        connection::find(self, hash)
    }

    /// [`connection::insert`].
    #[inline(always)]
    fn insert(&self, new: &NewEntry) -> u64 {
        connection::insert(self, new)
    }

    /// [`connection::remove`].
    #[inline(always)]
    fn remove(&self, position: u32) -> bool {
        connection::remove(self, position)
    }
}

/// The tables that schedulers read.
pub trait SchedulerTables: ConnectionTables {
    /// An element of the scheduler table.
    fn table_slot(&self, index: u32) -> Option<u32>;
    /// The element at an even index of the scheduler table, and the next.
    fn table_pair(&self, index: u32) -> Option<[u32; 2]>;

    /// [`least_loaded`]; see [`ConnectionTables::find`].
    #[inline(always)]
    fn least_loaded(&self, offset: u32, length: u32) -> u32 {
        least_loaded(self, offset, length)
    }

    /// [`least_active`]; see [`ConnectionTables::find`].
    #[inline(always)]
    fn least_active(&self, offset: u32, length: u32, rule: u32) -> u32 {
        least_active(self, offset, length, rule)
    }
}

/// Everything else that a packet may need: services, counters, the clock, the kernel's routes.
pub trait Tables: SchedulerTables {
    /// Number of the service with this key.
    fn find_service(&self, key: &ServiceKey) -> Option<u32>;
    /// Whether any address refuses what its services do not take; only then [`ServiceKey::rest`] leads anywhere.
    fn refuses_some(&self) -> bool;
    /// A service's record.
    fn service(&self, id: u32) -> Option<&Service>;
    /// Traffic counters of a real server on this CPU.
    fn traffic(&self, slot: u32) -> Option<&Traffic>;
    /// Adds one to a counter.
    fn count(&self, counter: Counter);
    /// Monotonic time in units of [`Geometry::STAMP_SHIFT`].
    fn now(&self) -> u32;
    /// Asks the kernel's routing table and neighbour cache; `None` where either has no answer.
    fn route(&self, source: Address, destination: Address, ingress: u32) -> Option<Route>;
}
