//! The network around the director: interfaces, next hops, routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::layout::NextHop;

/// Interface that frames come in by unless a row says otherwise.
pub(crate) const INGRESS: u32 = 10;
/// Another interface of the director.
pub(crate) const EAST: u32 = 11;
/// An interface that the director's configuration does not name.
pub(crate) const WEST: u32 = 12;

/// MAC address of one of the director's interfaces.
pub(crate) fn own_mac(ifindex: u32) -> [u8; 6] {
    [2, 0, 0, 0, 0, ifindex as u8]
}

/// MAC address of the router behind one of the director's interfaces.
pub(crate) fn gateway_mac(ifindex: u32) -> [u8; 6] {
    [2, 0, 0, 0, 0xfe, ifindex as u8]
}

/// MAC address by which a real server with a known next hop is reached.
pub(crate) fn server_mac(slot: u32) -> [u8; 6] {
    [2, 0, 0, 1, (slot >> 8) as u8, slot as u8]
}

/// The kernel's routes, each through the router behind an interface: IPv4 prefixes of 24 bits, IPv6 ones of 64.
pub(crate) const ROUTES: [(&str, &str, u32); 4] = [
    ("198.18.0.0", "2001:db8:c:0::", INGRESS),
    ("198.18.1.0", "2001:db8:c:1::", EAST),
    ("198.18.2.0", "2001:db8:c:2::", WEST),
    ("10.1.1.0", "fd01:1::", INGRESS),
];

/// What the kernel's routes say of a destination.
pub(crate) fn route(destination: IpAddr) -> Option<NextHop> {
    let through = ROUTES.iter().find(|(v4, v6, _)| match destination {
        IpAddr::V4(address) => {
            address.octets()[..3] == v4.parse::<Ipv4Addr>().expect("an address").octets()[..3]
        }
        IpAddr::V6(address) => {
            address.segments()[..4] == v6.parse::<Ipv6Addr>().expect("an address").segments()[..4]
        }
    });
    through.map(|&(.., ifindex)| NextHop {
        ifindex,
        destination_mac: gateway_mac(ifindex),
        source_mac: own_mac(ifindex),
        mtu: u16::MAX,
    })
}
