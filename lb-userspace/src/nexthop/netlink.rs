//! rtnetlink(7) sockets: one for events, one for dumps, one for questions.
//!
//! A socket belongs to the network namespace of the thread that opened it, whichever thread uses it later.

use std::io;
use std::net::IpAddr;

use bytes::BytesMut;
use netlink_packet_core::{
    DecodeError, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REPLACE, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteAttribute, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};

use super::decode;
use super::kernel::{Dump, Event, NeighbourKey};
use crate::netlink::encode;

/// Multicast groups of rtnetlink.h that tell of anything next hops depend on.
const GROUPS: [u32; 9] = [
    libc::RTNLGRP_LINK,
    libc::RTNLGRP_NEIGH,
    libc::RTNLGRP_IPV4_IFADDR,
    libc::RTNLGRP_IPV4_ROUTE,
    libc::RTNLGRP_IPV4_RULE,
    libc::RTNLGRP_IPV6_IFADDR,
    libc::RTNLGRP_IPV6_ROUTE,
    libc::RTNLGRP_IPV6_RULE,
    libc::RTNLGRP_NEXTHOP,
];

/// Larger than any datagram the kernel builds: dumps stop at 32 KiB, a link with hundreds of virtual functions needs
/// a little more.
const DATAGRAM: usize = 256 * 1024;

/// Asked-for receive buffer in bytes; the kernel cuts it to net.core.rmem_max.
const RECEIVE_BUFFER: libc::c_int = 4 * 1024 * 1024;

/// Dumps that raced with changes are repeated this often before one is taken as it is; events mend the rest.
const DUMP_ATTEMPTS: usize = 8;

/// A non-blocking socket to the kernel with its own buffer.
pub(super) struct Channel {
    socket: TokioSocket,
    buffer: BytesMut,
}

impl Channel {
    /// A socket for questions.
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        socket.socket_mut().bind_auto()?;
        socket.socket_ref().connect(&SocketAddr::new(0, 0))?;
        socket.socket_ref().set_rx_buf_sz(RECEIVE_BUFFER)?;
        Ok(Self { socket, buffer: BytesMut::with_capacity(DATAGRAM) })
    }

    /// A socket that hears of every change.
    pub(super) fn subscribe() -> io::Result<Self> {
        let mut channel = Self::open()?;
        for group in GROUPS {
            channel.socket.socket_mut().add_membership(group)?;
        }
        Ok(channel)
    }

    pub(super) async fn send(&self, request: &[u8]) -> io::Result<()> {
        self.socket.send(request).await.map(|_| ())
    }

    /// The next datagram. Dropping the future loses nothing.
    ///
    /// # Errors
    /// ENOBUFS where the kernel had to throw datagrams away.
    pub(super) async fn receive(&mut self) -> io::Result<&[u8]> {
        self.buffer.clear();
        self.socket.recv(&mut self.buffer).await?;
        if self.buffer.len() >= DATAGRAM {
            return Err(io::Error::from_raw_os_error(libc::ENOBUFS));
        }
        Ok(&self.buffer)
    }

    /// Reads all the table wants to know.
    pub(super) async fn dump(&mut self) -> io::Result<Dump> {
        let mut dump = Dump::default();
        for question in [
            RouteNetlinkMessage::GetLink(LinkMessage::default()),
            RouteNetlinkMessage::GetAddress(AddressMessage::default()),
            RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default()),
        ] {
            for event in self.dump_of(question).await? {
                match event {
                    Event::Link(link) => dump.links.push(link),
                    Event::Address(address) => dump.addresses.push(address),
                    Event::Neighbour(neighbour) => dump.neighbours.push(neighbour),
                    _ => {}
                }
            }
        }
        Ok(dump)
    }

    async fn dump_of(&mut self, question: RouteNetlinkMessage) -> io::Result<Vec<Event>> {
        let mut events = Vec::new();
        for sequence in 1..=DUMP_ATTEMPTS as u32 {
            self.send(&encode(question.clone(), NLM_F_DUMP, sequence)).await?;
            events.clear();
            if self.collect(sequence, &mut events).await? {
                break;
            }
        }
        Ok(events)
    }

    /// Reads one dump; false if changes interrupted it.
    async fn collect(&mut self, sequence: u32, events: &mut Vec<Event>) -> io::Result<bool> {
        let mut whole = true;
        loop {
            let datagram = self.receive().await?;
            for message in decode::messages(datagram) {
                let reply = match Reply::decode(message) {
                    Ok(reply) => reply,
                    Err(error) => {
                        tracing::warn!(%error, "a netlink message could not be read");
                        continue;
                    }
                };
                if reply.sequence != sequence {
                    continue;
                }
                whole &= !reply.interrupted;
                match reply.body {
                    Body::Message(inner) => events.extend(decode::inner_event(inner)),
                    Body::Done | Body::Acknowledged => return Ok(whole),
                    Body::Refused(error) => return Err(error),
                }
            }
        }
    }
}

/// One message that answers a request.
pub(super) struct Reply {
    /// The request's number.
    pub(super) sequence: u32,
    pub(super) body: Body,
    interrupted: bool,
}

/// What a reply says.
pub(super) enum Body {
    Message(RouteNetlinkMessage),
    Acknowledged,
    Refused(io::Error),
    Done,
}

impl Reply {
    pub(super) fn decode(message: &[u8]) -> Result<Self, DecodeError> {
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(message)?;
        let body = match message.payload {
            NetlinkPayload::InnerMessage(inner) => Body::Message(inner),
            NetlinkPayload::Error(error) if error.code.is_some() => Body::Refused(error.to_io()),
            NetlinkPayload::Error(_) => Body::Acknowledged,
            _ => Body::Done,
        };
        let NetlinkHeader { sequence_number, flags, .. } = message.header;
        Ok(Self { sequence: sequence_number, body, interrupted: flags & NLM_F_DUMP_INTR != 0 })
    }
}

/// RTM_GETROUTE: the route the kernel would take to `target`.
pub(super) fn route_request(target: IpAddr, sequence: u32) -> Vec<u8> {
    let mut message = RouteMessage::default();
    message.header.address_family = family(target);
    message.header.destination_prefix_length = if target.is_ipv4() { 32 } else { 128 };
    message.attributes.push(RouteAttribute::Destination(target.into()));
    encode(RouteNetlinkMessage::GetRoute(message), 0, sequence)
}

/// RTM_NEWNEIGH that makes the kernel ask for `key`, answered by an acknowledgement.
///
/// Confirming sets the state to PROBE, which sends to the known MAC address at once; NTF_USE alone would wait
/// delay_first_probe_time (5 s, arp(7)) first. Where there is no MAC address only NTF_USE is possible.
pub(super) fn probe_request(key: NeighbourKey, confirm: bool, sequence: u32) -> Vec<u8> {
    let mut message = NeighbourMessage::default();
    message.header.family = family(key.address);
    message.header.ifindex = key.ifindex;
    let destination = match key.address {
        IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
        IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
    };
    message.attributes.push(NeighbourAttribute::Destination(destination));
    let flags = if confirm {
        message.header.state = NeighbourState::Probe;
        NLM_F_REPLACE
    } else {
        message.header.flags = NeighbourFlags::Use;
        NLM_F_CREATE
    };
    encode(RouteNetlinkMessage::NewNeighbour(message), NLM_F_ACK | flags, sequence)
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}
