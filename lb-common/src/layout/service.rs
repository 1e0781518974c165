//! A virtual service as the datapath needs it when a connection begins.

use core::sync::atomic::AtomicU64;

use super::Address;
#[cfg(not(target_arch = "bpf"))]
use crate::atomic::{fetch_and, fetch_or};
use crate::atomic::{load, replace_but, store};

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

    /// The key of everything to an address that is neither TCP nor UDP; 0 is no transport protocol's number.
    #[inline(always)]
    #[must_use]
    pub const fn rest(address: Address) -> Self {
        Self { address, port_protocol: 0 }
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
    /// As before, by the shortest expected delay (sed).
    ShortestDelay = 6,
    /// As before, an idle one first (nq).
    NeverQueue = 7,
    /// As before, the highest weight that is not exceeded (ovf).
    Overflow = 8,
    /// Slot by the hash of the destination (dh).
    DestinationHash = 9,
}

impl SchedulerKind {
    /// Whether the range holds pairs of slot and weight.
    #[must_use]
    pub const fn scans(self) -> bool {
        matches!(self, Self::LeastLoad | Self::ShortestDelay | Self::NeverQueue | Self::Overflow)
    }

    #[inline(always)]
    const fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::SourceHash,
            2 => Self::SourceHashPort,
            3 => Self::Maglev,
            4 => Self::MaglevPort,
            5 => Self::LeastLoad,
            6 => Self::ShortestDelay,
            7 => Self::NeverQueue,
            8 => Self::Overflow,
            9 => Self::DestinationHash,
            _ => Self::Turn,
        }
    }
}

/// What a service's record says of packets that have no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stance {
    /// They get a real server.
    Balance,
    /// They pass: another director serves the virtual address at the moment.
    StandBy,
    /// They are dropped: the record is no service's, it stands for what no service of its address takes.
    Refuse,
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

/// A service's record, one cache line.
///
/// Words: 0 range of the scheduler table (offset, length), 1 scheduler and stance, 2 cursor of the turn schedulers.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct Service {
    words: [AtomicU64; 8],
}

const _: () = assert!(size_of::<Service>() == 64);

impl Service {
    /// Bits of word 1; 0 to 7 are the scheduler.
    const STANDBY: u64 = 1 << 8;
    const REFUSES: u64 = 1 << 9;

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

    /// What becomes of packets without a connection. Standby comes first: an address that is another director's is not
    /// this one's to refuse.
    #[inline(always)]
    #[must_use]
    pub fn stance(&self) -> Stance {
        let [_, word, ..] = &self.words;
        match load(word) & (Self::STANDBY | Self::REFUSES) {
            0 => Stance::Balance,
            Self::REFUSES => Stance::Refuse,
            _ => Stance::StandBy,
        }
    }

    /// Says whether another director serves the virtual address at the moment. Any thread may, at any time; nothing else
    /// of the record changes. The number's next service inherits it until it is said anew.
    #[cfg(not(target_arch = "bpf"))]
    pub fn set_standby(&self, standby: bool) {
        let [_, word, ..] = &self.words;
        if standby {
            fetch_or(word, Self::STANDBY);
        } else {
            fetch_and(word, !Self::STANDBY);
        }
    }

    /// Counts the picks of the turn schedulers.
    #[inline(always)]
    #[must_use]
    pub const fn cursor(&self) -> &AtomicU64 {
        let [_, _, cursor, ..] = &self.words;
        cursor
    }

    /// Writes scheduler and range; the range last. Standby stays as it is.
    pub fn write(&self, fields: &ServiceFields) {
        let [range, scheduler, ..] = &self.words;
        replace_but(scheduler, Self::STANDBY, fields.scheduler as u64);
        store(range, u64::from(fields.table_offset) | (u64::from(fields.table_length) << 32));
    }

    /// Makes the record one of an address that accepts nothing but what its services take; before a key leads to it.
    pub fn write_refusal(&self, standby: bool) {
        let [_, word, ..] = &self.words;
        store(word, Self::REFUSES | if standby { Self::STANDBY } else { 0 });
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    const FIELDS: ServiceFields =
        ServiceFields { table_offset: 4, table_length: 3, scheduler: SchedulerKind::LeastLoad };

    #[test]
    fn what_is_written_is_read() {
        let service = Service::default();
        service.write(&FIELDS);
        assert_eq!((service.table(), service.scheduler()), ((4, 3), SchedulerKind::LeastLoad));
        assert_eq!(service.stance(), Stance::Balance);
    }

    #[test]
    fn standby_is_a_bit_of_its_own() {
        let service = Service::default();
        service.write(&FIELDS);
        service.set_standby(true);
        service.set_standby(true);
        assert_eq!((service.stance(), service.scheduler()), (Stance::StandBy, SchedulerKind::LeastLoad));
        service.write(&ServiceFields { scheduler: SchedulerKind::Turn, ..FIELDS });
        assert_eq!((service.stance(), service.scheduler()), (Stance::StandBy, SchedulerKind::Turn));
        service.set_standby(false);
        assert_eq!((service.stance(), service.scheduler()), (Stance::Balance, SchedulerKind::Turn));
        assert_eq!(service.table(), (4, 3));
    }

    #[test]
    fn an_address_is_refused_only_where_it_is_ours() {
        let record = Service::default();
        record.write_refusal(false);
        assert_eq!(record.stance(), Stance::Refuse);
        record.set_standby(true);
        assert_eq!(record.stance(), Stance::StandBy);
        record.set_standby(false);
        assert_eq!(record.stance(), Stance::Refuse);
        record.write_refusal(true);
        assert_eq!(record.stance(), Stance::StandBy);
    }

    #[test]
    fn writing_and_standby_at_once_lose_nothing() {
        let service = Service::default();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for _ in 0..20_000 {
                    for scheduler in [SchedulerKind::Maglev, SchedulerKind::SourceHash] {
                        service.write(&ServiceFields { scheduler, ..FIELDS });
                        assert_eq!(service.scheduler(), scheduler);
                    }
                }
            });
            loop {
                for (standby, stance) in [(false, Stance::Balance), (true, Stance::StandBy)] {
                    service.set_standby(standby);
                    assert_eq!(service.stance(), stance);
                }
                if writer.is_finished() {
                    break;
                }
            }
        });
        assert_eq!((service.stance(), service.scheduler()), (Stance::StandBy, SchedulerKind::SourceHash));
    }

    #[test]
    fn keys_of_one_address_differ() {
        let address = Address { hi: 0, lo: 1 };
        let key = ServiceKey::new(address, 80, 6);
        let keys = [key, key.any_port(), ServiceKey::new(address, 0, 17), ServiceKey::rest(address)];
        for (index, key) in keys.iter().enumerate() {
            assert!(!keys.iter().skip(index + 1).any(|other| other == key));
        }
    }
}
