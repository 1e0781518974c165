//! A virtual service as the datapath needs it when a connection begins.

use core::sync::atomic::AtomicU64;

use super::Address;
use crate::atomic::{compare_exchange, load, store};

/// Key of the service map: virtual address, port and protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct ServiceKey {
    /// Virtual address.
    pub address: Address,
    /// Port in wire order (bits 0 to 15; 0 matches every port) and IP protocol number (16 to 23).
    pub port_protocol: u64,
}

impl ServiceKey {
    /// Builds a key; `port` is in wire order.
    #[inline(always)]
    #[must_use]
    pub const fn new(address: Address, port: u16, protocol: u8) -> Self {
        Self { address, port_protocol: port as u64 | ((protocol as u64) << 16) }
    }

    /// The key as the map's bytes.
    #[must_use]
    pub const fn words(self) -> [u64; 3] {
        [self.address.hi, self.address.lo, self.port_protocol]
    }

    /// The key of the service that takes all ports of the same address.
    #[inline(always)]
    #[must_use]
    pub const fn any_port(self) -> Self {
        Self { address: self.address, port_protocol: self.port_protocol & 0xff_0000 }
    }
}

/// How the datapath finds a real server in a service's range of the scheduler table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum SchedulerKind {
    /// Slots in turn: rr and wrr.
    Turn = 0,
    /// Slot by IPVS's source hash (sh), without and with the port.
    SourceHash = 1,
    /// As before, with the source port.
    SourceHashPort = 2,
    /// Slot by Maglev hash (mh).
    Maglev = 3,
    /// As before, with the source port.
    MaglevPort = 4,
    /// Pairs of slot and weight, scanned for the least connections by weight (lc, wlc).
    LeastLoad = 5,
}

impl SchedulerKind {
    #[inline(always)]
    const fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::SourceHash,
            2 => Self::SourceHashPort,
            3 => Self::Maglev,
            4 => Self::MaglevPort,
            5 => Self::LeastLoad,
            _ => Self::Turn,
        }
    }
}

/// A service's fields as the controller writes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceFields {
    /// First element of the service's range of the scheduler table.
    pub table_offset: u32,
    /// Length of the range; 0 refuses every connection.
    pub table_length: u32,
    /// How the range is used.
    pub scheduler: SchedulerKind,
}

/// The bit of word 1 for standby.
const STANDBY: u64 = 1 << 8;

/// A service's record, one cache line.
///
/// Words: 0 range of the scheduler table (offset, length), 1 scheduler and standby, 2 cursor of the turn schedulers.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct Service {
    words: [AtomicU64; 8],
}

const _: () = assert!(size_of::<Service>() == 64);

impl Service {
    /// Offset and length of the service's range of the scheduler table; one word, so a new table replaces the old
    /// one at once.
    #[inline(always)]
    #[must_use]
    pub fn table(&self) -> (u32, u32) {
        let [range, ..] = &self.words;
        let range = load(range);
        (range as u32, (range >> 32) as u32)
    }

    /// How the range is used.
    #[inline(always)]
    #[must_use]
    pub fn scheduler(&self) -> SchedulerKind {
        let [_, scheduler, ..] = &self.words;
        SchedulerKind::from_byte(load(scheduler) as u8)
    }

    /// Whether another director serves the virtual address at the moment.
    #[inline(always)]
    #[must_use]
    pub fn is_standby(&self) -> bool {
        let [_, scheduler, ..] = &self.words;
        load(scheduler) & STANDBY != 0
    }

    /// Says whether another director serves the virtual address at the moment. Whatever else is written meanwhile, this
    /// stays.
    pub fn set_standby(&self, standby: bool) {
        self.exchange(|word| if standby { word | STANDBY } else { word & !STANDBY });
    }

    /// Changes the word that two threads write: the one of VRRP its bit, the controller's the rest.
    fn exchange(&self, change: impl Fn(u64) -> u64) {
        let [_, cell, ..] = &self.words;
        let mut word = load(cell);
        loop {
            let seen = compare_exchange(cell, word, change(word));
            if seen == word {
                return;
            }
            word = seen;
        }
    }

    /// Counts the picks of the turn schedulers.
    #[inline(always)]
    #[must_use]
    pub const fn cursor(&self) -> &AtomicU64 {
        let [_, _, cursor, ..] = &self.words;
        cursor
    }

    /// Writes scheduler and range; the range last.
    pub fn write(&self, fields: &ServiceFields) {
        let [range, ..] = &self.words;
        self.exchange(|before| fields.scheduler as u64 | before & STANDBY);
        store(range, u64::from(fields.table_offset) | (u64::from(fields.table_length) << 32));
    }
}
