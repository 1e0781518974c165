//! Virtual addresses that accept nothing but what their services take.
//!
//! Such an address has a record behind those of the services, and three keys that lead to it: TCP and UDP to any port, which
//! packets are looked up by when no service has their port, so that refusing costs no look-up of its own; and one for
//! everything else. A service that takes all ports has the same key and goes first; when it goes, the address has its key
//! back.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use aya::maps::{Array, MapData, MapError};
use lb_common::layout::{Address, ServiceKey};

use super::{Datapath, LoadError};

/// Addresses that can be refused at the same time.
pub const MAX_REFUSED_ADDRESSES: u32 = 1024;

/// Keys of each.
pub(super) const KEYS: u32 = 3;

/// IP protocol numbers.
const TCP: u8 = 6;
const UDP: u8 = 17;

fn keys(address: Address) -> [ServiceKey; KEYS as usize] {
    [ServiceKey::new(address, 0, TCP), ServiceKey::new(address, 0, UDP), ServiceKey::rest(address)]
}

/// The addresses that are refused.
pub(super) struct Refusals {
    /// The variable by which the program knows that there are any.
    some: Array<MapData, u64>,
    records: HashMap<Address, u32>,
    free: BTreeSet<u32>,
}

impl Refusals {
    /// `first` is the number of the first record behind those of the services.
    pub(super) fn new(some: Array<MapData, u64>, first: u32) -> Self {
        Self { some, records: HashMap::new(), free: (first..first + MAX_REFUSED_ADDRESSES).collect() }
    }

    /// What a key leads to where no service has it.
    pub(super) fn behind(&self, key: ServiceKey) -> Option<u32> {
        self.records.get(&key.address).copied().filter(|_| key == key.any_port())
    }
}

impl Datapath {
    /// Drops all packets to an address that no service takes, but for neighbour discovery. Gives the number by which
    /// [`super::MappedTables::set_service_standby`] suspends this; it begins suspended if `standby`. An address that is
    /// refused already stays as it is.
    ///
    /// # Errors
    ///
    /// [`LoadError::RefusedAddresses`], or the kernel's refusal; nothing is refused then.
    pub fn refuse_address(&mut self, address: IpAddr, standby: bool) -> Result<u32, LoadError> {
        let address = Address::from(address);
        if let Some(id) = self.refusals.records.get(&address) {
            return Ok(*id);
        }
        let id = *self.refusals.free.first().ok_or(LoadError::RefusedAddresses)?;
        let record = self.tables.service(id).ok_or(LoadError::Missing("record"))?;
        record.write_refusal(standby);
        if let Err(error) = self.point_to(address, id) {
            // What cannot be taken out now leads to a record that says what was asked for.
            let _ = self.take_out(address, id);
            return Err(error);
        }
        self.refusals.free.remove(&id);
        self.refusals.records.insert(address, id);
        Ok(id)
    }

    /// Leaves packets to an address that no service takes to the host again. An address that is not refused is no error.
    ///
    /// # Errors
    ///
    /// The kernel's refusal; the address is still refused, at least in part.
    pub fn accept_address(&mut self, address: IpAddr) -> Result<(), LoadError> {
        let address = Address::from(address);
        let Some(id) = self.refusals.records.get(&address).copied() else { return Ok(()) };
        self.take_out(address, id)?;
        self.refusals.records.remove(&address);
        // A packet that has found the number a moment ago is refused, whoever gets the record next.
        self.refusals.free.insert(id);
        Ok(())
    }

    fn point_to(&mut self, address: Address, id: u32) -> Result<(), LoadError> {
        self.refusals.some.set(0, 1, 0)?;
        for key in keys(address) {
            if self.led_to(key)?.is_none() {
                self.services.insert(key.words(), id, 0)?;
            }
        }
        Ok(())
    }

    fn take_out(&mut self, address: Address, id: u32) -> Result<(), LoadError> {
        for key in keys(address) {
            if self.led_to(key)? == Some(id) {
                self.services.remove(&key.words())?;
            }
        }
        if self.refusals.records.keys().all(|other| *other == address) {
            self.refusals.some.set(0, 0, 0)?;
        }
        Ok(())
    }

    /// The number that a key leads to.
    fn led_to(&self, key: ServiceKey) -> Result<Option<u32>, LoadError> {
        match self.services.get(&key.words(), 0) {
            Ok(id) => Ok(Some(id)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
