//! Which virtual addresses are balanced here at the moment.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::apply::Installed;
use crate::datapath::MappedTables;
use crate::model::{Model, ServiceKey};
use crate::vrrp::io;

/// What a virtual address has in the tables.
#[derive(Debug, Clone, Default)]
struct Holdings {
    services: Vec<u32>,
    slots: Vec<u32>,
}

#[derive(Debug, Default)]
struct State {
    /// Addresses that virtual routers carry.
    carried: BTreeSet<IpAddr>,
    /// Of those, the ones that are here.
    here: BTreeSet<IpAddr>,
    /// What carried addresses have in the tables.
    holdings: BTreeMap<IpAddr, Holdings>,
}

/// Shared by the engine, which knows what an address has in the tables, and the thread of VRRP, which knows whether it is
/// here. Its lock is held for as long as it takes to set some bits, never while a plan is made or carried out.
#[derive(Debug, Clone)]
pub(super) struct Duty {
    tables: Arc<MappedTables>,
    state: Arc<Mutex<State>>,
}

impl Duty {
    pub(super) fn new(tables: Arc<MappedTables>) -> Self {
        Self { tables, state: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes which addresses a model's virtual routers carry.
    pub(super) fn carry(&self, model: &Model) {
        let mut state = self.lock();
        let instances = model.vrrp.instances.iter();
        state.carried =
            instances.flat_map(|instance| instance.all_addresses()).map(|own| own.address).collect();
        let carried = state.carried.clone();
        state.here.retain(|address| carried.contains(address));
    }

    /// Marks what is about to be installed, before any packet can find it; `always_on` says which services are balanced
    /// wherever their address is, `refused` which records refuse the rest of an address.
    pub(super) fn follow(
        &self,
        installed: &Installed,
        always_on: &BTreeSet<ServiceKey>,
        refused: &BTreeMap<IpAddr, u32>,
    ) {
        let mut state = self.lock();
        let mut holdings: BTreeMap<IpAddr, Holdings> = BTreeMap::new();
        for (key, service) in &installed.services {
            let carried = state.carried.contains(&key.address) && !always_on.contains(key);
            let on = !carried || state.here.contains(&key.address);
            let slots = service.servers.iter().map(|server| server.slot);
            self.set(&[service.id], slots.clone(), on);
            if carried {
                let entry = holdings.entry(key.address).or_default();
                entry.services.push(service.id);
                entry.slots.extend(slots);
            }
        }
        for (address, id) in refused {
            self.set(&[*id], std::iter::empty(), state.here.contains(address));
            holdings.entry(*address).or_default().services.push(*id);
        }
        state.holdings = holdings;
    }

    fn set(&self, services: &[u32], slots: impl Iterator<Item = u32>, on: bool) {
        slots.for_each(|slot| self.tables.set_server_standby(slot, !on));
        services.iter().for_each(|id| self.tables.set_service_standby(*id, !on));
    }
}

impl io::Duty for Duty {
    fn set(&self, addresses: &[IpAddr], on: bool) {
        let mut state = self.lock();
        for address in addresses {
            let changed = if on { state.here.insert(*address) } else { state.here.remove(address) };
            if changed && let Some(holdings) = state.holdings.get(address) {
                self.set(&holdings.services, holdings.slots.iter().copied(), on);
            }
        }
    }
}
