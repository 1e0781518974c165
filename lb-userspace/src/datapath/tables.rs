//! The shared tables as the controller sees them.

use std::sync::atomic::AtomicU64;

use lb_common::atomic;
use lb_common::datapath::ConnectionTables;
use lb_common::layout::{Bucket, ConnectionEntry, Geometry, RealServer, Service, Traffic, TrafficCounts};

use super::{MappedArray, Sizes};

/// Every table that the XDP program and the controller share in memory.
#[derive(Debug)]
pub struct MappedTables {
    pub(super) geometry: Geometry,
    pub(super) cpus: u32,
    /// Records of services; behind them are those of addresses.
    pub(super) service_limit: u32,
    pub(super) real_server_limit: u32,
    pub(super) buckets: MappedArray<Bucket>,
    pub(super) entries: MappedArray<ConnectionEntry>,
    pub(super) services: MappedArray<Service>,
    pub(super) real_servers: MappedArray<RealServer>,
    pub(super) loads: MappedArray<AtomicU64>,
    pub(super) scheduler: MappedArray<AtomicU64>,
    pub(super) traffic: MappedArray<Traffic>,
}

impl ConnectionTables for MappedTables {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn bucket(&self, index: u32) -> Option<&Bucket> {
        self.buckets.get(index)
    }

    fn entry(&self, index: u32) -> Option<&ConnectionEntry> {
        self.entries.get(index)
    }

    fn real_server(&self, slot: u32) -> Option<&RealServer> {
        self.real_servers.get(slot)
    }

    fn load(&self, slot: u32) -> Option<&AtomicU64> {
        self.loads.get(slot)
    }

    fn unanswered(&self, slot: u32) {
        // The first CPU's line stands for the sweep; packets never write this counter.
        if let Some(traffic) = self.traffic.get(slot) {
            traffic.unanswered();
        }
    }
}

impl MappedTables {
    /// The record of a service, or of an address by the number that [`super::Datapath::refuse_address`] gives.
    #[must_use]
    pub fn service(&self, id: u32) -> Option<&Service> {
        self.services.get(id)
    }

    /// Says whether another director serves the virtual address of the service with this number at the moment: then its
    /// packets pass, and nothing is scheduled. The same of an address by the number that
    /// [`super::Datapath::refuse_address`] gives: then nothing to it is refused. Takes effect at once, from any thread; the same said twice is no error,
    /// nor is a number without a record. A service keeps what was said when it is written anew, and so does its number when
    /// it is given to another service.
    pub fn set_service_standby(&self, id: u32, standby: bool) {
        if let Some(service) = self.services.get(id) {
            service.set_standby(standby);
        }
    }

    /// Says the same of the real server in a slot: packets of its connections pass, in both directions, and the
    /// connections stay. A slot keeps what was said when it is written anew, and forgets it when its server is removed.
    pub fn set_server_standby(&self, slot: u32, standby: bool) {
        if let Some(server) = self.real_servers.get(slot) {
            server.set_standby(standby);
        }
    }

    /// Writes a range of the scheduler table; `offset` is even, ranges never overlap a service's current one.
    pub fn write_scheduler_range(&self, offset: u32, slots: &[u32]) {
        for (index, pair) in (offset / 2..).zip(slots.chunks(2)) {
            let (even, odd) = (pair.first().copied().unwrap_or(0), pair.get(1).copied().unwrap_or(0));
            if let Some(cell) = self.scheduler.get(index) {
                atomic::store(cell, u64::from(even) | (u64::from(odd) << 32));
            }
        }
    }

    /// Traffic of a real server, summed over the CPUs.
    #[must_use]
    pub fn traffic(&self, slot: u32) -> TrafficCounts {
        let mut sum = TrafficCounts::default();
        for cpu in 0..self.cpus {
            if let Some(counts) = self.traffic.get(cpu * self.real_server_limit + slot).map(Traffic::read) {
                sum.connections += counts.connections;
                sum.in_packets += counts.in_packets;
                sum.in_bytes += counts.in_bytes;
                sum.out_packets += counts.out_packets;
                sum.out_bytes += counts.out_bytes;
                sum.refused += counts.refused;
                sum.unanswered += counts.unanswered;
            }
        }
        sum
    }

    /// Sets a real server's traffic counters to zero, before its slot is used again.
    pub fn clear_traffic(&self, slot: u32) {
        for cpu in 0..self.cpus {
            if let Some(traffic) = self.traffic.get(cpu * self.real_server_limit + slot) {
                traffic.clear();
            }
        }
    }

    /// Active and inactive connections of a real server.
    #[must_use]
    pub fn connections(&self, slot: u32) -> (u32, u32) {
        let load = self.loads.get(slot).map_or(0, atomic::load);
        ((load >> 32) as u32, load as u32)
    }

    /// Memory of each table in bytes, by the names of [`Sizes`].
    #[must_use]
    pub fn memory(&self) -> [(&'static str, u64); 4] {
        let per_bucket = (size_of::<Bucket>() + 8 * size_of::<ConnectionEntry>()) as u64;
        [
            ("connections", u64::from(self.geometry.embryonic_base()) * per_bucket),
            ("embryonic", u64::from(self.geometry.embryonic_mask + 1) * per_bucket),
            ("real_servers", (self.real_servers.bytes() + self.loads.bytes() + self.traffic.bytes()) as u64),
            ("scheduler_slots", self.scheduler.bytes() as u64),
        ]
    }

    /// Sizes that the tables were made with.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        Sizes {
            geometry: self.geometry,
            services: self.service_limit,
            real_servers: self.real_server_limit,
            scheduler_slots: self.scheduler.len() as u32 * 2,
        }
    }
}
