//! What the kernel tells, free of netlink's encoding: the input of the table.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Kernel index.
    pub ifindex: u32,
    /// Kernel name.
    pub name: String,
    /// MAC address; None for devices that carry no Ethernet frames (loopback, tun, ppp).
    pub mac: Option<[u8; 6]>,
    /// Administratively up and with carrier (IFF_UP and IFF_RUNNING, netdevice(7)).
    pub up: bool,
    /// MTU in bytes.
    pub mtu: u32,
    /// What sort of device it is.
    pub kind: LinkKind,
}

/// Kinds of device that make a difference to who sends through them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkKind {
    /// Hardware: the kernel names no kind.
    Physical,
    /// A VLAN on another device.
    Vlan {
        /// VLAN identifier.
        id: u16,
        /// EtherType of the tag, host byte order.
        protocol: u16,
        /// Index of the device below.
        lower: u32,
    },
    /// Any other software device, by the kernel's name for it (`veth`, `bond`, `bridge`, ...).
    Other(String),
}

/// An address of the director.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// Interface that holds it.
    pub ifindex: u32,
    /// The address.
    pub address: IpAddr,
    /// Length of its prefix in bits.
    pub prefix_length: u8,
    /// False while duplicate address detection has not passed (RFC 4862 section 5.4).
    pub usable: bool,
}

/// Who a neighbour is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NeighbourKey {
    /// Interface of the link.
    pub ifindex: u32,
    /// Address on the link.
    pub address: IpAddr,
}

/// An entry of the kernel's neighbour table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// Who.
    pub key: NeighbourKey,
    /// MAC address, where the kernel has one.
    pub mac: Option<[u8; 6]>,
    /// How far to trust it.
    pub state: NeighbourState,
}

/// States of a neighbour entry (RFC 4861 section 7.3.2 and rtnetlink(7)); IPv4 has the same in Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NeighbourState {
    /// Asked for, no answer yet.
    Incomplete,
    /// Confirmed lately.
    Reachable,
    /// Not confirmed lately.
    Stale,
    /// Used while stale; a probe follows.
    Delay,
    /// A probe is under way.
    Probe,
    /// Does not answer.
    Failed,
    /// Needs no resolution.
    NoArp,
    /// Set by the operator.
    Permanent,
    /// No state, or one this program does not know.
    None,
}

/// The kernel's route to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteAnswer {
    /// The address is the director's own.
    Local,
    /// Through an interface.
    Unicast {
        /// Interface index.
        ifindex: u32,
        /// Router; None where the address is on the link.
        gateway: Option<IpAddr>,
        /// Source address the kernel would choose.
        source: Option<IpAddr>,
        /// MTU of the route, where it has one.
        mtu: Option<u32>,
    },
}

/// Why there is no route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteError {
    /// No route matches.
    NoRoute,
    /// A blackhole or prohibit route matches.
    Refused,
    /// Broadcast or multicast.
    NotUnicast,
    /// The answer got lost; the question has to be asked again.
    Lost,
}

/// An address prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// Any address in the prefix.
    pub address: IpAddr,
    /// Length in bits; more than the family has means the one address.
    pub length: u8,
}

impl Prefix {
    /// First and last address.
    #[must_use]
    pub fn bounds(&self) -> RangeInclusive<IpAddr> {
        match self.address {
            IpAddr::V4(address) => {
                let host = u32::MAX.checked_shr(u32::from(self.length)).unwrap_or(0);
                let first = u32::from(address) & !host;
                IpAddr::V4(Ipv4Addr::from(first))..=IpAddr::V4(Ipv4Addr::from(first | host))
            }
            IpAddr::V6(address) => {
                let host = u128::MAX.checked_shr(u32::from(self.length)).unwrap_or(0);
                let first = u128::from(address) & !host;
                IpAddr::V6(Ipv6Addr::from(first))..=IpAddr::V6(Ipv6Addr::from(first | host))
            }
        }
    }
}

/// A change the kernel announces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A new or changed interface.
    Link(Link),
    /// The interface with this index is gone.
    LinkRemoved(u32),
    /// A new or changed address.
    Address(Address),
    /// An address is gone.
    AddressRemoved(Address),
    /// A new or changed neighbour entry.
    Neighbour(Neighbour),
    /// A neighbour entry is gone.
    NeighbourRemoved(NeighbourKey),
    /// Routes to this prefix changed; None: any route may have (rules, next-hop objects).
    Routes(Option<Prefix>),
}

/// All the kernel knows at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dump {
    /// Interfaces.
    pub links: Vec<Link>,
    /// Addresses of the director.
    pub addresses: Vec<Address>,
    /// Neighbour entries.
    pub neighbours: Vec<Neighbour>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_cover_what_they_should() {
        for (address, length, first, last) in [
            ("10.1.2.3", 8, "10.0.0.0", "10.255.255.255"),
            ("10.1.2.3", 32, "10.1.2.3", "10.1.2.3"),
            ("10.1.2.3", 200, "10.1.2.3", "10.1.2.3"),
            ("10.1.2.3", 0, "0.0.0.0", "255.255.255.255"),
            ("2001:db8:1::5", 32, "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("2001:db8::5", 128, "2001:db8::5", "2001:db8::5"),
            ("::", 0, "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ] {
            let prefix = Prefix { address: address.parse().unwrap(), length };
            let expected: RangeInclusive<IpAddr> = first.parse().unwrap()..=last.parse().unwrap();
            assert_eq!(prefix.bounds(), expected, "{address}/{length}");
        }
    }
}
