//! The answer for one real server.

use std::fmt;
use std::net::IpAddr;

/// Where frames for an address go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// The address is the director's own: packets belong to the local stack.
    Local,
    /// Frames leave through an Ethernet interface.
    Via(NextHop),
    /// Nothing can be sent at the moment.
    Unresolved(Reason),
}

/// Everything an Ethernet frame (and the outer header of a tunnel) needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextHop {
    /// Kernel index of the interface the route names. For a VLAN interface see [`NextHop::vlan`].
    pub ifindex: u32,
    /// Kernel name of that interface.
    pub interface: String,
    /// Router on the way, or the address itself where it is on the link. It may be of the other family
    /// (IPv4 through an IPv6 router, RFC 5549).
    pub gateway: IpAddr,
    /// MAC address of the interface: the frame's source.
    pub source_mac: [u8; 6],
    /// MAC address of the gateway: the frame's destination.
    pub mac: [u8; 6],
    /// Local address the kernel would send from: the outer source of a tunnel. None where the director has no
    /// address of that family.
    pub source: Option<IpAddr>,
    /// Largest IP packet in bytes: the interface's, or the route's where that is smaller.
    pub mtu: u32,
    /// Set where the interface is a VLAN device: who sends through the device below has to add the tag.
    pub vlan: Option<Vlan>,
}

/// Tag and lower device of a VLAN interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vlan {
    /// VLAN identifier, 1 to 4094.
    pub id: u16,
    /// EtherType of the tag in host byte order: 0x8100 (802.1Q) or 0x88a8 (802.1ad).
    pub protocol: u16,
    /// Kernel index of the device below, which may be a VLAN interface itself.
    pub lower: u32,
}

/// Why an address cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Asked and not yet answered.
    Resolving,
    /// The routing table has no route.
    NoRoute,
    /// The route is a blackhole or prohibit route.
    Refused,
    /// The address is a broadcast or multicast address.
    NotUnicast,
    /// The route's interface is administratively down or has no carrier.
    LinkDown {
        /// Name of the interface.
        interface: String,
    },
    /// The route's interface does not carry Ethernet frames (tun, ppp, loopback).
    NotEthernet {
        /// Name of the interface.
        interface: String,
    },
    /// The gateway answers neither ARP nor neighbour solicitations.
    NoNeighbour {
        /// Name of the interface.
        interface: String,
        /// Who was asked for.
        gateway: IpAddr,
    },
    /// The kernel's neighbour table has no room for the gateway.
    NeighbourTableFull {
        /// Name of the interface.
        interface: String,
        /// Who was asked for.
        gateway: IpAddr,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolving => f.write_str("not resolved yet"),
            Self::NoRoute => f.write_str("no route"),
            Self::Refused => f.write_str("the route is a blackhole or prohibit route"),
            Self::NotUnicast => f.write_str("a broadcast or multicast address"),
            Self::LinkDown { interface } => write!(f, "interface {interface} is down"),
            Self::NotEthernet { interface } => {
                write!(f, "interface {interface} does not carry Ethernet frames")
            }
            Self::NoNeighbour { interface, gateway } => {
                write!(f, "{gateway} does not answer on {interface}")
            }
            Self::NeighbourTableFull { interface, gateway } => write!(
                f,
                "the kernel's neighbour table has no room for {gateway} on {interface} (raise sysctl \
                 net.{}.neigh.default.gc_thresh2 and gc_thresh3)",
                if gateway.is_ipv4() { "ipv4" } else { "ipv6" }
            ),
        }
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.mac;
        write!(f, "{} at {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}", self.gateway)?;
        write!(f, " through {}", self.interface)
    }
}

impl fmt::Display for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Via(next_hop) => next_hop.fmt(f),
            Self::Unresolved(reason) => write!(f, "unresolved: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_read_who_and_where() {
        let next_hop = NextHop {
            ifindex: 3,
            interface: "eth1".to_owned(),
            gateway: "192.0.2.1".parse().unwrap(),
            source_mac: [2; 6],
            mac: [0x02, 0, 0x5e, 0x10, 0, 0xff],
            source: None,
            mtu: 1500,
            vlan: None,
        };
        assert_eq!(Resolution::Via(next_hop).to_string(), "192.0.2.1 at 02:00:5e:10:00:ff through eth1");
        let reason =
            Reason::NoNeighbour { interface: "eth1".to_owned(), gateway: "2001:db8::1".parse().unwrap() };
        assert_eq!(
            Resolution::Unresolved(reason).to_string(),
            "unresolved: 2001:db8::1 does not answer on eth1"
        );
    }

    #[test]
    fn a_full_neighbour_table_names_the_sysctl_of_the_right_family() {
        let text = |gateway: &str| {
            Reason::NeighbourTableFull { interface: "eth0".to_owned(), gateway: gateway.parse().unwrap() }
                .to_string()
        };
        assert!(text("192.0.2.1").contains("net.ipv4.neigh.default.gc_thresh2"));
        assert!(text("2001:db8::1").contains("net.ipv6.neigh.default.gc_thresh2"));
    }
}
