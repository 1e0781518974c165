//! The thread that expires connection entries.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lb_common::datapath::{ConnectionTables, SweepOutcome, TimeoutTable, sweep_bucket};

use crate::datapath::MappedTables;
use crate::datapath::clock;
use crate::model::Timeouts;

/// How often the table is swept; entries expire up to this much late.
const INTERVAL: Duration = Duration::from_secs(1);

/// What the last sweep found, for listings.
#[derive(Debug, Default)]
pub(super) struct Fill {
    established: AtomicU64,
    embryonic: AtomicU64,
    expired: AtomicU64,
}

impl Fill {
    /// Entries in the established buckets.
    pub(super) fn established(&self) -> u64 {
        self.established.load(Ordering::Relaxed)
    }

    /// Entries in the embryonic buckets.
    pub(super) fn embryonic(&self) -> u64 {
        self.embryonic.load(Ordering::Relaxed)
    }

    /// Entries expired since the start.
    pub(super) fn expired(&self) -> u64 {
        self.expired.load(Ordering::Relaxed)
    }
}

/// An order to the sweeper.
#[derive(Debug)]
pub(super) enum Order {
    /// Sweep at once: these slots were removed. They are reported when no entry names them.
    Retired(BTreeSet<u32>),
    /// Use other idle times from now on.
    Timeouts(Timeouts),
}

/// Idle times in the form of the sweep.
pub(super) fn timeout_table(timeouts: &Timeouts) -> TimeoutTable {
    TimeoutTable::new(
        timeouts.tcp.as_secs().max(1),
        timeouts.tcp_fin.as_secs().max(1),
        timeouts.udp.as_secs().max(1),
    )
}

/// Sweeps until the orders' sender is gone. `freed` is called with slots that nothing refers to any more.
pub(super) fn sweep(
    tables: &Arc<MappedTables>,
    fill: &Fill,
    timeouts: &Mutex<TimeoutTable>,
    orders: &Receiver<Order>,
    freed: impl Fn(BTreeSet<u32>),
) {
    let mut retired = BTreeSet::new();
    loop {
        match orders.recv_timeout(INTERVAL) {
            Ok(Order::Retired(slots)) => retired.extend(slots),
            Ok(Order::Timeouts(new)) => {
                if let Ok(mut table) = timeouts.lock() {
                    *table = timeout_table(&new);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let Ok(table) = timeouts.lock().map(|table| *table) else { return };
        let established = pass(tables, 0..tables.geometry().embryonic_base(), &table);
        let embryonic = pass(tables, tables.geometry().embryonic_base()..tables.geometry().buckets(), &table);
        fill.established.store(established.live, Ordering::Relaxed);
        fill.embryonic.store(embryonic.live, Ordering::Relaxed);
        fill.expired.fetch_add(established.expired + embryonic.expired, Ordering::Relaxed);
        let free: BTreeSet<u32> =
            retired.iter().copied().filter(|slot| tables.connections(*slot) == (0, 0)).collect();
        if !free.is_empty() {
            retired.retain(|slot| !free.contains(slot));
            freed(free);
        }
    }
}

fn pass(tables: &MappedTables, buckets: std::ops::Range<u32>, timeouts: &TimeoutTable) -> SweepOutcome {
    let mut outcome = SweepOutcome::default();
    let now = clock::stamp();
    for index in buckets {
        sweep_bucket(tables, index, now, timeouts, &mut outcome);
    }
    outcome
}
