//! Choosing a real server for a new connection.

use super::packet::UDP;
use super::{SchedulerTables, Tables};
use crate::atomic::{fetch_add, load};
use crate::layout::{Address, ConnectionKey, SchedulerKind, Service};
use crate::sched::pick::{ActiveRule, Best, LoadKind, fold, maglev_index, source_hash};

/// Real servers that a load scheduler scans at most; the controller refuses services with more.
pub const MAX_LOAD_SCHEDULED: u32 = 1024;

/// Slot of the real server for a new connection; 0 where the service takes none.
#[inline(always)]
pub(super) fn schedule<T: Tables>(tables: &T, service: &Service, key: &ConnectionKey) -> u32 {
    let (offset, length) = service.table();
    if length == 0 {
        return 0;
    }
    let port = u16::from_be(key.source_port());
    let index = match service.scheduler() {
        SchedulerKind::Turn => (fetch_add(service.cursor(), 1) % u64::from(length)) as u32,
        SchedulerKind::SourceHash => source_hash(folded(key.source), 0),
        SchedulerKind::SourceHashPort => source_hash(folded(key.source), port),
        SchedulerKind::Maglev => maglev_index(folded(key.source), 0, length),
        SchedulerKind::MaglevPort => maglev_index(folded(key.source), port, length),
        SchedulerKind::DestinationHash => source_hash(folded(key.destination), 0),
        SchedulerKind::LeastLoad => return tables.least_loaded(offset, length),
        SchedulerKind::ShortestDelay => return tables.least_active(offset, length, rule(LoadKind::Sed, key)),
        SchedulerKind::NeverQueue => return tables.least_active(offset, length, rule(LoadKind::Nq, key)),
        SchedulerKind::Overflow => return tables.least_active(offset, length, rule(LoadKind::Ovf, key)),
    };
    if index >= length {
        return 0;
    }
    tables.table_slot(offset.wrapping_add(index)).unwrap_or(0)
}

/// The rule as one number, which is all that a BPF function takes; UDP flows count although they are never active.
#[inline(always)]
fn rule(kind: LoadKind, key: &ConnectionKey) -> u32 {
    kind as u32 | if key.protocol == UDP { COUNT_INACTIVE } else { 0 }
}

/// The bit of [`rule`] for inactive connections that count as active ones.
const COUNT_INACTIVE: u32 = 1 << 8;

#[inline(always)]
fn folded(address: Address) -> u32 {
    fold(address.hi, address.lo, address.is_ipv4())
}

/// Scans pairs of slot and weight for the real server with the least active connections by `rule`: a [`LoadKind`], and bit 8
/// where inactive connections count as active ones.
#[inline(always)]
pub fn least_active<T: SchedulerTables + ?Sized>(tables: &T, offset: u32, length: u32, rule: u32) -> u32 {
    let kind = match rule & 0xff {
        kind if kind == LoadKind::Nq as u32 => LoadKind::Nq,
        kind if kind == LoadKind::Ovf as u32 => LoadKind::Ovf,
        _ => LoadKind::Sed,
    };
    let rule = ActiveRule::new(kind, rule & COUNT_INACTIVE != 0);
    let mut best = Best::new();
    for index in 0..MAX_LOAD_SCHEDULED {
        if index * 2 >= length {
            break;
        }
        let Some([slot, weight]) = tables.table_pair(offset.wrapping_add(index * 2)) else { break };
        let Some(cell) = tables.load(slot) else { break };
        let connections = load(cell);
        let (load, weight) = rule.apply(weight, (connections >> 32) as u32, connections as u32);
        best.offer_load(slot, weight, load);
    }
    best.winner()
}

/// Scans pairs of slot and weight for the least loaded real server.
#[inline(always)]
pub fn least_loaded<T: SchedulerTables + ?Sized>(tables: &T, offset: u32, length: u32) -> u32 {
    let mut best = Best::new();
    for index in 0..MAX_LOAD_SCHEDULED {
        if index * 2 >= length {
            break;
        }
        let Some([slot, weight]) = tables.table_pair(offset.wrapping_add(index * 2)) else { break };
        let Some(cell) = tables.load(slot) else { break };
        let connections = load(cell);
        best.offer(slot, weight, (connections >> 32) as u32, connections as u32);
    }
    best.winner()
}
