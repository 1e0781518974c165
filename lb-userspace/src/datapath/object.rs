//! Loading the XDP object: sizes, constants, maps, verification.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray};
use aya::programs::{ProgramError, Xdp};
use aya::{Ebpf, EbpfError, EbpfLoader};
use lb_common::layout::{BUCKET_WAYS, Counter, Geometry, MAX_REAL_SERVERS, ServiceKey};

use super::mapped::MapRecord;
use super::refusal::{KEYS, MAX_REFUSED_ADDRESSES, Refusals};
use super::{MappedArray, MappedTables};
use crate::model::Limits;

/// The compiled programs.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("LVX_BPF_OBJECT"));

/// Why the datapath could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The kernel refused a map or the object is damaged.
    #[error("the XDP object cannot be loaded: {0}")]
    Object(#[from] EbpfError),
    /// The kernel's verifier refused a program.
    #[error("the kernel refused the XDP program {program}: {source}")]
    Program {
        /// Name of the program.
        program: &'static str,
        /// The kernel's reason.
        source: Box<ProgramError>,
    },
    /// A map or program is missing or of another shape.
    #[error("the XDP object has no usable {0}")]
    Missing(&'static str),
    /// Mapping an array into memory failed.
    #[error("the map {name} ({bytes} bytes) cannot be mapped into memory: {source}")]
    Mapping {
        /// Name of the map.
        name: &'static str,
        /// Size of the mapping.
        bytes: usize,
        /// The kernel's reason.
        source: io::Error,
    },
    /// More addresses than [`MAX_REFUSED_ADDRESSES`] accept nothing but what services take.
    #[error(
        "more than {MAX_REFUSED_ADDRESSES} virtual addresses do not accept packets for the director itself"
    )]
    RefusedAddresses,
    /// Access to a map failed.
    #[error("map access failed: {0}")]
    Map(#[from] aya::maps::MapError),
    /// Access to the map of outgoing interfaces failed.
    #[error("map access failed: {0}")]
    Device(#[from] aya::maps::xdp::XdpMapError),
}

/// Sizes of the tables, derived from the configured limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Sizes and seed of the connection table.
    pub geometry: Geometry,
    /// Services.
    pub services: u32,
    /// Real-server slots, the unused slot 0 included.
    pub real_servers: u32,
    /// Elements of the scheduler table.
    pub scheduler_slots: u32,
}

impl Sizes {
    /// Derives sizes: the connection table gets twice the places that the limits ask for, because two choices of eight
    /// fill to well above half without ever evicting.
    #[must_use]
    pub fn new(limits: &Limits, seed: u64) -> Self {
        Self {
            geometry: Geometry {
                established_mask: buckets(limits.connections) - 1,
                embryonic_mask: buckets(limits.embryonic) - 1,
                seed,
            },
            services: limits.services.max(1),
            real_servers: limits.real_servers.saturating_add(1).min(MAX_REAL_SERVERS),
            scheduler_slots: limits.scheduler_slots.next_multiple_of(2),
        }
    }
}

fn buckets(entries: u32) -> u32 {
    (entries.div_ceil(BUCKET_WAYS) * 2).next_power_of_two().clamp(2, Geometry::MAX_BUCKETS)
}

/// The loaded programs and their maps.
pub struct Datapath {
    ebpf: Ebpf,
    pub(super) tables: Arc<MappedTables>,
    pub(super) services: HashMap<MapData, [u64; 3], u32>,
    pub(super) refusals: Refusals,
    counters: PerCpuArray<MapData, u64>,
}

impl std::fmt::Debug for Datapath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Datapath").field("sizes", &self.tables.sizes()).finish_non_exhaustive()
    }
}

impl Datapath {
    /// Loads the director's program with tables of the given sizes. Nothing is attached yet.
    ///
    /// # Errors
    ///
    /// [`LoadError`], which names what the kernel refused.
    pub fn load(sizes: &Sizes) -> Result<Self, LoadError> {
        let cpus = aya::util::nr_cpus().map_err(|(_, source)| LoadError::Mapping {
            name: "cpus",
            bytes: 0,
            source,
        })? as u32;
        let geometry = sizes.geometry;
        let mut ebpf = EbpfLoader::new()
            .override_global("ESTABLISHED_MASK", &geometry.established_mask, true)
            .override_global("EMBRYONIC_MASK", &geometry.embryonic_mask, true)
            .override_global("HASH_SEED", &geometry.seed, true)
            .override_global("REAL_SERVER_LIMIT", &sizes.real_servers, true)
            .map_max_entries("services", sizes.services + MAX_REFUSED_ADDRESSES * KEYS)
            .map_max_entries("service_table", sizes.services + MAX_REFUSED_ADDRESSES)
            .map_max_entries("real_servers", sizes.real_servers)
            .map_max_entries("loads", sizes.real_servers)
            .map_max_entries("scheduler_table", sizes.scheduler_slots / 2)
            .map_max_entries("traffic", sizes.real_servers * cpus)
            .map_max_entries("buckets", geometry.buckets())
            .map_max_entries("entries", geometry.buckets() * BUCKET_WAYS)
            .load(OBJECT)?;
        let tables = MappedTables {
            geometry,
            cpus,
            service_limit: sizes.services,
            real_server_limit: sizes.real_servers,
            buckets: array(&ebpf, "buckets", geometry.buckets())?,
            entries: array(&ebpf, "entries", geometry.buckets() * BUCKET_WAYS)?,
            services: array(&ebpf, "service_table", sizes.services + MAX_REFUSED_ADDRESSES)?,
            real_servers: array(&ebpf, "real_servers", sizes.real_servers)?,
            loads: array(&ebpf, "loads", sizes.real_servers)?,
            scheduler: array(&ebpf, "scheduler_table", sizes.scheduler_slots / 2)?,
            traffic: array(&ebpf, "traffic", sizes.real_servers * cpus)?,
        };
        let services = ebpf.take_map("services").ok_or(LoadError::Missing("map services"))?;
        let counters = ebpf.take_map("counters").ok_or(LoadError::Missing("map counters"))?;
        let refuses_some = ebpf.take_map(".bss").ok_or(LoadError::Missing("variable"))?;
        load_program(&mut ebpf, "lvx_director")?;
        Ok(Self {
            ebpf,
            tables: Arc::new(tables),
            services: HashMap::try_from(services)?,
            refusals: Refusals::new(Array::try_from(refuses_some)?, sizes.services),
            counters: PerCpuArray::try_from(counters)?,
        })
    }

    /// The tables shared with the program.
    #[must_use]
    pub fn tables(&self) -> Arc<MappedTables> {
        Arc::clone(&self.tables)
    }

    /// The director's program.
    ///
    /// # Errors
    ///
    /// [`LoadError::Missing`] where the object is damaged.
    pub fn program(&mut self) -> Result<&mut Xdp, LoadError> {
        program(&mut self.ebpf, "lvx_director")
    }

    /// The map of outgoing interfaces.
    ///
    /// # Errors
    ///
    /// [`LoadError::Missing`] where the object is damaged.
    pub fn devices(&mut self) -> Result<aya::maps::xdp::DevMapHash<&mut MapData>, LoadError> {
        let map = self.ebpf.map_mut("devices").ok_or(LoadError::Missing("map devices"))?;
        Ok(aya::maps::xdp::DevMapHash::try_from(map)?)
    }

    /// Makes a key lead to a service.
    ///
    /// # Errors
    ///
    /// The kernel's refusal, `E2BIG` where the map is full.
    pub fn insert_service(&mut self, key: ServiceKey, id: u32) -> Result<(), LoadError> {
        Ok(self.services.insert(key.words(), id, 0)?)
    }

    /// Makes a key lead to no service; an absent key is no error.
    ///
    /// # Errors
    ///
    /// The kernel's refusal.
    pub fn remove_service(&mut self, key: ServiceKey) -> Result<(), LoadError> {
        if let Some(id) = self.refusals.behind(key) {
            return Ok(self.services.insert(key.words(), id, 0)?);
        }
        match self.services.remove(&key.words()) {
            Ok(()) | Err(aya::maps::MapError::KeyNotFound) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// All counters, summed over the CPUs, in the order of [`Counter`].
    ///
    /// # Errors
    ///
    /// The kernel's refusal.
    pub fn counters(&self) -> Result<Vec<u64>, LoadError> {
        (0..Counter::COUNT).map(|index| Ok(self.counters.get(&index, 0)?.iter().sum())).collect()
    }
}

pub(super) fn load_program(ebpf: &mut Ebpf, name: &'static str) -> Result<(), LoadError> {
    program(ebpf, name)?
        .load()
        .map_err(|source| LoadError::Program { program: name, source: Box::new(source) })
}

pub(super) fn program<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Xdp, LoadError> {
    ebpf.program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or(LoadError::Missing("XDP program"))
}

fn array<V: MapRecord>(ebpf: &Ebpf, name: &'static str, length: u32) -> Result<MappedArray<V>, LoadError> {
    let Some(Map::Array(map)) = ebpf.map(name) else { return Err(LoadError::Missing(name)) };
    MappedArray::new(map.fd().as_fd(), length as usize).map_err(|source| LoadError::Mapping {
        name,
        bytes: length as usize * size_of::<V>(),
        source,
    })
}
