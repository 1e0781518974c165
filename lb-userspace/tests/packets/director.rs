//! What a director is to a row: something that takes frames and whose tables can be read.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use lb_common::atomic;
use lb_common::datapath::ConnectionTables;
use lb_common::layout::{Address, BUCKET_WAYS, ConnectionMeta, HotWord, Service, TrafficCounts};

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Pass,
    Drop,
    Transmit,
    /// With the interface's index.
    Redirect(u32),
}

/// A director under test: the pipeline on the host, or the XDP program in the kernel.
pub(crate) trait Director {
    type Tables: ConnectionTables;

    fn tables(&self) -> &Self::Tables;
    /// The record of the service with this number.
    fn service(&self, id: u32) -> &Service;
    /// Empties every table that packets write, and writes the fixture anew.
    fn reset(&mut self);
    /// Makes these the only interfaces that frames can leave by.
    fn attach(&mut self, interfaces: &[u32]);
    /// Sends a frame through; gives the frame as it is afterwards.
    fn run(&mut self, ingress: u32, headroom: usize, frame: &[u8]) -> (Action, Vec<u8>);
    /// Every counter, in the order of [`lb_common::layout::Counter`].
    fn counters(&self) -> Vec<u64>;
    fn traffic(&self, slot: u32) -> TrafficCounts;
    /// The time of packets, as a stamp.
    fn now(&self) -> u32;
}

/// An entry of the connection table, as read out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Connection {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) protocol: u8,
    pub(crate) slot: u32,
    /// State of `lb_common::datapath::tcp_state`; 0 for the entries of replies, whose state means nothing.
    pub(crate) state: u8,
    /// Whether it is among the half-open ones.
    pub(crate) half_open: bool,
    /// Whether it matches the replies of a NAT connection.
    pub(crate) reply: bool,
}

/// All that a frame may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) counters: Vec<u64>,
    /// Of slots with traffic.
    pub(crate) traffic: BTreeMap<u32, [u64; 5]>,
    /// Active and inactive connections, of slots that have some.
    pub(crate) loads: BTreeMap<u32, (u32, u32)>,
    /// By position in the table.
    pub(crate) connections: BTreeMap<u32, Connection>,
}

impl Tally {
    /// Reads everything; `slots` is their number.
    pub(crate) fn read(director: &impl Director, slots: u32) -> Self {
        let load = |slot| director.tables().load(slot).map_or(0, atomic::load);
        Self {
            counters: director.counters(),
            traffic: (0..slots)
                .map(|slot| (slot, in_order(director.traffic(slot))))
                .filter(|(_, counts)| *counts != [0; 5])
                .collect(),
            loads: (0..slots)
                .map(|slot| (slot, ((load(slot) >> 32) as u32, load(slot) as u32)))
                .filter(|(_, load)| *load != (0, 0))
                .collect(),
            connections: connections(director.tables()),
        }
    }

    /// The connections in the order of their addresses.
    pub(crate) fn sorted(&self) -> Vec<Connection> {
        let mut connections: Vec<_> = self.connections.values().copied().collect();
        connections.sort_unstable();
        connections
    }
}

/// Connections, packets and bytes from clients, packets and bytes to clients.
pub(crate) fn in_order(counts: TrafficCounts) -> [u64; 5] {
    [counts.connections, counts.in_packets, counts.in_bytes, counts.out_packets, counts.out_bytes]
}

/// Every entry of a connection table. What an entry says twice must agree.
pub(crate) fn connections(tables: &impl ConnectionTables) -> BTreeMap<u32, Connection> {
    let mut connections = BTreeMap::new();
    for index in 0..tables.geometry().buckets() {
        let bucket = tables.bucket(index).expect("a bucket");
        for (way, cell) in (0..).zip(&bucket.0) {
            let position = index * BUCKET_WAYS + way;
            let word = HotWord(atomic::load(cell));
            assert!(word.0 == 0 || word.slot() != 0, "entry {position} was claimed and never filled");
            if word.0 == 0 {
                continue;
            }
            let entry = tables.entry(position).expect("an entry");
            let meta = ConnectionMeta(atomic::load(entry.meta()));
            assert_eq!(entry.slot(), word.slot(), "slots of entry {position}");
            assert_eq!(meta.is_reverse(), word.has(HotWord::REVERSE), "direction of entry {position}");
            let key = entry.key();
            let address = |address: Address, port: u16| SocketAddr::new(address.into(), u16::from_be(port));
            let connection = Connection {
                from: address(key.source, key.source_port()),
                to: address(key.destination, key.destination_port()),
                protocol: key.protocol,
                slot: word.slot(),
                state: if meta.is_reverse() { 0 } else { meta.state() },
                half_open: index >= tables.geometry().embryonic_base(),
                reply: meta.is_reverse(),
            };
            connections.insert(position, connection);
        }
    }
    connections
}
