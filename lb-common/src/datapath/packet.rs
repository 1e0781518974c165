//! From the bytes of a frame to the few facts that the pipeline decides on.

use super::Frame;
use crate::layout::{Address, ConnectionKey, PassReason};

/// Length of an Ethernet header without tags.
pub(super) const ETHERNET: usize = 14;
const VLAN_TAG: usize = 4;
/// Tags that are looked through (802.1ad service tag and 802.1Q customer tag).
const MAX_VLAN_TAGS: u32 = 2;
const IPV4: usize = 20;
pub(super) const IPV6: usize = 40;
/// IPv6 extension headers that are looked through.
const MAX_EXTENSIONS: u32 = 4;

const ETHERTYPE_IPV4: u16 = 0x0800u16.to_be();
const ETHERTYPE_IPV6: u16 = 0x86ddu16.to_be();
const ETHERTYPE_VLAN: u16 = 0x8100u16.to_be();
const ETHERTYPE_QINQ: u16 = 0x88a8u16.to_be();

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

/// TCP, IP protocol 6.
pub(super) const TCP: u8 = 6;
/// UDP, IP protocol 17.
pub(super) const UDP: u8 = 17;
const ICMPV6: u8 = 58;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// A parsed packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Addresses, ports and protocol.
    pub key: ConnectionKey,
    /// Offset of the IP header in the frame.
    pub network: u16,
    /// Offset of the transport header in the frame.
    pub transport: u16,
    /// Length in bytes from the IP header on, as the header says.
    pub length: u16,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Type of service or traffic class.
    pub tos: u8,
    /// Whether the packet is IPv4.
    pub ipv4: bool,
    /// TCP flags; 0 for UDP.
    pub tcp_flags: u8,
}

impl Packet {
    /// Whether the packet may change a connection's state: TCP with SYN, FIN or RST, or without ACK.
    #[inline(always)]
    #[must_use]
    pub const fn changes_state(&self) -> bool {
        self.key.protocol == TCP && (self.tcp_flags & (SYN | FIN | RST | ACK)) != ACK
    }

    /// Whether the packet resets its connection.
    #[inline(always)]
    #[must_use]
    pub const fn resets(&self) -> bool {
        self.tcp_flags & RST != 0
    }

    /// Whether the packet asks for a new connection.
    #[inline(always)]
    #[must_use]
    pub const fn begins_connection(&self) -> bool {
        self.key.protocol == UDP || (self.tcp_flags & (SYN | ACK | RST | FIN)) == SYN
    }
}

/// Reads the headers.
///
/// # Errors
///
/// The reason why the packet is none of the balancer's business and goes to the host.
#[inline(always)]
pub fn parse<F: Frame>(frame: &F) -> Result<Packet, PassReason> {
    match network(frame)? {
        (ETHERTYPE_IPV4, network) => ipv4(frame, network),
        (ETHERTYPE_IPV6, network) => ipv6(frame, network),
        _ => Err(PassReason::NotIp),
    }
}

/// Ethertype and offset of what is behind the Ethernet header and its tags.
#[inline(always)]
fn network<F: Frame>(frame: &F) -> Result<(u16, usize), PassReason> {
    let mut network = ETHERNET;
    let mut ethertype = frame.load::<u16>(12).ok_or(PassReason::Malformed)?;
    for _ in 0..MAX_VLAN_TAGS {
        if ethertype != ETHERTYPE_VLAN && ethertype != ETHERTYPE_QINQ {
            break;
        }
        ethertype = frame.load::<u16>(network + 2).ok_or(PassReason::Malformed)?;
        network += VLAN_TAG;
    }
    Ok((ethertype, network))
}

/// Where an IP packet goes, whatever it carries.
#[inline(always)]
pub(super) fn destination<F: Frame>(frame: &F) -> Option<Address> {
    match network(frame).ok()? {
        (ETHERTYPE_IPV4, network) => frame.load::<u32>(network + 16).map(Address::from_ipv4),
        (ETHERTYPE_IPV6, network) => frame.load::<[u64; 2]>(network + 24).map(|[hi, lo]| Address { hi, lo }),
        _ => None,
    }
}

/// Whether a packet is neighbour discovery, that is ICMPv6 of the types 133 to 137 (RFC 4861, 4).
#[inline(always)]
pub(super) fn discovers_neighbours<F: Frame>(frame: &F) -> bool {
    let Ok((ETHERTYPE_IPV6, network)) = network(frame) else { return false };
    let Some(first) = frame.load::<u8>(network + 6) else { return false };
    let Ok((ICMPV6, offset)) = extensions(frame, first, network + IPV6) else { return false };
    // Type and code: the verifier does not understand the bound of a single byte.
    frame.load::<u16>(offset).is_some_and(|header| (header as u8).wrapping_sub(133) < 5)
}

#[inline(always)]
fn ipv4<F: Frame>(frame: &F, network: usize) -> Result<Packet, PassReason> {
    let header = frame.load::<[u32; 5]>(network).ok_or(PassReason::Malformed)?;
    let [first, second, third, source, destination] = header;
    let version_length = first as u8;
    let header_length = ((version_length & 0x0f) as usize) * 4;
    let length = u16::from_be((first >> 16) as u16);
    if version_length >> 4 != 4 || header_length < IPV4 {
        return Err(PassReason::Malformed);
    }
    // More fragments, or an offset: neither ports nor checksum can be trusted to be here.
    if (second >> 16) as u16 & 0x3fffu16.to_be() != 0 {
        return Err(PassReason::Fragment);
    }
    let (ports, tcp_flags) = transport(frame, network, network + header_length, length, (third >> 8) as u8)?;
    Ok(Packet {
        key: ConnectionKey::new(
            Address::from_ipv4(source),
            Address::from_ipv4(destination),
            ports,
            (third >> 8) as u8,
        ),
        network: network as u16,
        transport: (network + header_length) as u16,
        length,
        ttl: third as u8,
        tos: (first >> 8) as u8,
        ipv4: true,
        tcp_flags,
    })
}

#[inline(always)]
fn ipv6<F: Frame>(frame: &F, network: usize) -> Result<Packet, PassReason> {
    let header = frame.load::<[u32; 2]>(network).ok_or(PassReason::Malformed)?;
    let addresses = frame.load::<[u64; 4]>(network + 8).ok_or(PassReason::Malformed)?;
    let [first, second] = header;
    let [source_hi, source_lo, destination_hi, destination_lo] = addresses;
    if (first as u8) >> 4 != 6 {
        return Err(PassReason::Malformed);
    }
    let payload = u16::from_be(second as u16);
    let Some(length) = payload.checked_add(IPV6 as u16) else { return Err(PassReason::Malformed) };
    let source = Address { hi: source_hi, lo: source_lo };
    let destination = Address { hi: destination_hi, lo: destination_lo };
    // The tables keep IPv4 addresses in their mapped form; a packet that carries it must not find an IPv4 service.
    if source.is_ipv4() || destination.is_ipv4() {
        return Err(PassReason::Malformed);
    }
    let (protocol, transport_offset) = extensions(frame, (second >> 16) as u8, network + IPV6)?;
    let (ports, tcp_flags) = transport(frame, network, transport_offset, length, protocol)?;
    Ok(Packet {
        key: ConnectionKey::new(source, destination, ports, protocol),
        network: network as u16,
        transport: transport_offset as u16,
        length,
        ttl: (second >> 24) as u8,
        tos: (((first as u8) << 4) | ((first >> 12) as u8 & 0x0f)),
        ipv4: false,
        tcp_flags,
    })
}

/// Follows the chain of extension headers (RFC 8200, 4) to the transport header.
#[inline(always)]
fn extensions<F: Frame>(frame: &F, first: u8, mut offset: usize) -> Result<(u8, usize), PassReason> {
    let mut next = first;
    for _ in 0..MAX_EXTENSIONS {
        match next {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => {}
            FRAGMENT => return Err(PassReason::Fragment),
            _ => return Ok((next, offset)),
        }
        let header = frame.load::<u16>(offset).ok_or(PassReason::Malformed)?;
        next = header as u8;
        offset += (((header >> 8) as usize) + 1) * 8;
        if offset > MAX_TRANSPORT {
            return Err(PassReason::ExtensionHeaders);
        }
    }
    match next {
        TCP | UDP => Ok((next, offset)),
        _ => Err(PassReason::ExtensionHeaders),
    }
}

/// A transport header that begins later than this is left to the host.
const MAX_TRANSPORT: usize = 160;

/// Reads ports and flags.
#[inline(always)]
fn transport<F: Frame>(
    frame: &F,
    network: usize,
    offset: usize,
    length: u16,
    protocol: u8,
) -> Result<(u32, u8), PassReason> {
    let header_length = match protocol {
        TCP => 20,
        UDP => 8,
        _ => return Err(PassReason::NotTcpUdp),
    };
    let end = network + length as usize;
    if offset + header_length > end || end > frame.len() {
        return Err(PassReason::Malformed);
    }
    let ports = frame.load::<u32>(offset).ok_or(PassReason::Malformed)?;
    if protocol == UDP {
        return Ok((ports, 0));
    }
    let flags = frame.load::<u8>(offset + 13).ok_or(PassReason::Malformed)?;
    Ok((ports, flags))
}
