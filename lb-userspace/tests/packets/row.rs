//! A row of the packet tables: what was before, a frame, and everything that must come of it.

use std::collections::BTreeMap;

use lb_common::datapath::{ConnectionTables, SweepOutcome, TimeoutTable, sweep_bucket, tcp_state};
use lb_common::layout::{Counter, DropReason, Event, Geometry, PassReason, RealServer};

use super::director::{Action, Connection, Director, Tally};
use super::fixture::{EAST, INGRESS, Kind, Purpose, SIZES};
use super::frames::Packet;
use super::host::HEADROOM;

/// Something that happens before the frame.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Another frame, by the interface with this index.
    Frame(u32, Vec<u8>),
    /// The sweep, so many seconds after the start.
    Sweep(u64),
    /// A real server is removed.
    Retire(u32),
    /// Another director begins to serve the address of a service, by number, or no longer does.
    StandbyService(u32, bool),
    /// The same of a real server, by slot.
    StandbyServer(u32, bool),
}

/// What must become of the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass(PassReason),
    Drop(DropReason),
    Transmit,
    Redirect(u32),
}

/// What the connection table must hold afterwards.
#[derive(Debug, Clone)]
pub(crate) enum Expected {
    /// What it held before the frame.
    Unchanged,
    /// These and no others.
    Exactly(Vec<Connection>),
    /// As many as before, this one among them: another one gave way.
    Evicted(Connection),
}

/// One row.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) name: String,
    before: Vec<Step>,
    ingress: u32,
    headroom: usize,
    frame: Vec<u8>,
    verdict: Verdict,
    /// What leaves or is passed; nobody sees a dropped frame.
    output: Option<Vec<u8>>,
    events: Vec<Event>,
    /// In the order of [`super::director::in_order`], by slot.
    traffic: BTreeMap<u32, [u64; 5]>,
    connections: Expected,
    /// Why the kernel cannot run the row.
    pub(crate) host_only: Option<&'static str>,
}

impl Row {
    fn new(name: impl Into<String>, frame: Vec<u8>, verdict: Verdict, output: Option<Vec<u8>>) -> Self {
        Self {
            name: name.into(),
            before: Vec::new(),
            ingress: INGRESS,
            headroom: HEADROOM,
            frame,
            verdict,
            output,
            events: Vec::new(),
            traffic: BTreeMap::new(),
            connections: Expected::Unchanged,
            host_only: None,
        }
    }

    /// A frame that is passed as it came.
    pub(crate) fn passes(name: impl Into<String>, frame: Vec<u8>, reason: PassReason) -> Self {
        Self::new(name, frame.clone(), Verdict::Pass(reason), Some(frame))
    }

    /// A packet that is dropped.
    pub(crate) fn drops(name: impl Into<String>, packet: &Packet, reason: DropReason) -> Self {
        Self::new(name, packet.bytes(), Verdict::Drop(reason), None)
    }

    /// A packet that leaves by the interface it came in by, as `output`.
    pub(crate) fn transmits(name: impl Into<String>, packet: &Packet, output: &Packet) -> Self {
        Self::new(name, packet.bytes(), Verdict::Transmit, Some(output.bytes()))
    }

    /// A packet that leaves by another interface, as `output`.
    pub(crate) fn redirects(name: impl Into<String>, packet: &Packet, ifindex: u32, output: &Packet) -> Self {
        Self::new(name, packet.bytes(), Verdict::Redirect(ifindex), Some(output.bytes()))
    }

    /// What is passed is not what came.
    pub(crate) fn output(mut self, output: &Packet) -> Self {
        self.output = Some(output.bytes());
        self
    }

    /// Another frame and what leaves for it, byte for byte, where no [`Packet`] can say it.
    pub(crate) fn output_bytes(mut self, frame: Vec<u8>, output: Vec<u8>) -> Self {
        self.frame = frame;
        self.output = Some(output);
        self
    }

    /// After these packets, which come in by [`INGRESS`].
    pub(crate) fn after(self, packets: &[&Packet]) -> Self {
        packets.iter().fold(self, |row, packet| row.after_by(INGRESS, packet))
    }

    /// After this packet, by an interface.
    pub(crate) fn after_by(self, ingress: u32, packet: &Packet) -> Self {
        self.step(Step::Frame(ingress, packet.bytes()))
    }

    pub(crate) fn step(mut self, step: Step) -> Self {
        self.before.push(step);
        self
    }

    pub(crate) fn ingress(mut self, ifindex: u32) -> Self {
        self.ingress = ifindex;
        self
    }

    pub(crate) fn headroom(mut self, bytes: usize) -> Self {
        self.headroom = bytes;
        self.host_only("the kernel chooses the headroom")
    }

    pub(crate) fn host_only(mut self, why: &'static str) -> Self {
        self.host_only = Some(why);
        self
    }

    pub(crate) fn event(mut self, event: Event) -> Self {
        self.events.push(event);
        self
    }

    fn traffic(mut self, slot: u32, counts: [u64; 5]) -> Self {
        let sum = self.traffic.entry(slot).or_default();
        for (sum, count) in sum.iter_mut().zip(counts) {
            *sum += count;
        }
        self
    }

    /// Counted as a packet from a client to this real server.
    pub(crate) fn inward(self, slot: u32, packet: &Packet) -> Self {
        self.traffic(slot, [0, 1, packet.length(), 0, 0])
    }

    /// Counted as a packet from this real server to a client.
    pub(crate) fn outward(self, slot: u32, packet: &Packet) -> Self {
        self.traffic(slot, [0, 0, 0, 1, packet.length()])
    }

    /// A connection begins: `packet` from a client to `slot`, with these entries in the table afterwards.
    pub(crate) fn begins(self, slot: u32, packet: &Packet, connections: &[Connection]) -> Self {
        self.inward(slot, packet)
            .traffic(slot, [1, 0, 0, 0, 0])
            .event(Event::ConnectionCreated)
            .connections(connections)
    }

    /// A connection begins anew with a packet that is counted already.
    pub(crate) fn begins_again(self, slot: u32, connections: &[Connection]) -> Self {
        self.traffic(slot, [1, 0, 0, 0, 0]).event(Event::ConnectionCreated).connections(connections)
    }

    /// As [`Self::begins`], and the new entry takes the place of another one.
    pub(crate) fn begins_by_evicting(mut self, slot: u32, packet: &Packet, new: Connection) -> Self {
        self = self.begins(slot, packet, &[]);
        self.connections = Expected::Evicted(new);
        self
    }

    /// What the connection table holds afterwards.
    pub(crate) fn connections(mut self, connections: &[Connection]) -> Self {
        let mut connections = connections.to_vec();
        connections.sort_unstable();
        self.connections = Expected::Exactly(connections);
        self
    }

    /// Runs the row and says what is wrong, or how everything stands afterwards.
    pub(crate) fn run<D: Director>(&self, director: &mut D) -> Result<(Action, Vec<u8>, Tally), String> {
        director.reset();
        director.attach(&[INGRESS, EAST]);
        for step in &self.before {
            match step {
                Step::Frame(ingress, frame) => drop(director.run(*ingress, HEADROOM, frame)),
                Step::Sweep(seconds) => sweep(director, *seconds),
                Step::Retire(slot) => server(director, *slot).retire(),
                Step::StandbyService(id, standby) => director.service(*id).set_standby(*standby),
                Step::StandbyServer(slot, standby) => server(director, *slot).set_standby(*standby),
            }
        }
        let before = Tally::read(director, SIZES.real_servers);
        if let Verdict::Redirect(ifindex) = self.verdict {
            // Were another one meant, the frame would be dropped.
            director.attach(&[ifindex]);
        }
        let (action, output) = director.run(self.ingress, self.headroom, &self.frame);
        let mut tally = Tally::read(director, SIZES.real_servers);
        tally.counters.iter_mut().zip(&before.counters).for_each(|(after, before)| *after -= before);
        self.check_frame(action, &output)?;
        self.check_counts(&before, &tally)?;
        self.check_connections(&before, &tally)?;
        // A dropped frame may be half changed, on the host and in the kernel alike, and nobody sees it.
        let output = if action == Action::Drop { Vec::new() } else { output };
        Ok((action, output, tally))
    }

    fn check_frame(&self, action: Action, output: &[u8]) -> Result<(), String> {
        let expected = match self.verdict {
            Verdict::Pass(_) => Action::Pass,
            Verdict::Drop(_) => Action::Drop,
            Verdict::Transmit => Action::Transmit,
            Verdict::Redirect(ifindex) => Action::Redirect(ifindex),
        };
        if action != expected {
            return Err(format!("{action:?} instead of {:?}", self.verdict));
        }
        match &self.output {
            Some(expected) if expected != output => {
                let at = expected.iter().zip(output).position(|(left, right)| left != right);
                Err(format!(
                    "the frame differs from byte {at:?} on:\n  expected {}\n  got      {}",
                    hex(expected),
                    hex(output)
                ))
            }
            _ => Ok(()),
        }
    }

    fn check_counts(&self, before: &Tally, after: &Tally) -> Result<(), String> {
        let mut expected = vec![0; Counter::COUNT as usize];
        let verdict = match self.verdict {
            Verdict::Pass(reason) => Some(Counter::from(reason)),
            Verdict::Drop(reason) => Some(Counter::from(reason)),
            Verdict::Transmit | Verdict::Redirect(_) => None,
        };
        let events = self.events.iter().map(|event| Counter::from(*event));
        for counter in verdict.into_iter().chain(events) {
            expected[counter.index() as usize] += 1;
        }
        if after.counters != expected {
            return Err(format!("counted {} instead of {}", names(&after.counters), names(&expected)));
        }
        let mut traffic = before.traffic.clone();
        for (slot, counts) in &self.traffic {
            let sum = traffic.entry(*slot).or_default();
            sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        if after.traffic != traffic {
            return Err(format!("traffic {:?} instead of {traffic:?}", after.traffic));
        }
        Ok(())
    }

    fn check_connections(&self, before: &Tally, after: &Tally) -> Result<(), String> {
        let sorted = after.sorted();
        let wrong = match &self.connections {
            Expected::Unchanged => (before.connections != after.connections).then(|| before.sorted()),
            Expected::Exactly(expected) => (*expected != sorted).then(|| expected.clone()),
            Expected::Evicted(new) => {
                let right = sorted.len() == before.connections.len() && sorted.contains(new);
                (!right).then(|| vec![*new])
            }
        };
        if let Some(expected) = wrong {
            return Err(format!("connections {sorted:#?}\ninstead of {expected:#?}"));
        }
        // Every entry in the table is counted once, as its state says, and nothing else is.
        let loads = loads_of(&sorted);
        if after.loads != loads {
            return Err(format!("loads {:?} instead of {loads:?}", after.loads));
        }
        Ok(())
    }
}

/// Active and inactive connections of each slot, counted from the entries.
pub(crate) fn loads_of(connections: &[Connection]) -> BTreeMap<u32, (u32, u32)> {
    let mut loads = BTreeMap::new();
    for connection in connections.iter().filter(|connection| !connection.reply) {
        let (active, inactive): &mut (u32, u32) = loads.entry(connection.slot).or_default();
        // The states that IPVS counts as active; UDP flows are not among them.
        match connection.state {
            tcp_state::ESTABLISHED | tcp_state::SYN_SENT | tcp_state::SYN_RECV | tcp_state::SYNACK => {
                *active += 1;
            }
            _ => *inactive += 1,
        }
    }
    loads
}

/// Timeouts of rows: IPVS's defaults.
pub(crate) fn timeouts() -> TimeoutTable {
    TimeoutTable::new(900, 120, 300)
}

fn server(director: &impl Director, slot: u32) -> &RealServer {
    director.tables().real_server(slot).expect("a slot")
}

fn sweep(director: &impl Director, seconds: u64) {
    let tables = director.tables();
    let now = director.now() + ((seconds * 1_000_000_000) >> Geometry::STAMP_SHIFT) as u32;
    let mut outcome = SweepOutcome::default();
    for index in 0..tables.geometry().buckets() {
        sweep_bucket(tables, index, now, &timeouts(), &mut outcome);
    }
}

/// The counters that are not zero, by name.
fn names(counters: &[u64]) -> String {
    let labels = (PassReason::ALL.iter().map(|reason| reason.label()))
        .chain(DropReason::ALL.iter().map(|reason| reason.label()))
        .chain(Event::ALL.iter().map(|event| event.label()));
    let counted = labels.zip(counters).filter(|(_, count)| **count != 0);
    format!("{:?}", counted.collect::<Vec<_>>())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The entry of a connection from where `packet` comes to where it goes.
pub(crate) fn entry(packet: &Packet, slot: u32, state: u8) -> Connection {
    Connection {
        from: packet.from,
        to: packet.to,
        protocol: packet.transport.number(),
        slot,
        state,
        half_open: state == tcp_state::SYN_RECV,
        reply: false,
    }
}

/// The entry that a first packet makes.
pub(crate) fn opened(kind: Kind, packet: &Packet, slot: u32) -> Connection {
    entry(packet, slot, if kind.tcp { tcp_state::SYN_RECV } else { tcp_state::UDP_FLOW })
}

/// The entry of a NAT connection's replies; `reply` goes from the real server to the client.
pub(crate) fn replies(reply: &Packet, slot: u32, half_open: bool) -> Connection {
    Connection { reply: true, half_open, ..entry(reply, slot, 0) }
}

/// The entries that a first packet for a purpose makes.
pub(crate) fn first_entries(kind: Kind, purpose: Purpose, packet: &Packet) -> Vec<Connection> {
    let slot = kind.slot(purpose);
    let mut entries = vec![opened(kind, packet, slot)];
    if purpose.is_nat() {
        let reply = Packet::new(packet.transport, kind.server(purpose), packet.from);
        entries.push(replies(&reply, slot, kind.tcp));
    }
    entries
}
