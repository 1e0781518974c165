//! Addresses of interfaces.

use std::io;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::request;

/// Gives an interface an address, usable at once; it may have it already.
///
/// # Errors
///
/// The kernel's.
pub fn add_address(ifindex: u32, address: IpAddr, prefix_length: u8) -> io::Result<()> {
    let mut message = message(ifindex, address, prefix_length);
    // Whoever had it before has given it up; duplicate address detection would only wait.
    message.header.flags = AddressHeaderFlags::Nodad;
    request(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE)
}

/// Takes an address from an interface.
///
/// # Errors
///
/// The kernel's; `EADDRNOTAVAIL` where the interface does not have it.
pub fn remove_address(ifindex: u32, address: IpAddr, prefix_length: u8) -> io::Result<()> {
    request(RouteNetlinkMessage::DelAddress(message(ifindex, address, prefix_length)), 0)
}

fn message(ifindex: u32, address: IpAddr, prefix_length: u8) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.prefix_len = prefix_length;
    message.header.scope = AddressScope::Universe;
    message.header.index = ifindex;
    message.attributes = vec![AddressAttribute::Local(address), AddressAttribute::Address(address)];
    message
}
