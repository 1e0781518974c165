//! Direct routing: new Ethernet addresses, one hop less to live.

use super::forward::Hop;
use super::{Frame, Packet};
use crate::checksum::Checksum;
use crate::layout::DropReason;

/// Rewrites the Ethernet addresses and counts the hop.
#[inline(always)]
pub(super) fn rewrite<F: Frame>(frame: &mut F, packet: &Packet, hop: &Hop) -> Result<(), DropReason> {
    addresses(frame, hop).ok_or(DropReason::Internal)?;
    decrement_ttl(frame, packet, 0).ok_or(DropReason::Internal)
}

/// Writes the Ethernet addresses at the front of the frame.
#[inline(always)]
pub(super) fn addresses<F: Frame>(frame: &mut F, hop: &Hop) -> Option<()> {
    frame.store(0, hop.head)?;
    frame.store(8, hop.tail)
}

/// Takes one off the TTL (RFC 1812, 5.3.1) or hop limit; `shift` is how far the header has moved since it was parsed.
#[inline(always)]
pub(super) fn decrement_ttl<F: Frame>(frame: &mut F, packet: &Packet, shift: usize) -> Option<()> {
    let network = packet.network as usize + shift;
    if packet.ipv4 {
        // TTL, protocol and checksum are one aligned word of the header.
        let old = frame.load::<u32>(network + 8)?;
        let new = old.wrapping_sub(1);
        let checksum = Checksum::update((old >> 16) as u16).remove(old & 0xffff).add(new & 0xffff).finish();
        frame.store(network + 8, (new & 0xffff) | (u32::from(checksum) << 16))
    } else {
        frame.store(network + 7, packet.ttl.wrapping_sub(1))
    }
}
