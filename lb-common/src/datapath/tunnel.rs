//! IP-in-IP encapsulation (RFC 2003, RFC 2473, RFC 4213): any family in any family.

use super::direct::{addresses, decrement_ttl};
use super::forward::Hop;
use super::packet::{ETHERNET, IPV6};
use super::{Frame, Packet};
use crate::checksum::Checksum;
use crate::layout::{DropReason, RealServer};

const IPV4: usize = 20;
/// Protocol numbers of the inner packet.
const IPV4_IN_IP: u8 = 4;
const IPV6_IN_IP: u8 = 41;
const DONT_FRAGMENT: u16 = 0x4000;

/// Puts an outer header in front of the packet. The outer header takes over TTL and type of service of the inner one,
/// as IPVS does; it is never to be fragmented (and so needs no identification, RFC 6864).
#[inline(always)]
pub(super) fn encapsulate<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    server: &RealServer,
    hop: &Hop,
) -> Result<(), DropReason> {
    let destination = server.address();
    let outer_ipv4 = destination.is_ipv4();
    let header = if outer_ipv4 { IPV4 } else { IPV6 };
    let length = packet.length as usize + header;
    if length > hop.mtu as usize {
        return Err(DropReason::TooLarge);
    }
    let network = packet.network as usize;
    let tags = if network == ETHERNET { 0 } else { frame.load::<u64>(12).ok_or(DropReason::Internal)? };
    if outer_ipv4 {
        frame.grow_head(IPV4).ok_or(DropReason::NoHeadroom)?;
    } else {
        frame.grow_head(IPV6).ok_or(DropReason::NoHeadroom)?;
    }
    write(frame, packet, server, hop, tags, length, outer_ipv4).ok_or(DropReason::Internal)?;
    decrement_ttl(frame, packet, header).ok_or(DropReason::Internal)
}

/// Writes Ethernet and outer header.
#[inline(always)]
fn write<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    server: &RealServer,
    hop: &Hop,
    tags: u64,
    length: usize,
    outer_ipv4: bool,
) -> Option<()> {
    let network = packet.network as usize;
    addresses(frame, hop)?;
    if network != ETHERNET {
        // The tags end in the inner ethertype, which is overwritten below.
        frame.store(12, tags)?;
    }
    frame.store(network - 2, if outer_ipv4 { 0x0800u16.to_be() } else { 0x86ddu16.to_be() })?;
    let ttl = packet.ttl.wrapping_sub(1);
    let inner = if packet.ipv4 { IPV4_IN_IP } else { IPV6_IN_IP };
    if outer_ipv4 {
        let first = 0x45 | (u32::from(packet.tos) << 8) | (u32::from((length as u16).to_be()) << 16);
        let second = u32::from(DONT_FRAGMENT.to_be()) << 16;
        let third = u32::from(ttl) | (u32::from(inner) << 8);
        let (source, destination) = (server.source().ipv4(), server.address().ipv4());
        let sum = Checksum::zero().add(first).add(second).add(third).add(source).add(destination).finish();
        frame.store(network, [first, second, third | (u32::from(sum) << 16), source, destination])
    } else {
        let class = (0x6000_0000 | (u32::from(packet.tos) << 20)).to_be();
        let second =
            u32::from(((length - IPV6) as u16).to_be()) | (u32::from(inner) << 16) | (u32::from(ttl) << 24);
        frame.store(network, [class, second])?;
        let (source, destination) = (server.source(), server.address());
        frame.store(network + 8, [source.hi, source.lo, destination.hi, destination.lo])
    }
}
