//! Virtual services and real servers, in the words of IPVS.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::{RealServerHealth, ServiceHealth};

/// Most real servers of a service with a load scheduler (lc, wlc, sed, nq, ovf): these compare the counters of every real server for
/// each new connection, inside the XDP program, whose loops are bounded.
pub const MAX_LOAD_SCHEDULED: usize = 1024;

/// Largest weight; IPVS keeps weights in a signed 32-bit integer.
pub const MAX_WEIGHT: u32 = i32::MAX as u32;

/// A real server's `share` outside a slow start.
pub const FULL_SHARE: u8 = 16;

/// Slots of a Maglev table where the operator gives none. More than IPVS's 4093: with several hundred real servers the
/// load stays even, and fewer flows move when one leaves, for 256 KiB per service.
pub const DEFAULT_MAGLEV_TABLE_SIZE: u32 = 65_521;

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
    /// Names in configuration files and output.
    pub const NAMES: [&'static str; 2] = ["tcp", "udp"];

    /// The protocol with one of [`Self::NAMES`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "tcp" => Some(Self::Tcp),
            "udp" => Some(Self::Udp),
            _ => None,
        }
    }

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

impl ForwardingMethod {
    /// Names in configuration files and output.
    pub const NAMES: [&'static str; 3] = ["dr", "tunnel", "nat"];

    /// The forwarding method with one of [`Self::NAMES`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "dr" => Some(Self::Dr),
            "tunnel" => Some(Self::Tunnel),
            "nat" => Some(Self::Nat),
            _ => None,
        }
    }

    /// The name in [`Self::NAMES`].
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dr => "dr",
            Self::Tunnel => "tunnel",
            Self::Nat => "nat",
        }
    }
}

impl fmt::Display for ForwardingMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which flow properties a source-hashing scheduler (sh, mh) uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct SourceHashFlags {
    /// Include the source port (`sh-port`, `mh-port`).
    pub port: bool,
    /// Of sh: what a real server without weight would get goes to another one (`sh-fallback`).
    #[serde(default)]
    pub fallback: bool,
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
    /// Shortest expected delay.
    Sed,
    /// Never queue: an idle real server, or else as sed.
    Nq,
    /// Overflow: the highest weight that its active connections do not exceed.
    Ovf,
    /// Fail-over: the highest weight alone.
    Fo,
    /// Destination hash.
    Dh,
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
    /// Short names, those of ipvsadm.
    pub const NAMES: [&'static str; 11] =
        ["rr", "wrr", "lc", "wlc", "sh", "mh", "sed", "nq", "fo", "ovf", "dh"];

    /// The scheduler with one of [`Self::NAMES`], its flags and table size at their defaults.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "rr" => Some(Self::Rr),
            "wrr" => Some(Self::Wrr),
            "lc" => Some(Self::Lc),
            "wlc" => Some(Self::Wlc),
            "sed" => Some(Self::Sed),
            "nq" => Some(Self::Nq),
            "ovf" => Some(Self::Ovf),
            "fo" => Some(Self::Fo),
            "dh" => Some(Self::Dh),
            "sh" => Some(Self::Sh(SourceHashFlags::default())),
            "mh" => {
                Some(Self::Mh { flags: SourceHashFlags::default(), table_size: DEFAULT_MAGLEV_TABLE_SIZE })
            }
            _ => None,
        }
    }

    /// Whether each new connection compares live counters of all real servers ([`MAX_LOAD_SCHEDULED`] applies).
    #[must_use]
    pub fn is_load_scheduler(self) -> bool {
        matches!(self, Self::Lc | Self::Wlc | Self::Sed | Self::Nq | Self::Ovf)
    }

    /// Whether weights other than 0 make no difference.
    #[must_use]
    pub fn ignores_weights(self) -> bool {
        matches!(self, Self::Rr | Self::Lc | Self::Dh)
    }

    /// The short name of ipvsadm, one of [`Self::NAMES`].
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rr => "rr",
            Self::Wrr => "wrr",
            Self::Lc => "lc",
            Self::Wlc => "wlc",
            Self::Sed => "sed",
            Self::Nq => "nq",
            Self::Ovf => "ovf",
            Self::Fo => "fo",
            Self::Dh => "dh",
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
    /// Sixteenths of its weight that it gets at the moment: [`FULL_SHARE`], fewer during a slow start.
    pub share: u8,
    /// Its health checks and what follows from them.
    pub health: RealServerHealth,
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
    /// Quorum and what follows from it.
    pub health: ServiceHealth,
    /// Balanced here although the virtual router of its address is not active (ECMP).
    pub always_on: bool,
}
