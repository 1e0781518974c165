//! Everything the pipeline knows beside the packet.

use core::sync::atomic::AtomicU64;

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
}

/// Everything else that a packet may need: services, counters, the clock, the kernel's routes.
pub trait Tables: ConnectionTables {
    /// Number of the service with this key.
    fn find_service(&self, key: &ServiceKey) -> Option<u32>;
    /// A service's record.
    fn service(&self, id: u32) -> Option<&Service>;
    /// An element of the scheduler table.
    fn table_slot(&self, index: u32) -> Option<u32>;
    /// Traffic counters of a real server on this CPU.
    fn traffic(&self, slot: u32) -> Option<&Traffic>;
    /// Adds one to a counter.
    fn count(&self, counter: Counter);
    /// Monotonic time in units of [`Geometry::STAMP_SHIFT`].
    fn now(&self) -> u32;
    /// Asks the kernel's routing table and neighbour cache; `None` where either has no answer.
    fn route(&self, source: Address, destination: Address, ingress: u32) -> Option<Route>;
}
