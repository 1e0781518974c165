//! The difference between what is asked for and what is installed, as ordered operations.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use lb_common::layout::{Address, Method, NextHop, RealServerFields, ServiceFields};

use super::built::Built;
use super::installed::{Retired, same_slot};
use super::{Installed, InstalledServer, InstalledService, TableRange};
use crate::model::{ForwardingMethod, Model, RealServer, ServiceKey, VirtualService};
use crate::nexthop::Resolution;

/// A change to the maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Sets a fresh slot's counters to zero and writes its fields.
    AddServer {
        /// Slot.
        slot: u32,
        /// What to write.
        fields: RealServerFields,
    },
    /// Writes a range of the scheduler table that nothing uses yet.
    WriteRange {
        /// First element, even.
        offset: u32,
        /// Elements.
        slots: Vec<u32>,
    },
    /// Points a service to its range and starts its cursor anew.
    WriteService {
        /// Number of the service.
        id: u32,
        /// What to write.
        fields: ServiceFields,
    },
    /// Makes a key lead to a service.
    InsertKey {
        /// Key of the service.
        key: ServiceKey,
        /// Number of the service.
        id: u32,
    },
    /// Makes a key lead nowhere.
    RemoveKey {
        /// Key of the service.
        key: ServiceKey,
    },
    /// Marks a slot as removed: its connections end.
    RetireServer {
        /// Slot.
        slot: u32,
    },
}

/// Why a model does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// All service numbers are in use.
    #[error("service {key}: no room for another service (limits.services)")]
    Services {
        /// Service that did not fit.
        key: ServiceKey,
    },
    /// All real-server slots are in use.
    #[error(
        "service {key}: no room for real server {address} (limits.real_servers; removed servers keep their place for a moment)"
    )]
    RealServers {
        /// Service of the server.
        key: ServiceKey,
        /// Server that did not fit.
        address: IpAddr,
    },
    /// The scheduler table is full.
    #[error("service {key}: no room for a scheduler table of {length} slots (limits.scheduler_slots)")]
    SchedulerSlots {
        /// Service whose table did not fit.
        key: ServiceKey,
        /// Elements it needs.
        length: usize,
    },
}

/// Operations, and what is installed once they are done.
#[derive(Debug)]
pub struct Plan {
    /// In order; every prefix is safe.
    pub operations: Vec<Operation>,
    /// The state afterwards.
    pub installed: Installed,
}

/// Plans the way from `current` to `desired`. `cursor` reads how many picks a service has taken from its table.
///
/// # Errors
///
/// [`PlanError`] where a map is too small; nothing is to be changed then.
pub fn plan(
    desired: &Model,
    current: &Installed,
    resolutions: &BTreeMap<IpAddr, Resolution>,
    cursor: impl Fn(u32) -> u64,
    now: Instant,
) -> Result<Plan, PlanError> {
    let mut next = current.clone();
    next.free_expired(now);
    next.order = desired.services.iter().map(|service| service.key).collect();
    let (mut prepare, mut switch, mut remove) = (Vec::new(), Vec::new(), Vec::new());
    for service in &desired.services {
        let old = current.services.get(&service.key);
        let new = match old {
            Some(old) => update(service, old, &mut next, &mut prepare, &mut remove, resolutions)?,
            None => create(service, &mut next, &mut prepare, resolutions)?,
        };
        let same = old.filter(|old| old.scheduler == new.scheduler && members(old) == members(&new));
        let new = if let Some(old) = same {
            InstalledService { range: old.range, table: old.table.clone(), ..new }
        } else {
            let built = Built::new(&new, old, &cursor);
            let new = place(service.key, new, built, &mut next, &mut prepare, &mut switch, old.is_some())?;
            if let Some(old) = old {
                next.retired.push((now, Retired::Range(old.range)));
            } else {
                switch.insert(0, Operation::InsertKey { key: service.key, id: new.id });
            }
            new
        };
        next.services.insert(service.key, new);
    }
    let wanted: BTreeSet<ServiceKey> = next.order.iter().copied().collect();
    for (key, old) in &current.services {
        if wanted.contains(key) {
            continue;
        }
        next.services.remove(key);
        remove.insert(0, Operation::RemoveKey { key: *key });
        for server in &old.servers {
            retire(server.slot, &mut next, &mut remove);
        }
        next.retired.push((now, Retired::Range(old.range)));
        next.retired.push((now, Retired::Id(old.id)));
    }
    // New keys may be refused by the kernel; they come before anything that changes a service in use.
    switch.sort_by_key(|operation| !matches!(operation, Operation::InsertKey { .. }));
    let operations = prepare.into_iter().chain(switch).chain(remove).collect();
    Ok(Plan { operations, installed: next })
}

fn members(service: &InstalledService) -> Vec<(u32, u32, u8)> {
    service
        .servers
        .iter()
        .map(|installed| (installed.slot, installed.server.weight, installed.server.share))
        .collect()
}

fn retire(slot: u32, next: &mut Installed, remove: &mut Vec<Operation>) {
    next.retired_slots.insert(slot);
    remove.push(Operation::RetireServer { slot });
}

fn create(
    service: &VirtualService,
    next: &mut Installed,
    prepare: &mut Vec<Operation>,
    resolutions: &BTreeMap<IpAddr, Resolution>,
) -> Result<InstalledService, PlanError> {
    let id = next.ids.take().ok_or(PlanError::Services { key: service.key })?;
    let mut new = InstalledService {
        id,
        name: service.name.clone(),
        scheduler: service.scheduler,
        servers: Vec::new(),
        order: Vec::new(),
        range: TableRange { offset: 0, length: 0 },
        table: None,
    };
    for server in &service.real_servers {
        add(service.key, &mut new, server, next, prepare, resolutions)?;
    }
    Ok(new)
}

/// Takes a slot for a server; in IPVS a new server comes to the head of the list.
fn add(
    key: ServiceKey,
    service: &mut InstalledService,
    server: &RealServer,
    next: &mut Installed,
    prepare: &mut Vec<Operation>,
    resolutions: &BTreeMap<IpAddr, Resolution>,
) -> Result<(), PlanError> {
    let slot = next.slots.take().ok_or(PlanError::RealServers { key, address: server.address })?;
    let fields = server_fields(key, service.id, server, resolutions.get(&server.address));
    prepare.push(Operation::AddServer { slot, fields });
    let installed = InstalledServer { slot, server: server.clone(), last_weight: server.weight };
    service.servers.insert(0, installed);
    service.order.push(slot);
    Ok(())
}

fn update(
    service: &VirtualService,
    old: &InstalledService,
    next: &mut Installed,
    prepare: &mut Vec<Operation>,
    remove: &mut Vec<Operation>,
    resolutions: &BTreeMap<IpAddr, Resolution>,
) -> Result<InstalledService, PlanError> {
    let mut new = InstalledService {
        name: service.name.clone(),
        scheduler: service.scheduler,
        order: Vec::new(),
        table: None,
        ..old.clone()
    };
    let mut wanted: BTreeMap<(IpAddr, u16), &RealServer> =
        service.real_servers.iter().map(|server| ((server.address, server.port), server)).collect();
    new.servers.retain_mut(|installed| {
        let identity = (installed.server.address, installed.server.port);
        match wanted.get(&identity) {
            Some(server) if same_slot(&installed.server, server) => {
                installed.server = (*server).clone();
                if server.weight > 0 {
                    installed.last_weight = server.weight;
                }
                wanted.remove(&identity);
                true
            }
            _ => {
                retire(installed.slot, next, remove);
                false
            }
        }
    });
    let slots: BTreeMap<(IpAddr, u16), u32> = new
        .servers
        .iter()
        .map(|installed| ((installed.server.address, installed.server.port), installed.slot))
        .collect();
    for server in &service.real_servers {
        match slots.get(&(server.address, server.port)) {
            Some(slot) => new.order.push(*slot),
            None => add(service.key, &mut new, server, next, prepare, resolutions)?,
        }
    }
    Ok(new)
}

fn place(
    key: ServiceKey,
    mut service: InstalledService,
    built: Built,
    next: &mut Installed,
    prepare: &mut Vec<Operation>,
    switch: &mut Vec<Operation>,
    in_use: bool,
) -> Result<InstalledService, PlanError> {
    let length = built.slots.len();
    let full = || PlanError::SchedulerSlots { key, length };
    let range_length = u32::try_from(length).map_err(|_| full())?;
    let offset = next.ranges.take(range_length).ok_or_else(full)?;
    service.range = TableRange { offset, length: range_length };
    service.table = built.table;
    prepare.push(Operation::WriteRange { offset, slots: built.slots });
    let write = Operation::WriteService {
        id: service.id,
        fields: ServiceFields { table_offset: offset, table_length: range_length, scheduler: built.kind },
    };
    let operations = if in_use { switch } else { prepare };
    operations.push(write);
    Ok(service)
}

/// A real server's slot as the datapath needs it.
#[must_use]
pub fn server_fields(
    key: ServiceKey,
    service: u32,
    server: &RealServer,
    resolution: Option<&Resolution>,
) -> RealServerFields {
    let hop = match resolution {
        Some(Resolution::Via(hop)) => Some(hop),
        _ => None,
    };
    let method = match (resolution, server.forwarding) {
        (Some(Resolution::Local), _) => Method::Local,
        (_, ForwardingMethod::Dr) => Method::DirectRouting,
        (_, ForwardingMethod::Tunnel) => Method::Tunnel,
        (_, ForwardingMethod::Nat) => Method::Nat,
    };
    let nat = server.forwarding == ForwardingMethod::Nat;
    let source = if nat {
        Some(key.address)
    } else if server.forwarding == ForwardingMethod::Tunnel {
        hop.and_then(|hop| hop.source)
    } else {
        None
    };
    // A tunnel without an address to send from, and a VLAN device below which XDP would have to add the tag, have no
    // usable next hop.
    let usable = hop.filter(|hop| {
        hop.vlan.is_none() && (server.forwarding != ForwardingMethod::Tunnel || source.is_some())
    });
    RealServerFields {
        method,
        address: Address::from(server.address),
        port: if nat { server.port.to_be() } else { 0 },
        source: source.map(Address::from).unwrap_or_default(),
        virtual_port: if nat { key.port.to_be() } else { 0 },
        service,
        next_hop: usable.map(|hop| NextHop {
            ifindex: hop.ifindex,
            destination_mac: hop.mac,
            source_mac: hop.source_mac,
            mtu: u16::try_from(hop.mtu).unwrap_or(u16::MAX),
        }),
    }
}
