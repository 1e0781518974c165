//! Sending a packet to its real server, or a reply to its client.

use super::packet::ETHERNET;
use super::verdict::{drop, pass};
use super::{Frame, Packet, Tables, Verdict, direct, event, nat, tunnel};
use crate::layout::{DropReason, Event, Method, NextHop, PassReason, RealServer};

/// Where a frame goes, as it is written into it.
#[derive(Clone, Copy)]
pub(super) struct Hop {
    /// Outgoing interface.
    pub(super) ifindex: u32,
    /// First eight bytes of the Ethernet header.
    pub(super) head: u64,
    /// Next four bytes.
    pub(super) tail: u32,
    /// MTU of the outgoing interface.
    pub(super) mtu: u16,
}

impl From<NextHop> for Hop {
    #[inline(always)]
    fn from(hop: NextHop) -> Self {
        let [d0, d1, d2, d3, d4, d5] = hop.destination_mac;
        let [s0, s1, s2, s3, s4, s5] = hop.source_mac;
        Self {
            ifindex: hop.ifindex,
            head: u64::from_ne_bytes([d0, d1, d2, d3, d4, d5, s0, s1]),
            tail: u32::from_ne_bytes([s2, s3, s4, s5]),
            mtu: hop.mtu,
        }
    }
}

/// Forwards a packet of a connection to `slot`, or, if `reverse`, its reply to the client. Whoever calls has seen that the
/// slot is not standby; should it be by now, the packet goes out as if it had come a moment before.
#[inline(always)]
pub(super) fn forward<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    packet: &Packet,
    server: &RealServer,
    slot: u32,
    reverse: bool,
) -> Verdict {
    if let Some(traffic) = tables.traffic(slot) {
        if reverse {
            traffic.outward(u64::from(packet.length));
        } else {
            traffic.inward(u64::from(packet.length));
        }
    }
    let method = server.method();
    match method {
        Method::Removed => return drop(tables, DropReason::RemovedRealServer),
        Method::Local => return pass(tables, PassReason::Local),
        _ => {}
    }
    if packet.ttl <= 1 {
        return drop(tables, DropReason::TtlExceeded);
    }
    if reverse {
        return reply(frame, tables, packet, server);
    }
    let hop = match server.ifindex() {
        0 => match looked_up(tables, packet, server, frame.ingress()) {
            Some(hop) => hop,
            None => return drop(tables, DropReason::NoNextHop),
        },
        ifindex => {
            let (head, tail) = server.ethernet();
            Hop { ifindex, head, tail, mtu: server.mtu() }
        }
    };
    // The tags stay as they are: they are right only where the frame goes back to the trunk that it came from.
    if packet.network as usize != ETHERNET && hop.ifindex != frame.ingress() {
        return drop(tables, DropReason::VlanCrossing);
    }
    let done = match method {
        Method::Tunnel => tunnel::encapsulate(frame, packet, server, &hop),
        Method::Nat => nat::to_server(frame, packet, server, &hop),
        _ => direct::rewrite(frame, packet, &hop),
    };
    match done {
        Ok(()) => leave(frame, hop.ifindex),
        Err(reason) => drop(tables, reason),
    }
}

#[inline(always)]
fn leave<F: Frame>(frame: &F, ifindex: u32) -> Verdict {
    if ifindex == frame.ingress() { Verdict::Transmit } else { Verdict::Redirect(ifindex) }
}

/// The kernel's answer, for a real server whose slot does not know its next hop yet.
#[inline(always)]
fn looked_up<T: Tables>(tables: &T, packet: &Packet, server: &RealServer, ingress: u32) -> Option<Hop> {
    event(tables, Event::FibLookup);
    let source = match server.method() {
        Method::Tunnel => server.source(),
        _ => packet.key.source,
    };
    Some(tables.route(source, server.address(), ingress)?.hop.into())
}

/// Translates a reply back and sends it to the client. Clients are anywhere, so their next hop is the kernel's to
/// know; where it does not, it gets the translated packet and finds out.
#[inline(always)]
fn reply<F: Frame, T: Tables>(frame: &mut F, tables: &T, packet: &Packet, server: &RealServer) -> Verdict {
    let route = tables.route(server.source(), packet.key.destination, frame.ingress());
    if let Err(reason) = nat::from_server(frame, packet, server) {
        return drop(tables, reason);
    }
    let Some(route) = route else { return pass(tables, PassReason::ReplyUnrouted) };
    let hop = Hop::from(route.hop);
    if packet.network as usize != ETHERNET && hop.ifindex != frame.ingress() {
        return pass(tables, PassReason::ReplyUnrouted);
    }
    match direct::rewrite(frame, packet, &hop) {
        Ok(()) => leave(frame, hop.ifindex),
        Err(reason) => drop(tables, reason),
    }
}
