//! Interfaces.

use std::io;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoMacVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, MacVlanMode,
};

use super::request;

/// Makes a macvlan device in bridge mode on top of another interface: a MAC address of its own on the same link.
///
/// In private mode the kernel takes multicast frames that come from outside with the device's own MAC address away from the
/// lower interface (macvlan_handle_frame() in drivers/net/macvlan.c), and those are the advertisements of the router that
/// takes the address over.
///
/// # Errors
///
/// The kernel's; `EEXIST` where there is an interface of this name.
pub fn make_macvlan(name: &str, lower: u32, mac: [u8; 6]) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Address(mac.to_vec()),
        LinkAttribute::Link(lower),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::MacVlan),
            LinkInfo::Data(InfoData::MacVlan(vec![InfoMacVlan::Mode(MacVlanMode::Bridge)])),
        ]),
    ];
    request(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// Brings an interface up or down.
///
/// # Errors
///
/// The kernel's.
pub fn set_up(index: u32, up: bool) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
    message.header.change_mask = LinkFlags::Up;
    request(RouteNetlinkMessage::SetLink(message), 0)
}

/// Removes an interface, and with it the other end of a pair.
///
/// # Errors
///
/// The kernel's; `ENODEV` where there is none.
pub fn remove_link(index: u32) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    request(RouteNetlinkMessage::DelLink(message), 0)
}
