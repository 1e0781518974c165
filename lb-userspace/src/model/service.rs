//! Virtual services and real servers, in the words of IPVS.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// Transport protocol of a virtual service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP, IP protocol 6.
    Tcp,
    /// UDP, IP protocol 17.
    Udp,
}

impl Protocol {
    /// IP protocol number (IANA).
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// What identifies a virtual service: address, port and protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ServiceKey {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Virtual IP address.
    pub address: IpAddr,
    /// Port in host byte order; 0 matches every port of the address.
    pub port: u16,
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", SocketAddr::new(self.address, self.port), self.protocol)
    }
}

/// How packets reach a real server (`ipvsadm -g`, `-i`, `-m`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ForwardingMethod {
    /// Direct routing: only the Ethernet addresses change; the real server owns the VIP on a non-ARPing device.
    Dr,
    /// IP-in-IP tunnel; the families of VIP and real server may differ.
    Tunnel,
    /// Network address translation; replies pass through the director.
    Nat,
}

/// Which flow properties a source-hashing scheduler (sh, mh) uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct SourceHashFlags {
    /// Include the source port (`sh-port`, `mh-port`).
    pub port: bool,
}

/// How a real server is chosen for a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "name")]
pub enum Scheduler {
    /// Round robin; weights only matter when 0.
    Rr,
    /// Weighted round robin in IPVS's interleaved order.
    Wrr,
    /// Least connection.
    Lc,
    /// Weighted least connection (the default, as in ipvsadm).
    Wlc,
    /// Source hash.
    Sh(SourceHashFlags),
    /// Maglev hash; `table_size` is a prime.
    Mh {
        /// Which flow properties are hashed.
        flags: SourceHashFlags,
        /// Number of slots of the look-up table, one of [`lb_common::sched::maglev::TABLE_SIZES`].
        table_size: u32,
    },
}

impl Scheduler {
    /// The short name of ipvsadm: `rr`, `wrr`, `lc`, `wlc`, `sh`, `mh`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rr => "rr",
            Self::Wrr => "wrr",
            Self::Lc => "lc",
            Self::Wlc => "wlc",
            Self::Sh(_) => "sh",
            Self::Mh { .. } => "mh",
        }
    }
}

/// One real server of a virtual service; identified by address and port within its service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RealServer {
    /// Address of the server.
    pub address: IpAddr,
    /// Port in host byte order; for direct routing and tunnels always the port of the service.
    pub port: u16,
    /// Weight; 0 quiesces: no new connections, live ones go on.
    pub weight: u32,
    /// How packets reach it.
    pub forwarding: ForwardingMethod,
}

/// A virtual service and its real servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualService {
    /// Address, port, protocol.
    pub key: ServiceKey,
    /// Name for logs and metrics; the key's text where the operator gave none.
    pub name: String,
    /// How a real server is chosen.
    pub scheduler: Scheduler,
    /// Real servers in the order of the file.
    pub real_servers: Vec<RealServer>,
}
