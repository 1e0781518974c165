//! The maps. Sizes given here are placeholders: the loader sets them from the configuration.

use aya_ebpf::{
    macros::map,
    maps::{Array, DevMapHash, HashMap, PerCpuArray},
};
use lb_common::layout::{
    Address, Bucket, ConnectionEntry, Counter, RealServer, Service, ServiceKey, Traffic,
};

/// `BPF_F_MMAPABLE`: the controller reads and writes these arrays without system calls.
const MMAPABLE: u32 = 1 << 10;

#[map(name = "services")]
pub(crate) static SERVICES: HashMap<ServiceKey, u32> = HashMap::with_max_entries(1024, 0);

#[map(name = "service_table")]
pub(crate) static SERVICE_TABLE: Array<Service> = Array::with_max_entries(1024, MMAPABLE);

#[map(name = "real_servers")]
pub(crate) static REAL_SERVERS: Array<RealServer> = Array::with_max_entries(1024, MMAPABLE);

#[map(name = "loads")]
pub(crate) static LOADS: Array<u64> = Array::with_max_entries(1024, MMAPABLE);

/// Two elements to a value, because the kernel rounds values of arrays up to eight bytes.
#[map(name = "scheduler_table")]
pub(crate) static SCHEDULER_TABLE: Array<[u32; 2]> = Array::with_max_entries(1024, MMAPABLE);

/// One block of real servers for each CPU.
#[map(name = "traffic")]
pub(crate) static TRAFFIC: Array<Traffic> = Array::with_max_entries(1024, MMAPABLE);

#[map(name = "buckets")]
pub(crate) static BUCKETS: Array<Bucket> = Array::with_max_entries(1024, MMAPABLE);

#[map(name = "entries")]
pub(crate) static ENTRIES: Array<ConnectionEntry> = Array::with_max_entries(8192, MMAPABLE);

#[map(name = "counters")]
pub(crate) static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Counter::COUNT, 0);

#[map(name = "devices")]
pub(crate) static DEVICES: DevMapHash = DevMapHash::with_max_entries(64, 0);

/// Inner destinations that the decapsulating program accepts.
#[map(name = "tunnel_targets")]
pub(crate) static TUNNEL_TARGETS: HashMap<Address, u32> = HashMap::with_max_entries(1024, 0);
