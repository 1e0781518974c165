//! The scheduler table of a service.

use lb_common::layout::SchedulerKind;
use lb_common::sched::pick::LoadKind;
use lb_common::sched::table::{Candidate, Table, TableKind};

use super::{InstalledServer, InstalledService};
use crate::model::{FULL_SHARE, Scheduler};

/// A scheduler table's content, and what it was built from.
pub(super) struct Built {
    pub(super) kind: SchedulerKind,
    pub(super) slots: Vec<u32>,
    pub(super) table: Option<Table>,
}

impl Built {
    /// The table of `service`, going on from the one of `old` where both go round.
    pub(super) fn new(
        service: &InstalledService,
        old: Option<&InstalledService>,
        cursor: &impl Fn(u32) -> u64,
    ) -> Self {
        let weights = Weights::of(service);
        let (kind, table_kind) = match weights.scheduler {
            Scheduler::Rr => (SchedulerKind::Turn, TableKind::Rr),
            Scheduler::Wrr => (SchedulerKind::Turn, TableKind::Wrr),
            Scheduler::Sh(flags) => (
                if flags.port { SchedulerKind::SourceHashPort } else { SchedulerKind::SourceHash },
                TableKind::Sh { fallback: flags.fallback },
            ),
            Scheduler::Mh { flags, table_size } => (
                if flags.port { SchedulerKind::MaglevPort } else { SchedulerKind::Maglev },
                TableKind::Mh { table_size },
            ),
            Scheduler::Fo => (SchedulerKind::Turn, TableKind::Fo),
            Scheduler::Dh => (SchedulerKind::DestinationHash, TableKind::Dh),
            Scheduler::Lc => return Self::scanned(service, &weights, LoadKind::Lc),
            Scheduler::Wlc => return Self::scanned(service, &weights, LoadKind::Wlc),
            Scheduler::Sed => return Self::scanned(service, &weights, LoadKind::Sed),
            Scheduler::Nq => return Self::scanned(service, &weights, LoadKind::Nq),
            Scheduler::Ovf => return Self::scanned(service, &weights, LoadKind::Ovf),
        };
        let candidates: Vec<Candidate> = service
            .servers
            .iter()
            .map(|installed| Candidate {
                id: installed.slot,
                weight: weights.weight(installed),
                last_weight: weights.scaled(installed.last_weight, installed.server.share),
                address: installed.server.address,
                port: installed.server.port,
            })
            .collect();
        let table = match old {
            Some(InstalledService { id, table: Some(table), .. }) if table.kind() == table_kind => {
                table.after(&candidates, cursor(*id))
            }
            _ => Table::new(table_kind, &candidates),
        };
        // Only turns go on where they were; a hash table is a function of its servers and need not be kept.
        let slots = table.slots().to_vec();
        Self { kind, slots, table: (kind == SchedulerKind::Turn).then_some(table) }
    }

    /// Pairs of slot and weight of the servers that take connections.
    fn scanned(service: &InstalledService, weights: &Weights, kind: LoadKind) -> Self {
        let largest = service.servers.iter().map(|installed| weights.weight(installed)).max().unwrap_or(0);
        let slots = service
            .servers
            .iter()
            .map(|installed| (installed.slot, weights.weight(installed)))
            .filter(|(_, weight)| *weight > 0)
            .flat_map(|(slot, weight)| [slot, kind.scanned_weight(weight, largest)])
            .collect();
        let kind = match kind {
            LoadKind::Lc | LoadKind::Wlc => SchedulerKind::LeastLoad,
            LoadKind::Sed => SchedulerKind::ShortestDelay,
            LoadKind::Nq => SchedulerKind::NeverQueue,
            LoadKind::Ovf => SchedulerKind::Overflow,
        };
        Self { kind, slots, table: None }
    }
}

/// Weights as the scheduler sees them. While a real server is in its slow start all weights of the service are finer by
/// the factor of [`FULL_SHARE`], and schedulers that know no weights give way to those that do.
struct Weights {
    scheduler: Scheduler,
    ramping: bool,
    equal: bool,
    excess: u32,
}

impl Weights {
    fn of(service: &InstalledService) -> Self {
        let servers = || service.servers.iter().filter(|installed| installed.server.weight > 0);
        // A weight of ovf is a number of connections, fo compares them, dh knows none: finer ones would say something else.
        let relative = !matches!(service.scheduler, Scheduler::Ovf | Scheduler::Fo | Scheduler::Dh);
        let ramping = relative && servers().any(|installed| installed.server.share < FULL_SHARE);
        let scheduler = match service.scheduler {
            Scheduler::Rr if ramping => Scheduler::Wrr,
            Scheduler::Lc if ramping => Scheduler::Wlc,
            scheduler => scheduler,
        };
        let largest = servers().map(|installed| installed.server.weight).max().unwrap_or(0);
        let bits = u32::BITS - largest.leading_zeros() + FULL_SHARE.ilog2();
        Self {
            scheduler,
            ramping,
            equal: ramping && service.scheduler.ignores_weights(),
            // Weights are signed 32-bit integers in IPVS.
            excess: bits.saturating_sub(31),
        }
    }

    fn weight(&self, installed: &InstalledServer) -> u32 {
        self.scaled(installed.server.weight, installed.server.share)
    }

    fn scaled(&self, weight: u32, share: u8) -> u32 {
        if !self.ramping || weight == 0 {
            return weight;
        }
        let weight = if self.equal { 1 } else { (weight >> self.excess).max(1) };
        weight * u32::from(share)
    }
}
