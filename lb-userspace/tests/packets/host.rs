//! The pipeline's traits on vectors: the director of the host tests.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::AtomicU64;

use lb_common::datapath::{ConnectionTables, Frame, Plain, Route, SchedulerTables, Tables, Verdict, process};
use lb_common::layout::{
    Address, BUCKET_WAYS, Bucket, ConnectionEntry, Counter, DropReason, Geometry, RealServer, Service,
    ServiceFields, ServiceKey, Traffic, TrafficCounts,
};
use lb_userspace::datapath::Sizes;

use super::director::{Action, Director};
use super::fixture::{self, Fixture};

/// What the kernel leaves in front of a frame.
pub(crate) const HEADROOM: usize = 192;

/// A frame in memory.
pub(crate) struct HostFrame {
    pub(crate) bytes: Vec<u8>,
    pub(crate) ingress: u32,
    /// Bytes by which the frame can still grow.
    pub(crate) headroom: usize,
}

impl Frame for HostFrame {
    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn load<V: Plain>(&self, offset: usize) -> Option<V> {
        assert!(offset < 256, "offset {offset} is beyond what the verifier follows");
        let bytes = self.bytes.get(offset..offset + size_of::<V>())?;
        // SAFETY: the slice has the size of V, which is valid for any bytes.
        Some(unsafe { bytes.as_ptr().cast::<V>().read_unaligned() })
    }

    fn store<V: Plain>(&mut self, offset: usize, value: V) -> Option<()> {
        assert!(offset < 256, "offset {offset} is beyond what the verifier follows");
        let bytes = self.bytes.get_mut(offset..offset + size_of::<V>())?;
        // SAFETY: the slice has the size of V, which has no padding.
        unsafe { bytes.as_mut_ptr().cast::<V>().write_unaligned(value) };
        Some(())
    }

    fn grow_head(&mut self, bytes: usize) -> Option<()> {
        self.headroom = self.headroom.checked_sub(bytes)?;
        // Whatever is not written afterwards shows.
        self.bytes.splice(0..0, std::iter::repeat_n(0xa5, bytes));
        Some(())
    }

    fn shrink_head(&mut self, bytes: usize) -> Option<()> {
        (bytes <= self.bytes.len()).then(|| drop(self.bytes.drain(..bytes)))
    }

    fn ingress(&self) -> u32 {
        self.ingress
    }
}

/// The tables in vectors.
pub(crate) struct HostTables {
    geometry: Geometry,
    buckets: Vec<Bucket>,
    entries: Vec<ConnectionEntry>,
    servers: Vec<RealServer>,
    loads: Vec<AtomicU64>,
    scheduler: Vec<u32>,
    services: Vec<Service>,
    keys: HashMap<ServiceKey, u32>,
    refuses_some: bool,
    traffic: Vec<Traffic>,
    counters: Vec<Cell<u64>>,
    pub(crate) now: Cell<u32>,
}

fn defaults<V: Default>(count: u32) -> Vec<V> {
    (0..count).map(|_| V::default()).collect()
}

impl HostTables {
    pub(crate) fn new(sizes: &Sizes, fixture: &Fixture) -> Self {
        let geometry = sizes.geometry;
        let mut tables = Self {
            geometry,
            buckets: defaults(geometry.buckets()),
            entries: defaults(geometry.buckets() * BUCKET_WAYS),
            servers: defaults(sizes.real_servers),
            loads: defaults(sizes.real_servers),
            scheduler: defaults(sizes.scheduler_slots),
            services: defaults(sizes.services + fixture.refused.len() as u32),
            keys: HashMap::new(),
            refuses_some: !fixture.refused.is_empty(),
            traffic: defaults(sizes.real_servers),
            counters: defaults(Counter::COUNT),
            now: Cell::new(1_000_000),
        };
        for (slot, fields) in &fixture.servers {
            tables.servers[*slot as usize].write(fields);
        }
        for service in &fixture.services {
            let offset = service.fields.table_offset as usize;
            tables.scheduler[offset..offset + service.table.len()].copy_from_slice(&service.table);
            tables.services[service.id as usize].write(&service.fields);
            tables.keys.insert(service.key, service.id);
        }
        for (id, address) in &fixture.refused {
            tables.services[*id as usize].write_refusal(false);
            for protocol in [6, 17, 0] {
                let key = ServiceKey::new(Address::from(*address), 0, protocol);
                tables.keys.entry(key).or_insert(*id);
            }
        }
        tables
    }

    /// Takes a real server out of a service's table; what remains moves together.
    pub(crate) fn take_out(&mut self, service: u32, slot: u32) {
        let record = &self.services[service as usize];
        let (offset, length) = record.table();
        let range = &mut self.scheduler[offset as usize..(offset + length) as usize];
        let pairs = record.scheduler().scans();
        let width = if pairs { 2 } else { 1 };
        let kept: Vec<u32> =
            range.chunks(width).filter(|chunk| chunk[0] != slot).flatten().copied().collect();
        range[..kept.len()].copy_from_slice(&kept);
        record.write(&ServiceFields {
            table_offset: offset,
            table_length: kept.len() as u32,
            scheduler: record.scheduler(),
        });
    }

    pub(crate) fn counters(&self) -> Vec<u64> {
        self.counters.iter().map(Cell::get).collect()
    }

    pub(crate) fn traffic_of(&self, slot: u32) -> TrafficCounts {
        self.traffic[slot as usize].read()
    }
}

impl ConnectionTables for HostTables {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn bucket(&self, index: u32) -> Option<&Bucket> {
        self.buckets.get(index as usize)
    }

    fn entry(&self, index: u32) -> Option<&ConnectionEntry> {
        self.entries.get(index as usize)
    }

    fn real_server(&self, slot: u32) -> Option<&RealServer> {
        self.servers.get(slot as usize)
    }

    fn load(&self, slot: u32) -> Option<&AtomicU64> {
        self.loads.get(slot as usize)
    }

    fn unanswered(&self, slot: u32) {
        self.traffic[slot as usize].unanswered();
    }
}

impl SchedulerTables for HostTables {
    fn table_slot(&self, index: u32) -> Option<u32> {
        self.scheduler.get(index as usize).copied()
    }

    fn table_pair(&self, index: u32) -> Option<[u32; 2]> {
        assert_eq!(index % 2, 0, "pairs start at even places");
        Some([self.table_slot(index)?, self.table_slot(index + 1)?])
    }
}

impl Tables for HostTables {
    fn find_service(&self, key: &ServiceKey) -> Option<u32> {
        self.keys.get(key).copied()
    }

    fn refuses_some(&self) -> bool {
        self.refuses_some
    }

    fn service(&self, id: u32) -> Option<&Service> {
        self.services.get(id as usize)
    }

    fn traffic(&self, slot: u32) -> Option<&Traffic> {
        self.traffic.get(slot as usize)
    }

    fn count(&self, counter: Counter) {
        let cell = &self.counters[counter.index() as usize];
        cell.set(cell.get() + 1);
    }

    fn now(&self) -> u32 {
        self.now.get()
    }

    fn route(&self, _source: Address, destination: Address, _ingress: u32) -> Option<Route> {
        fixture::route(IpAddr::from(destination)).map(|hop| Route { hop })
    }
}

/// The director on the host.
pub(crate) struct Host {
    pub(crate) tables: HostTables,
    sizes: Sizes,
    fixture: Fixture,
    attached: Vec<u32>,
}

impl Host {
    pub(crate) fn new(sizes: Sizes, fixture: Fixture) -> Self {
        let tables = HostTables::new(&sizes, &fixture);
        Self { tables, sizes, fixture, attached: Vec::new() }
    }
}

impl Director for Host {
    type Tables = HostTables;

    fn tables(&self) -> &HostTables {
        &self.tables
    }

    fn service(&self, id: u32) -> &Service {
        self.tables.service(id).expect("a service")
    }

    fn reset(&mut self) {
        self.tables = HostTables::new(&self.sizes, &self.fixture);
    }

    fn attach(&mut self, interfaces: &[u32]) {
        self.attached = interfaces.to_vec();
    }

    fn run(&mut self, ingress: u32, headroom: usize, frame: &[u8]) -> (Action, Vec<u8>) {
        let mut frame = HostFrame { bytes: frame.to_vec(), ingress, headroom };
        let action = match process(&mut frame, &self.tables) {
            Verdict::Pass => Action::Pass,
            Verdict::Drop => Action::Drop,
            Verdict::Transmit => Action::Transmit,
            Verdict::Redirect(ifindex) if self.attached.contains(&ifindex) => Action::Redirect(ifindex),
            // The XDP program learns this from the device map.
            Verdict::Redirect(_) => {
                self.tables.count(DropReason::InterfaceNotAttached.into());
                Action::Drop
            }
        };
        (action, frame.bytes)
    }

    fn counters(&self) -> Vec<u64> {
        self.tables.counters()
    }

    fn traffic(&self, slot: u32) -> TrafficCounts {
        self.tables.traffic_of(slot)
    }

    fn now(&self) -> u32 {
        self.tables.now()
    }
}
