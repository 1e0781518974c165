//! Network address translation: the destination of requests, the source of replies.

use super::direct::{addresses, decrement_ttl};
use super::forward::Hop;
use super::packet::UDP;
use super::{Frame, Packet};
use crate::checksum::Checksum;
use crate::layout::{Address, DropReason, RealServer};

/// Which end of the packet is translated.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Source,
    Destination,
}

/// Sends a client's packet to the real server's address and port.
#[inline(always)]
pub(super) fn to_server<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    server: &RealServer,
    hop: &Hop,
) -> Result<(), DropReason> {
    translate(frame, packet, End::Destination, packet.key.destination, server.address(), server.port())
        .ok_or(DropReason::Internal)?;
    addresses(frame, hop).ok_or(DropReason::Internal)?;
    decrement_ttl(frame, packet, 0).ok_or(DropReason::Internal)
}

/// Gives a real server's reply the virtual address and port.
#[inline(always)]
pub(super) fn from_server<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    server: &RealServer,
) -> Result<(), DropReason> {
    translate(frame, packet, End::Source, packet.key.source, server.source(), server.virtual_port())
        .ok_or(DropReason::Internal)
}

/// Replaces an address and, unless `port` is 0, its port; mends both checksums by difference.
#[inline(always)]
fn translate<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    end: End,
    old: Address,
    new: Address,
    port: u16,
) -> Option<()> {
    let network = packet.network as usize;
    let transport = packet.transport as usize;
    let old_port = match end {
        End::Source => packet.key.source_port(),
        End::Destination => packet.key.destination_port(),
    };
    let new_port = if port == 0 { old_port } else { port };
    let checksum_offset = transport + if packet.key.protocol == UDP { 6 } else { 16 };
    let field = frame.load::<u16>(checksum_offset)?;
    let sum = Checksum::update(field).remove(u32::from(old_port)).add(u32::from(new_port));
    let sum = if packet.ipv4 {
        let at = network + if end == End::Source { 12 } else { 16 };
        frame.store(at, new.ipv4())?;
        let header = frame.load::<u16>(network + 10)?;
        frame.store(network + 10, Checksum::update(header).remove(old.ipv4()).add(new.ipv4()).finish())?;
        sum.remove(old.ipv4()).add(new.ipv4())
    } else {
        let at = network + if end == End::Source { 8 } else { 24 };
        frame.store(at, [new.hi, new.lo])?;
        sum.remove_u64(old.hi).remove_u64(old.lo).add_u64(new.hi).add_u64(new.lo)
    };
    frame.store(transport + if end == End::Source { 0 } else { 2 }, new_port)?;
    if packet.key.protocol != UDP {
        return frame.store(checksum_offset, sum.finish());
    }
    // A sender may leave the UDP checksum out over IPv4 (RFC 768); then there is none to mend.
    if field != 0 {
        frame.store(checksum_offset, sum.finish_udp())?;
    }
    Some(())
}
