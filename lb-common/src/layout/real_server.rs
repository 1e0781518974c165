//! A real server as the datapath needs it: everything to forward a packet in one cache line.

use core::sync::atomic::AtomicU64;

use super::Address;
#[cfg(not(target_arch = "bpf"))]
use crate::atomic::{fetch_and, fetch_or};
use crate::atomic::{load, replace_but, store};

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
}

impl Method {
    #[inline(always)]
    const fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::DirectRouting,
            2 => Self::Tunnel,
            3 => Self::Nat,
            4 => Self::Local,
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
    /// Bits 32 to 47 of word 5 are the port, 48 to 55 the method. This bit stands right above, so that one comparison
    /// tells a slot that packets go to from all others.
    const STANDBY: u64 = 1 << 56;

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
        Method::from_byte((load(word) >> 48) as u8)
    }

    /// Whether packets go to the server: it was not removed, and no other director serves its virtual address.
    #[inline(always)]
    #[must_use]
    pub fn serves(&self) -> bool {
        let [_, _, _, _, _, word, ..] = &self.words;
        (load(word) >> 48).wrapping_sub(1) < Method::Local as u64
    }

    /// Whether another director serves the server's virtual address at the moment; never so of a removed server.
    #[inline(always)]
    #[must_use]
    pub fn is_standby(&self) -> bool {
        let [_, _, _, _, _, word, ..] = &self.words;
        (load(word) >> 48).wrapping_sub((Self::STANDBY >> 48) + 1) < Method::Local as u64
    }

    /// Says whether another director serves the server's virtual address at the moment. Any thread may, at any time;
    /// nothing else of the slot changes, so connections go on when the address comes back.
    #[cfg(not(target_arch = "bpf"))]
    pub fn set_standby(&self, standby: bool) {
        let [_, _, _, _, _, word, ..] = &self.words;
        if standby {
            fetch_or(word, Self::STANDBY);
        } else {
            fetch_and(word, !Self::STANDBY);
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

    /// Marks the server as removed; addresses and ports stay, so that its connections can be found and ended. Standby
    /// goes with the server: the slot's next one may have another virtual address.
    #[cfg(not(target_arch = "bpf"))]
    pub fn retire(&self) {
        let [_, _, _, _, _, word, ..] = &self.words;
        fetch_and(word, 0xffff_ffff_ffff);
    }

    /// Writes all fields; standby stays as it is. A slot in use changes only in its next hop; for a moment a packet may
    /// leave with the old interface and the new address, and is lost as if it had come just before the change.
    pub fn write(&self, fields: &RealServerFields) {
        let hop = fields.next_hop.unwrap_or(NextHop {
            ifindex: 0,
            destination_mac: [0; 6],
            source_mac: [0; 6],
            mtu: 0,
        });
        let [d0, d1, d2, d3, d4, d5] = hop.destination_mac;
        let [s0, s1, s2, s3, s4, s5] = hop.source_mac;
        let [address_hi, address_lo, source_hi, source_lo, head, shared, way, rest] = &self.words;
        store(address_hi, fields.address.hi);
        store(address_lo, fields.address.lo);
        store(source_hi, fields.source.hi);
        store(source_lo, fields.source.lo);
        store(head, u64::from_ne_bytes([d0, d1, d2, d3, d4, d5, s0, s1]));
        store(way, u64::from(hop.ifindex) | (u64::from(fields.service) << 32));
        store(rest, u64::from(hop.mtu) | (u64::from(fields.virtual_port) << 16));
        let value = u64::from(u32::from_ne_bytes([s2, s3, s4, s5]))
            | (u64::from(fields.port) << 32)
            | ((fields.method as u64) << 48);
        replace_but(shared, Self::STANDBY, value);
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    const FIELDS: RealServerFields = RealServerFields {
        method: Method::DirectRouting,
        address: Address { hi: 0, lo: 1 },
        port: 0xffff,
        source: Address { hi: 0, lo: 2 },
        virtual_port: 0,
        service: 1,
        next_hop: None,
    };

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
    fn an_unused_slot_reads_as_removed() {
        assert_eq!(RealServer::default().method(), Method::Removed);
        assert_eq!(RealServer::default().ifindex(), 0);
    }

    #[test]
    fn standby_is_a_bit_of_its_own() {
        let server = RealServer::default();
        assert!(!server.serves() && !server.is_standby());
        for method in [Method::DirectRouting, Method::Tunnel, Method::Nat, Method::Local] {
            server.write(&RealServerFields { method, ..FIELDS });
            assert!(server.serves() && !server.is_standby());
            server.set_standby(true);
            server.set_standby(true);
            assert!(!server.serves() && server.is_standby());
            // The sweep and packets of removed servers ask for the method alone.
            assert_eq!((server.method(), server.port()), (method, 0xffff));
            server.write(&RealServerFields { method, port: 7, ..FIELDS });
            assert!(!server.serves(), "a new next hop does not take the address back");
            assert_eq!((server.method(), server.port()), (method, 7));
            server.set_standby(false);
            assert!(server.serves() && !server.is_standby());
            assert_eq!((server.method(), server.port()), (method, 7));
        }
    }

    #[test]
    fn a_removed_server_is_removed_whatever_standby_says() {
        let server = RealServer::default();
        server.set_standby(true);
        assert_eq!(server.method(), Method::Removed);
        assert!(!server.serves() && !server.is_standby());
        server.write(&FIELDS);
        assert!(!server.serves() && server.is_standby(), "said before the slot was written");
        server.retire();
        assert_eq!((server.method(), server.port()), (Method::Removed, 0xffff));
        assert!(!server.serves() && !server.is_standby());
        server.set_standby(true);
        assert_eq!(server.method(), Method::Removed);
        assert!(!server.serves() && !server.is_standby());
        server.set_standby(false);
        server.write(&FIELDS);
        assert!(server.serves(), "the slot's next server begins without it");
    }

    #[test]
    fn writing_and_standby_at_once_lose_nothing() {
        let server = RealServer::default();
        server.write(&FIELDS);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for port in 0..20_000 {
                    server.write(&RealServerFields { port, ..FIELDS });
                    assert_eq!((server.port(), server.method()), (port, Method::DirectRouting));
                }
            });
            loop {
                for standby in [true, false, true] {
                    server.set_standby(standby);
                    assert_eq!(server.is_standby(), standby);
                }
                if writer.is_finished() {
                    break;
                }
            }
        });
        assert!(server.is_standby() && server.port() == 19_999);
    }
}
