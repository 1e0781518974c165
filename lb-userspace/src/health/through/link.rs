//! The veth pair between the host and the network namespace of the checks, by rtnetlink(7).
//!
//! Every function works in the network namespace of the calling thread.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::netlink::request;

// linux/ethtool.h, linux/sockios.h
const ETHTOOL_STXCSUM: u32 = 0x17;
const ETHTOOL_STSO: u32 = 0x1f;
const ETHTOOL_SGRO: u32 = 0x2c;
const SIOCETHTOOL: u16 = 0x8946;

/// One end of the pair.
#[derive(Debug, Clone, Copy)]
pub(super) struct End<'a> {
    /// Name of the interface.
    pub(super) name: &'a str,
    /// MAC address.
    pub(super) mac: [u8; 6],
}

/// Makes the pair, the outer end here and the inner one in `namespace`.
pub(super) fn make_pair(outer: End<'_>, inner: End<'_>, namespace: BorrowedFd<'_>) -> io::Result<()> {
    let mut peer = LinkMessage::default();
    peer.attributes = vec![
        LinkAttribute::IfName(inner.name.to_owned()),
        LinkAttribute::Address(inner.mac.to_vec()),
        LinkAttribute::NetNsFd(namespace.as_raw_fd()),
    ];
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(outer.name.to_owned()),
        LinkAttribute::Address(outer.mac.to_vec()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]),
    ];
    request(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// Brings an interface up; without `arp` it asks nobody for MAC addresses.
pub(super) fn bring_up(index: u32, arp: bool) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    let no_arp = if arp { LinkFlags::empty() } else { LinkFlags::Noarp };
    message.header.flags = LinkFlags::Up | no_arp;
    message.header.change_mask = LinkFlags::Up | no_arp;
    request(RouteNetlinkMessage::SetLink(message), 0)
}

/// Sends everything of a family out of an interface.
pub(super) fn add_default_route(index: u32, family: AddressFamily) -> io::Result<()> {
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    message.header.table = libc::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.scope = RouteScope::Link;
    message.header.kind = RouteType::Unicast;
    message.attributes = vec![RouteAttribute::Oif(index)];
    request(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_REPLACE)
}

/// Makes the inner end a fit peer of an XDP program: packets leave with whole checksums and one by one, and packets that
/// XDP redirects to it are polled (a veth end polls only with GRO or a program of its own; drivers/net/veth.c).
pub(super) fn face_xdp(name: &str) -> io::Result<()> {
    for (command, value) in [(ETHTOOL_STXCSUM, 0), (ETHTOOL_STSO, 0), (ETHTOOL_SGRO, 1)] {
        set_offload(name, command, value)?;
    }
    Ok(())
}

/// `struct ethtool_value`.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

fn set_offload(name: &str, command: u32, data: u32) -> io::Result<()> {
    let mut value = EthtoolValue { command, data };
    // SAFETY: all-zero bytes are a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let (room, _) = request.ifr_name.split_at_mut(libc::IFNAMSIZ - 1);
    for (to, from) in room.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: `request` names the interface and points to `value`; both outlive the call.
    match unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), SIOCETHTOOL.into(), &raw mut request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
