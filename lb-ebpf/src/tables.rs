//! The pipeline's tables on BPF maps.

use core::sync::atomic::AtomicU64;

use aya_ebpf::{
    EbpfContext,
    bindings::bpf_fib_lookup as FibParameters,
    helpers::{bpf_fib_lookup, bpf_get_smp_processor_id, bpf_ktime_get_coarse_ns},
    programs::XdpContext,
};
use lb_common::{
    atomic,
    datapath::{self, ConnectionTables, Found, NewEntry, Route, SchedulerTables, Tables},
    layout::{
        Address, Bucket, ConnectionEntry, Counter, Geometry, NextHop, RealServer, Service, ServiceKey,
        Traffic,
    },
};

use crate::maps;

/// Set by the loader before the program is verified; constants to the compiler of the kernel.
#[unsafe(no_mangle)]
static ESTABLISHED_MASK: u32 = 0;
#[unsafe(no_mangle)]
static EMBRYONIC_MASK: u32 = 0;
#[unsafe(no_mangle)]
static HASH_SEED: u64 = 0;
#[unsafe(no_mangle)]
static REAL_SERVER_LIMIT: u32 = 0;

/// Not zero while some address refuses what its services do not take; the controller changes it while the program runs.
#[unsafe(no_mangle)]
static REFUSES_SOME: AtomicU64 = AtomicU64::new(0);

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// The maps, as seen by one run of the program.
pub(crate) struct MapTables<'a>(pub(crate) &'a XdpContext);

/// The maps without a packet: what the functions below work on.
struct Maps;

#[inline(always)]
fn constant<V: Copy>(value: &'static V) -> V {
    // SAFETY: a reference to a static is valid; volatile, because the loader changes the value after compilation.
    unsafe { core::ptr::from_ref(value).read_volatile() }
}

// Global functions in the sense of BPF: the verifier proves each on its own, for any argument.

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lvx_find(hash: u64) -> u64 {
    datapath::find(&Maps, hash).0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lvx_insert(new: *const NewEntry) -> u64 {
    // SAFETY: the verifier only lets callers pass memory of the type's size; null is checked.
    match unsafe { new.as_ref() } {
        Some(new) => datapath::insert(&Maps, new),
        None => u64::MAX,
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lvx_remove(position: u32) -> u64 {
    u64::from(datapath::remove(&Maps, position))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lvx_least_loaded(offset: u32, length: u32) -> u64 {
    u64::from(datapath::least_loaded(&Maps, offset, length))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lvx_least_active(offset: u32, length: u32, rule: u32) -> u64 {
    u64::from(datapath::least_active(&Maps, offset, length, rule))
}

impl ConnectionTables for Maps {
    #[inline(always)]
    fn geometry(&self) -> Geometry {
        Geometry {
            established_mask: constant(&ESTABLISHED_MASK),
            embryonic_mask: constant(&EMBRYONIC_MASK),
            seed: constant(&HASH_SEED),
        }
    }

    #[inline(always)]
    fn bucket(&self, index: u32) -> Option<&Bucket> {
        maps::BUCKETS.get(index)
    }

    #[inline(always)]
    fn entry(&self, index: u32) -> Option<&ConnectionEntry> {
        maps::ENTRIES.get(index)
    }

    #[inline(always)]
    fn real_server(&self, slot: u32) -> Option<&RealServer> {
        maps::REAL_SERVERS.get(slot)
    }

    #[inline(always)]
    fn load(&self, slot: u32) -> Option<&AtomicU64> {
        let cell = maps::LOADS.get_ptr_mut(slot)?;
        // SAFETY: the map's value is one aligned u64, shared as an atomic by everybody.
        Some(unsafe { AtomicU64::from_ptr(cell) })
    }
}

impl SchedulerTables for Maps {
    #[inline(always)]
    fn table_slot(&self, index: u32) -> Option<u32> {
        let [even, odd] = maps::SCHEDULER_TABLE.get(index >> 1)?;
        Some(if index & 1 == 0 { *even } else { *odd })
    }

    #[inline(always)]
    fn table_pair(&self, index: u32) -> Option<[u32; 2]> {
        maps::SCHEDULER_TABLE.get(index >> 1).copied()
    }
}

impl ConnectionTables for MapTables<'_> {
    #[inline(always)]
    fn geometry(&self) -> Geometry {
        Maps.geometry()
    }

    #[inline(always)]
    fn bucket(&self, index: u32) -> Option<&Bucket> {
        maps::BUCKETS.get(index)
    }

    #[inline(always)]
    fn entry(&self, index: u32) -> Option<&ConnectionEntry> {
        maps::ENTRIES.get(index)
    }

    #[inline(always)]
    fn real_server(&self, slot: u32) -> Option<&RealServer> {
        maps::REAL_SERVERS.get(slot)
    }

    #[inline(always)]
    fn load(&self, slot: u32) -> Option<&AtomicU64> {
        let cell = maps::LOADS.get_ptr_mut(slot)?;
        // SAFETY: the map's value is one aligned u64, shared as an atomic by everybody.
        Some(unsafe { AtomicU64::from_ptr(cell) })
    }

    #[inline(always)]
    fn find(&self, hash: u64) -> Found {
        Found(lvx_find(hash))
    }

    #[inline(always)]
    fn insert(&self, new: &NewEntry) -> u64 {
        lvx_insert(new)
    }

    #[inline(always)]
    fn remove(&self, position: u32) -> bool {
        lvx_remove(position) != 0
    }
}

impl SchedulerTables for MapTables<'_> {
    #[inline(always)]
    fn table_slot(&self, index: u32) -> Option<u32> {
        Maps.table_slot(index)
    }

    #[inline(always)]
    fn table_pair(&self, index: u32) -> Option<[u32; 2]> {
        Maps.table_pair(index)
    }

    #[inline(always)]
    fn least_loaded(&self, offset: u32, length: u32) -> u32 {
        lvx_least_loaded(offset, length) as u32
    }

    #[inline(always)]
    fn least_active(&self, offset: u32, length: u32, rule: u32) -> u32 {
        lvx_least_active(offset, length, rule) as u32
    }
}

impl Tables for MapTables<'_> {
    #[inline(always)]
    fn find_service(&self, key: &ServiceKey) -> Option<u32> {
        // SAFETY: the value is one aligned u32, copied at once; the controller replaces values as a whole.
        unsafe { maps::SERVICES.get(key) }.copied()
    }

    #[inline(always)]
    fn refuses_some(&self) -> bool {
        atomic::load(&REFUSES_SOME) != 0
    }

    #[inline(always)]
    fn service(&self, id: u32) -> Option<&Service> {
        maps::SERVICE_TABLE.get(id)
    }

    #[inline(always)]
    fn traffic(&self, slot: u32) -> Option<&Traffic> {
        // SAFETY: the helper has no preconditions.
        let cpu = unsafe { bpf_get_smp_processor_id() } as u32;
        maps::TRAFFIC.get(cpu.wrapping_mul(constant(&REAL_SERVER_LIMIT)).wrapping_add(slot))
    }

    #[inline(always)]
    fn count(&self, counter: Counter) {
        if let Some(cell) = maps::COUNTERS.get_ptr_mut(counter.index()) {
            // SAFETY: the value belongs to this CPU, and XDP programs do not interrupt each other on it.
            unsafe { *cell = (*cell).wrapping_add(1) };
        }
    }

    #[inline(always)]
    fn now(&self) -> u32 {
        // SAFETY: the helper has no preconditions.
        (unsafe { bpf_ktime_get_coarse_ns() } >> Geometry::STAMP_SHIFT) as u32
    }

    #[inline(always)]
    fn route(&self, source: Address, destination: Address, ingress: u32) -> Option<Route> {
        let mut hop = NextHop { ifindex: 0, destination_mac: [0; 6], source_mac: [0; 6], mtu: u16::MAX };
        fib_lookup(self.0, &source, &destination, ingress, &mut hop).then_some(Route { hop })
    }
}

/// Out of line: the parameter block takes 64 bytes of stack, and two callers share it. False where the kernel has no
/// route or no neighbour.
#[inline(never)]
fn fib_lookup(
    context: &XdpContext,
    source: &Address,
    destination: &Address,
    ingress: u32,
    hop: &mut NextHop,
) -> bool {
    // SAFETY: the block consists of integers and unions of integers.
    let mut parameters: FibParameters = unsafe { core::mem::zeroed() };
    if destination.is_ipv4() {
        parameters.family = AF_INET;
        parameters.__bindgen_anon_3.ipv4_src = source.ipv4();
        parameters.__bindgen_anon_4.ipv4_dst = destination.ipv4();
    } else {
        parameters.family = AF_INET6;
        parameters.__bindgen_anon_3.ipv6_src = words(source);
        parameters.__bindgen_anon_4.ipv6_dst = words(destination);
    }
    parameters.ifindex = ingress;
    // SAFETY: the block is valid for its size and the context is this run's.
    let failed = unsafe {
        bpf_fib_lookup(
            context.as_ptr(),
            core::ptr::from_mut(&mut parameters).cast(),
            size_of::<FibParameters>() as i32,
            0,
        )
    };
    hop.ifindex = parameters.ifindex;
    hop.destination_mac = parameters.dmac;
    hop.source_mac = parameters.smac;
    failed == 0
}

#[inline(always)]
const fn words(address: &Address) -> [u32; 4] {
    [address.hi as u32, (address.hi >> 32) as u32, address.lo as u32, (address.lo >> 32) as u32]
}
