//! A real server as the datapath needs it: everything to forward a packet in one cache line.

use core::sync::atomic::AtomicU64;

use super::Address;
use crate::atomic::{compare_exchange, load, store};

/// [`RealServerFields::service`] of a slot that serves health checks only: its flows are nobody's connections.
pub const CHECK_SERVICE: u32 = u32::MAX;

/// How a packet leaves for a real server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Method {
    /// The slot is unused or its real server was removed: entries that name it are stale.
    Removed = 0,
    /// Rewrite the Ethernet addresses.
    DirectRouting = 1,
    /// Encapsulate in IPv4 or IPv6, by the family of the server's address.
    Tunnel = 2,
    /// Rewrite the destination address and port.
    Nat = 3,
    /// The director itself: hand the packet to its stack.
    Local = 4,
    /// Another director serves the virtual address at the moment: hand the packet to the stack, keep the entries. It lies
    /// over any of the others except [`Self::Removed`] and is never written itself ([`RealServer::set_standby`]).
    Standby = 5,
}

impl Method {
    #[inline(always)]
    const fn from_bits(bits: u16) -> Self {
        match bits {
            1 => Self::DirectRouting,
            2 => Self::Tunnel,
            3 => Self::Nat,
            4 => Self::Local,
            standby if standby & 0xff != 0 => Self::Standby,
            _ => Self::Removed,
        }
    }
}

/// Where frames for a real server leave the director.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextHop {
    /// Index of the outgoing interface.
    pub ifindex: u32,
    /// MAC address of the next hop.
    pub destination_mac: [u8; 6],
    /// MAC address of the outgoing interface.
    pub source_mac: [u8; 6],
    /// MTU of the outgoing interface in bytes, from the IP header on.
    pub mtu: u16,
}

/// Where the method is in word 5, and its bits.
const METHOD_SHIFT: u32 = 48;
const METHOD: u64 = 0xff;
/// The bit of word 5 for standby.
const STANDBY: u64 = 1 << 56;

/// A real server's fields as the controller writes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RealServerFields {
    /// How packets reach it.
    pub method: Method,
    /// Its address.
    pub address: Address,
    /// Its port in wire order; 0 keeps the packet's port.
    pub port: u16,
    /// Tunnel: source of the outer header. NAT: the virtual address, which replies get as their source.
    pub source: Address,
    /// NAT: the virtual port in wire order, which replies get as their source; 0 keeps the packet's port.
    pub virtual_port: u16,
    /// Service that the slot belongs to.
    pub service: u32,
    /// Next hop, once known.
    pub next_hop: Option<NextHop>,
}

/// A real server's slot, one cache line.
///
/// Words: 0-1 address, 2-3 source, 4 first eight bytes of the Ethernet header, 5 next four bytes, port, method, standby;
/// 6 interface index and service; 7 MTU and virtual port.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct RealServer {
    words: [AtomicU64; 8],
}

const _: () = assert!(size_of::<RealServer>() == 64);

impl RealServer {
    /// Address of the server.
    #[inline(always)]
    #[must_use]
    pub fn address(&self) -> Address {
        let [hi, lo, ..] = &self.words;
        Address { hi: load(hi), lo: load(lo) }
    }

    /// [`RealServerFields::source`].
    #[inline(always)]
    #[must_use]
    pub fn source(&self) -> Address {
        let [_, _, hi, lo, ..] = &self.words;
        Address { hi: load(hi), lo: load(lo) }
    }

    /// The twelve address bytes of the Ethernet header, as they are stored into the frame.
    #[inline(always)]
    #[must_use]
    pub fn ethernet(&self) -> (u64, u32) {
        let [_, _, _, _, head, tail, ..] = &self.words;
        (load(head), load(tail) as u32)
    }

    /// Port in wire order; 0 keeps the packet's.
    #[inline(always)]
    #[must_use]
    pub fn port(&self) -> u16 {
        let [_, _, _, _, _, word, ..] = &self.words;
        (load(word) >> 32) as u16
    }

    /// How packets reach the server.
    #[inline(always)]
    #[must_use]
    pub fn method(&self) -> Method {
        let [_, _, _, _, _, word, ..] = &self.words;
        Method::from_bits((load(word) >> METHOD_SHIFT) as u16)
    }

    /// Whether packets of its connections are forwarded: it is neither removed nor on standby.
    #[inline(always)]
    #[must_use]
    pub fn serves(&self) -> bool {
        let [_, _, _, _, _, word, ..] = &self.words;
        ((load(word) >> METHOD_SHIFT) as u16).wrapping_sub(1) < Method::Local as u16
    }

    /// Says whether another director serves the virtual address at the moment. Whatever else is written meanwhile, this
    /// stays.
    pub fn set_standby(&self, standby: bool) {
        self.exchange(|word| if standby { word | STANDBY } else { word & !STANDBY });
    }

    /// Changes the word that two threads write: the one of VRRP its bit, the controller's the rest.
    fn exchange(&self, change: impl Fn(u64) -> u64) {
        let [_, _, _, _, _, cell, ..] = &self.words;
        let mut word = load(cell);
        loop {
            let seen = compare_exchange(cell, word, change(word));
            if seen == word {
                return;
            }
            word = seen;
        }
    }

    /// Index of the outgoing interface; 0 while the next hop is unknown.
    #[inline(always)]
    #[must_use]
    pub fn ifindex(&self) -> u32 {
        let [_, _, _, _, _, _, word, _] = &self.words;
        load(word) as u32
    }

    /// Service that the slot belongs to.
    #[inline(always)]
    #[must_use]
    pub fn service(&self) -> u32 {
        let [_, _, _, _, _, _, word, _] = &self.words;
        (load(word) >> 32) as u32
    }

    /// MTU of the outgoing interface.
    #[inline(always)]
    #[must_use]
    pub fn mtu(&self) -> u16 {
        let [_, _, _, _, _, _, _, word] = &self.words;
        load(word) as u16
    }

    /// [`RealServerFields::virtual_port`].
    #[inline(always)]
    #[must_use]
    pub fn virtual_port(&self) -> u16 {
        let [_, _, _, _, _, _, _, word] = &self.words;
        (load(word) >> 16) as u16
    }

    /// Marks the server as removed; addresses and ports stay, so that its connections can be found and ended.
    pub fn retire(&self) {
        self.exchange(|word| word & !(METHOD << METHOD_SHIFT));
    }

    /// Writes all fields. A slot in use changes only in its next hop; for a moment a packet may leave with the old
    /// interface and the new address, and is lost as if it had come just before the change.
    pub fn write(&self, fields: &RealServerFields) {
        let hop = fields.next_hop.unwrap_or(NextHop {
            ifindex: 0,
            destination_mac: [0; 6],
            source_mac: [0; 6],
            mtu: 0,
        });
        let [d0, d1, d2, d3, d4, d5] = hop.destination_mac;
        let [s0, s1, s2, s3, s4, s5] = hop.source_mac;
        let values = [
            fields.address.hi,
            fields.address.lo,
            fields.source.hi,
            fields.source.lo,
            u64::from_ne_bytes([d0, d1, d2, d3, d4, d5, s0, s1]),
            u64::from(u32::from_ne_bytes([s2, s3, s4, s5]))
                | (u64::from(fields.port) << 32)
                | ((fields.method as u64) << METHOD_SHIFT),
            u64::from(hop.ifindex) | (u64::from(fields.service) << 32),
            u64::from(hop.mtu) | (u64::from(fields.virtual_port) << 16),
        ];
        for (index, (word, value)) in self.words.iter().zip(values).enumerate() {
            if index == 5 {
                self.exchange(|before| value | before & STANDBY);
            } else {
                store(word, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let server = RealServer::default();
        let fields = RealServerFields {
            method: Method::Nat,
            address: Address { hi: 1, lo: 2 },
            port: 0x5000,
            source: Address { hi: 3, lo: 4 },
            virtual_port: 0x901f,
            service: 77,
            next_hop: Some(NextHop {
                ifindex: 9,
                destination_mac: [1, 2, 3, 4, 5, 6],
                source_mac: [7, 8, 9, 10, 11, 12],
                mtu: 1500,
            }),
        };
        server.write(&fields);
        assert_eq!(server.method(), Method::Nat);
        assert_eq!(server.address(), fields.address);
        assert_eq!(server.source(), fields.source);
        assert_eq!((server.port(), server.virtual_port()), (0x5000, 0x901f));
        assert_eq!((server.service(), server.ifindex(), server.mtu()), (77, 9, 1500));
        let (head, tail) = server.ethernet();
        assert_eq!(head.to_ne_bytes(), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(tail.to_ne_bytes(), [9, 10, 11, 12]);
        server.retire();
        assert_eq!(
            (server.method(), server.port(), server.address()),
            (Method::Removed, 0x5000, fields.address)
        );
    }

    #[test]
    fn standby_lies_over_the_method_and_outlives_writes() {
        let fields = RealServerFields {
            method: Method::DirectRouting,
            address: Address { hi: 1, lo: 2 },
            port: 0,
            source: Address::default(),
            virtual_port: 0,
            service: 1,
            next_hop: None,
        };
        let server = RealServer::default();
        server.set_standby(true);
        assert_eq!((server.method(), server.serves()), (Method::Removed, false), "a free slot stays free");
        server.write(&fields);
        assert_eq!((server.method(), server.serves()), (Method::Standby, false));
        server.set_standby(false);
        assert_eq!((server.method(), server.serves()), (Method::DirectRouting, true));
        server.set_standby(true);
        server.retire();
        assert_eq!((server.method(), server.serves()), (Method::Removed, false));
        for method in [Method::DirectRouting, Method::Tunnel, Method::Nat, Method::Local] {
            server.set_standby(false);
            server.write(&RealServerFields { method, ..fields });
            assert_eq!((server.method(), server.serves()), (method, true));
        }
    }

    #[test]
    fn writes_and_standby_by_two_threads_lose_nothing() {
        let server = RealServer::default();
        let fields = |port| RealServerFields {
            method: Method::Nat,
            address: Address { hi: 1, lo: 2 },
            port,
            source: Address::default(),
            virtual_port: 0,
            service: 1,
            next_hop: None,
        };
        std::thread::scope(|scope| {
            scope.spawn(|| (0..20_000).for_each(|port| server.write(&fields(port))));
            scope.spawn(|| (0..20_001).for_each(|turn| server.set_standby(turn % 2 == 0)));
        });
        assert_eq!((server.method(), server.port()), (Method::Standby, 19_999));
    }

    #[test]
    fn an_unused_slot_reads_as_removed() {
        assert_eq!(RealServer::default().method(), Method::Removed);
        assert_eq!(RealServer::default().ifindex(), 0);
    }
}
