//! The real server's end of a tunnel, for kernels without an ipip device: takes the outer header off.

use super::Frame;
use super::packet::{ETHERNET, IPV6};
use crate::layout::Address;

const IPV4: usize = 20;
const IPV4_IN_IP: u8 = 4;
const IPV6_IN_IP: u8 = 41;

/// What was done with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decapsulation {
    /// Nothing: no tunnel packet, or none for an accepted address.
    Untouched,
    /// The outer header is gone.
    Done,
    /// The frame could not be changed and must not go on.
    Failed,
}

/// Takes the outer header off an IP-in-IP packet whose inner destination is `accepted`; everything else stays as it
/// is, so that nobody can smuggle packets for other addresses past a filter on the outer header.
#[inline(always)]
pub fn decapsulate<F: Frame>(frame: &mut F, accepted: impl Fn(Address) -> bool) -> Decapsulation {
    let Some((header, inner_ipv4)) = tunnel_header(frame) else { return Decapsulation::Untouched };
    let Some(destination) = inner_destination(frame, ETHERNET + header, inner_ipv4) else {
        return Decapsulation::Untouched;
    };
    if !accepted(destination) {
        return Decapsulation::Untouched;
    }
    match strip(frame, header, inner_ipv4) {
        Some(()) => Decapsulation::Done,
        None => Decapsulation::Failed,
    }
}

/// Length of the outer header, and whether the inner packet is IPv4.
#[inline(always)]
fn tunnel_header<F: Frame>(frame: &F) -> Option<(usize, bool)> {
    let (header, protocol) = match frame.load::<u16>(12)?.to_be() {
        0x0800 => {
            // Options on an outer header are nothing a director sends.
            if frame.load::<u8>(ETHERNET)? != 0x45 || frame.load::<u16>(ETHERNET + 6)?.to_be() & 0x3fff != 0 {
                return None;
            }
            (IPV4, frame.load::<u8>(ETHERNET + 9)?)
        }
        0x86dd => (IPV6, frame.load::<u8>(ETHERNET + 6)?),
        _ => return None,
    };
    match protocol {
        IPV4_IN_IP => Some((header, true)),
        IPV6_IN_IP => Some((header, false)),
        _ => None,
    }
}

#[inline(always)]
fn inner_destination<F: Frame>(frame: &F, network: usize, ipv4: bool) -> Option<Address> {
    let version = frame.load::<u8>(network)? >> 4;
    if ipv4 {
        let raw = frame.load::<u32>(network + 16)?;
        (version == 4).then(|| Address::from_ipv4(raw))
    } else {
        let [hi, lo] = frame.load::<[u64; 2]>(network + 24)?;
        (version == 6).then_some(Address { hi, lo })
    }
}

#[inline(always)]
fn strip<F: Frame>(frame: &mut F, header: usize, inner_ipv4: bool) -> Option<()> {
    let head = frame.load::<u64>(0)?;
    let tail = frame.load::<u32>(8)?;
    if header == IPV4 {
        frame.shrink_head(IPV4)?;
    } else {
        frame.shrink_head(IPV6)?;
    }
    frame.store(0, head)?;
    frame.store(8, tail)?;
    frame.store(12, if inner_ipv4 { 0x0800u16.to_be() } else { 0x86ddu16.to_be() })
}
