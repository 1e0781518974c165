//! What holds for any sequence of packets of many flows, while time goes on and real servers go, on the host.

use lb_common::datapath::{ConnectionTables, SweepOutcome, sweep_bucket};
use lb_common::layout::{Counter, Event, Geometry};
use lb_userspace::datapath::Sizes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::director::{Action, Director, Tally};
use super::fixture::{EAST, Fixture, INGRESS, KINDS, Kind, Purpose, SIZES, Scheduler, server_mac};
use super::frames::{ACK, FIN, PSH, Packet, RST, SYN};
use super::host::{HEADROOM, Host};
use super::row::{loads_of, timeouts};

/// Flows of a sequence.
const FLOWS: usize = 48;

/// What happens next.
#[derive(Debug, Clone)]
enum Act {
    /// The client of a flow sends a packet with these flags.
    Request(usize, u8),
    /// The real server of a flow answers, if it answers through the director.
    Reply(usize, u8),
    /// Time passes, in tenths of a second, and the table is swept.
    Wait(u32),
    /// Another director takes every address, or gives it back.
    Standby(bool),
    /// A real server of a scheduled service is removed.
    Remove(Kind, Scheduler, usize),
}

fn flags() -> impl Strategy<Value = u8> {
    select(vec![SYN, SYN, SYN, ACK, ACK, ACK, PSH | ACK, SYN | ACK, FIN | ACK, FIN, RST, RST | ACK, 0])
}

const SCHEDULED: [Scheduler; 4] = [Scheduler::Rr, Scheduler::Mh, Scheduler::Lc, Scheduler::Wlc];

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        12 => (0..FLOWS, flags()).prop_map(|(flow, flags)| Act::Request(flow, flags)),
        5 => (0..FLOWS, flags()).prop_map(|(flow, flags)| Act::Reply(flow, flags)),
        2 => prop_oneof![3 => 0u32..30, 1 => 30u32..2_000].prop_map(Act::Wait),
        1 => select(vec![true, false, false]).prop_map(Act::Standby),
    ]
}

fn act_or_removal() -> impl Strategy<Value = Act> {
    prop_oneof![
        30 => act(),
        1 => (select(&KINDS[..]), select(&SCHEDULED[..]), 0usize..3).prop_map(|(k, s, i)| Act::Remove(k, s, i)),
    ]
}

/// What a flow's packets go to: NAT (`Some`), or a scheduled service.
fn target(flow: usize) -> (Kind, Option<Purpose>, Scheduler) {
    let kind = KINDS[flow % 4];
    let nat = [Some(Purpose::Nat), Some(Purpose::NatSamePort), None, None, None, None][flow / 4 % 6];
    (kind, nat, SCHEDULED[flow / 4 % SCHEDULED.len()])
}

fn request(flow: usize, flags: u8) -> Packet {
    let (kind, nat, scheduler) = target(flow);
    let to = nat.map_or(kind.scheduled(scheduler), |purpose| kind.service(purpose));
    kind.request(to).from(kind.client(flow as u8)).later(flags)
}

fn reply(flow: usize, flags: u8) -> Option<Packet> {
    let (kind, nat, _) = target(flow);
    let request = request(flow, flags);
    nat.map(|purpose| request.clone().from(kind.server(purpose)).to(request.from))
}

/// What may be said of a flow's real server.
#[derive(Debug, Clone, Copy, Default)]
struct Flow {
    /// The slot that its packets go to.
    slot: Option<u32>,
    /// Whether it was closed, so that a SYN begins a new one.
    closing: bool,
    /// Stamp of its last packet.
    used: u32,
}

struct World {
    host: Host,
    sizes: Sizes,
    flows: Vec<Flow>,
    removed: Vec<u32>,
    standby: bool,
}

impl World {
    fn new(sizes: Sizes) -> Self {
        let mut host = Host::new(sizes, Fixture::standard());
        host.attach(&[INGRESS, EAST]);
        Self { host, sizes, flows: vec![Flow::default(); FLOWS], removed: Vec::new(), standby: false }
    }

    fn sweep(&self) -> SweepOutcome {
        let mut outcome = SweepOutcome::default();
        for index in 0..self.sizes.geometry.buckets() {
            sweep_bucket(&self.host.tables, index, self.host.tables.now.get(), &timeouts(), &mut outcome);
        }
        outcome
    }

    fn wait(&self, tenths: u32) {
        let stamps = ((u64::from(tenths) * 100_000_000) >> Geometry::STAMP_SHIFT) as u32;
        self.host.tables.now.set(self.host.tables.now.get() + stamps);
        self.sweep();
    }

    /// Does something. `lasting`: the table is large enough for every connection to stay.
    fn act(&mut self, act: &Act, lasting: bool) -> Result<(), TestCaseError> {
        match act {
            Act::Wait(tenths) => self.wait(*tenths),
            Act::Standby(standby) => self.set_standby(*standby),
            Act::Remove(kind, scheduler, index) => self.remove(*kind, *scheduler, *index),
            Act::Request(flow, flags) => {
                let (action, output) = self.host.run(INGRESS, HEADROOM, &request(*flow, *flags).bytes());
                self.note(*flow, *flags, true, action, &output, lasting)?;
            }
            Act::Reply(flow, flags) => {
                if let Some(reply) = reply(*flow, *flags) {
                    let (action, output) = self.host.run(INGRESS, HEADROOM, &reply.bytes());
                    self.note(*flow, *flags, false, action, &output, lasting)?;
                }
            }
        }
        Ok(())
    }

    fn set_standby(&mut self, standby: bool) {
        let tables = self.host.tables();
        for number in 0..self.sizes.real_servers {
            self.host.service(number).set_standby(standby);
            tables.real_server(number).expect("a slot").set_standby(standby);
        }
        self.standby = standby;
    }

    /// As the controller does it: out of the table first, then the slot.
    fn remove(&mut self, kind: Kind, scheduler: Scheduler, index: usize) {
        let slot = kind.slots(scheduler)[index];
        if !self.removed.contains(&slot) {
            self.host.tables.take_out(kind.slots(scheduler)[0], slot);
            self.host.tables.real_server(slot).expect("a slot").retire();
            self.removed.push(slot);
        }
    }

    fn note(
        &mut self,
        flow: usize,
        flags: u8,
        from_client: bool,
        action: Action,
        output: &[u8],
        lasting: bool,
    ) -> Result<(), TestCaseError> {
        let now = self.host.tables.now.get();
        let (kind, ..) = target(flow);
        prop_assert!(!self.standby || action == Action::Pass, "flow {} of another director", flow);
        let record = &mut self.flows[flow];
        if from_client && action == Action::Transmit {
            let slot = (0..SIZES.real_servers).find(|slot| output[..6] == server_mac(*slot));
            let slot = slot.expect("the address of a real server");
            prop_assert!(!self.removed.contains(&slot), "a packet for removed server {}", slot);
            // Shorter than any timeout of an open connection.
            let idle = (u64::from(now - record.used) << Geometry::STAMP_SHIFT) / 1_000_000_000;
            let anew = kind.tcp && flags & (SYN | ACK | RST | FIN) == SYN && record.closing;
            let gone = record.slot.is_some_and(|slot| self.removed.contains(&slot));
            if lasting && !anew && !gone && idle < 50 && !record.closing {
                prop_assert!(record.slot.is_none_or(|before| before == slot), "flow {} moved", flow);
            }
            if record.slot != Some(slot) || anew {
                record.closing = false;
            }
            record.slot = Some(slot);
        }
        if action == Action::Transmit {
            record.used = now;
        }
        record.closing |= kind.tcp && (flags & (FIN | RST) != 0 || flags & (SYN | ACK) == 0);
        Ok(())
    }

    /// Every counter of connections is what the entries say.
    fn loads_are_exact(&self) -> Result<Tally, TestCaseError> {
        let tally = Tally::read(&self.host, self.sizes.real_servers);
        prop_assert_eq!(&tally.loads, &loads_of(&tally.sorted()));
        Ok(tally)
    }

    fn evicted(&self) -> u64 {
        let counters = self.host.tables.counters();
        [Event::EmbryonicEvicted, Event::EstablishedEvicted]
            .map(|event| counters[Counter::from(event).index() as usize])
            .iter()
            .sum()
    }

    /// After everything has been idle for longer than any timeout, nothing is left.
    fn expire(&self) -> Result<(), TestCaseError> {
        self.wait(1);
        self.wait(10_000);
        let tally = self.loads_are_exact()?;
        prop_assert!(tally.connections.is_empty(), "{:?}", tally.connections);
        prop_assert!(tally.loads.is_empty());
        Ok(())
    }
}

/// Tables that everything fits into, and ones that evict all the time.
fn sizes(established_mask: u32, embryonic_mask: u32, seed: u64) -> Sizes {
    Sizes { geometry: Geometry { established_mask, embryonic_mask, seed }, ..SIZES }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn counters_are_exact_while_entries_come_and_go(
        acts in vec(act_or_removal(), 1..250),
        established in select(vec![0u32, 1, 3]),
        embryonic in select(vec![0u32, 1]),
        seed: u64,
    ) {
        let mut world = World::new(sizes(established, embryonic, seed));
        for act in &acts {
            world.act(act, false)?;
            world.loads_are_exact()?;
        }
        world.expire()?;
    }

    #[test]
    fn a_flow_keeps_its_real_server(acts in vec(act_or_removal(), 1..400), seed: u64) {
        let mut world = World::new(sizes(255, 63, seed));
        for act in &acts {
            world.act(act, true)?;
        }
        prop_assert_eq!(world.evicted(), 0);
        world.loads_are_exact()?;
        world.expire()?;
    }

    #[test]
    fn a_sweep_ends_every_connection_of_a_removed_server(acts in vec(act(), 1..200), seed: u64) {
        let mut world = World::new(sizes(255, 63, seed));
        for act in &acts {
            world.act(act, false)?;
        }
        for kind in KINDS {
            for index in 0..2 {
                world.remove(kind, Scheduler::Rr, index);
            }
        }
        world.sweep();
        let tally = world.loads_are_exact()?;
        for connection in tally.connections.values() {
            prop_assert!(!world.removed.contains(&connection.slot), "{:?}", connection);
        }
        world.expire()?;
    }
}
