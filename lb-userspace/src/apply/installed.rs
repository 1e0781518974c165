//! What the maps hold at the moment.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use lb_common::sched::table::Table;

use super::{Numbers, Ranges};
use crate::datapath::Sizes;
use crate::model::{ForwardingMethod, RealServer, Scheduler, ServiceKey};

/// A real server with its slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledServer {
    /// Slot in the map of real servers.
    pub slot: u32,
    /// What the configuration says of it.
    pub server: RealServer,
    /// Last weight that was not 0, for Maglev.
    pub last_weight: u32,
}

/// Range of the scheduler table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableRange {
    /// First element.
    pub offset: u32,
    /// Elements that the datapath uses.
    pub length: u32,
}

/// A virtual service with everything it occupies.
#[derive(Debug, Clone)]
pub struct InstalledService {
    /// Number in the map of services.
    pub id: u32,
    /// Name of the configuration.
    pub name: String,
    /// How it chooses.
    pub scheduler: Scheduler,
    /// Real servers as IPVS lists them: the one added last comes first.
    pub servers: Vec<InstalledServer>,
    /// Slots in the order of the configuration, for listings.
    pub order: Vec<u32>,
    /// Range of the scheduler table.
    pub range: TableRange,
    /// What the range was built from, for table schedulers.
    pub table: Option<Table>,
}

impl InstalledService {
    /// The server in a slot.
    #[must_use]
    pub fn server(&self, slot: u32) -> Option<&InstalledServer> {
        self.servers.iter().find(|server| server.slot == slot)
    }
}

/// How long a packet that has read an old record may still be on its way; a run of the program takes microseconds.
const GRACE: Duration = Duration::from_secs(1);

/// What the maps hold, and what is on its way out of them.
#[derive(Debug, Clone)]
pub struct Installed {
    /// Services by key.
    pub services: BTreeMap<ServiceKey, InstalledService>,
    /// Keys in the order of the configuration.
    pub order: Vec<ServiceKey>,
    pub(super) slots: Numbers,
    pub(super) ids: Numbers,
    pub(super) ranges: Ranges,
    /// Slots whose server was removed; free again when a sweep found no entry that names them.
    pub(super) retired_slots: BTreeSet<u32>,
    pub(super) retired: Vec<(Instant, Retired)>,
}

#[derive(Debug, Clone)]
pub(super) enum Retired {
    Range(TableRange),
    Id(u32),
}

impl Installed {
    /// Nothing is installed in maps of these sizes.
    #[must_use]
    pub fn new(sizes: &Sizes) -> Self {
        Self {
            services: BTreeMap::new(),
            order: Vec::new(),
            slots: Numbers::new(1, sizes.real_servers),
            ids: Numbers::new(0, sizes.services),
            ranges: Ranges::new(sizes.scheduler_slots),
            retired_slots: BTreeSet::new(),
            retired: Vec::new(),
        }
    }

    /// Addresses whose next hops are needed.
    #[must_use]
    pub fn targets(&self) -> BTreeSet<IpAddr> {
        self.services
            .values()
            .flat_map(|service| &service.servers)
            .map(|server| server.server.address)
            .collect()
    }

    /// Slots whose connections have to end.
    #[must_use]
    pub fn retired_slots(&self) -> &BTreeSet<u32> {
        &self.retired_slots
    }

    /// Takes a slot that no service has.
    pub fn take_slot(&mut self) -> Option<u32> {
        self.slots.take()
    }

    /// Gives a slot back as soon as no entry names it.
    pub fn retire_slot(&mut self, slot: u32) {
        self.retired_slots.insert(slot);
    }

    /// Frees slots for which a whole sweep since their removal has found no connection left.
    pub fn free_slots(&mut self, slots: impl IntoIterator<Item = u32>) {
        for slot in slots {
            if self.retired_slots.remove(&slot) {
                self.slots.give_back(slot);
            }
        }
    }

    /// Frees ranges and service numbers that no packet can refer to any more.
    pub fn free_expired(&mut self, now: Instant) {
        let mut kept = Vec::new();
        for (since, retired) in std::mem::take(&mut self.retired) {
            if now.duration_since(since) < GRACE {
                kept.push((since, retired));
                continue;
            }
            match retired {
                Retired::Range(range) => self.ranges.give_back(range.offset, range.length),
                Retired::Id(id) => self.ids.give_back(id),
            }
        }
        self.retired = kept;
    }

    /// Elements of the scheduler table in use.
    #[must_use]
    pub fn scheduler_slots_used(&self) -> u32 {
        self.ranges.used()
    }
}

/// Whether a change of the server needs a slot of its own: connections stay with the slot's address and method.
pub(super) fn same_slot(old: &RealServer, new: &RealServer) -> bool {
    old.address == new.address && old.port == new.port && method(old) == method(new)
}

fn method(server: &RealServer) -> ForwardingMethod {
    server.forwarding
}
