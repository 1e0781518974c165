//! What the daemon tells about itself: the one source of `lvx list`, its JSON form and the metrics.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::health::ServiceHealthStatus;
use super::vrrp::VrrpStatus;
use crate::model::{ForwardingMethod, Protocol, ServiceKey};

/// Packets, bytes and connections since the start of the daemon. Inward is from the client, outward is a reply that
/// passed through the director (NAT only).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Connections scheduled.
    pub connections: u64,
    /// Packets from clients.
    pub in_packets: u64,
    /// Packets to clients.
    pub out_packets: u64,
    /// Bytes from clients, counted from the IP header on, as IPVS does.
    pub in_bytes: u64,
    /// Bytes to clients.
    pub out_bytes: u64,
    /// Connections that the real server refused with a reset (NAT).
    #[serde(default)]
    pub refused: u64,
    /// Half-open connections that expired: with NAT those that the real server never answered, else all of them.
    #[serde(default)]
    pub unanswered: u64,
}

/// [`Traffic`] per second, measured by the daemon over the last two seconds or so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rates {
    /// Connections per second.
    pub connections: u64,
    /// Packets per second from clients.
    pub in_packets: u64,
    /// Packets per second to clients.
    pub out_packets: u64,
    /// Bytes per second from clients.
    pub in_bytes: u64,
    /// Bytes per second to clients.
    pub out_bytes: u64,
}

/// A real server as the daemon sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RealServerStatus {
    /// Address and port.
    pub address: SocketAddr,
    /// Forwarding method of the configuration.
    pub forwarding: ForwardingMethod,
    /// True where the address is the director's own, so that packets go to the local stack.
    pub local: bool,
    /// Current weight.
    pub weight: u32,
    /// Connections from SYN_RECV to ESTABLISHED.
    pub active: u32,
    /// All other connection entries (closing TCP, UDP).
    pub inactive: u32,
    /// Whether the next hop (interface and MAC address) is known.
    pub next_hop: Option<NextHopStatus>,
    /// Counters.
    pub traffic: Traffic,
    /// Rates.
    pub rates: Rates,
}

/// Where frames for a real server go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextHopStatus {
    /// Name of the interface.
    pub interface: String,
    /// Router on the way, or the server itself.
    pub gateway: IpAddr,
    /// MAC address as `aa:bb:cc:dd:ee:ff`.
    pub mac: String,
}

/// A virtual service as the daemon sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Name of the configuration.
    pub name: String,
    /// Address, port, protocol.
    pub key: ServiceKey,
    /// Scheduler's short name.
    pub scheduler: String,
    /// Scheduler flags in ipvsadm's spelling, such as `sh-port`.
    pub flags: Vec<String>,
    /// Sum over the real servers, removed ones included.
    pub traffic: Traffic,
    /// Sum over the real servers.
    pub rates: Rates,
    /// Real servers in the order of the configuration; failed ones that were removed are not among them.
    pub real_servers: Vec<RealServerStatus>,
    /// What the health checks say; none where nothing is checked.
    #[serde(default)]
    pub health: Option<ServiceHealthStatus>,
}

/// One connection entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionStatus {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Client's address and port.
    pub client: SocketAddr,
    /// Virtual address and port.
    pub virtual_address: SocketAddr,
    /// Real server's address and port.
    pub real_server: SocketAddr,
    /// TCP state in IPVS's spelling (`ESTABLISHED`, `SYN_RECV`, ...), `UDP` for UDP.
    pub state: String,
    /// Seconds until the entry expires if nothing more arrives.
    pub expires_in: u64,
}

/// Fill of a bounded table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableFill {
    /// Name of the table: `connections`, `embryonic`, `services`, `real_servers`, `scheduler_slots`.
    pub name: String,
    /// Entries in use.
    pub used: u64,
    /// Entries that fit.
    pub capacity: u64,
    /// Memory the table takes, in bytes, whether used or not.
    pub bytes: u64,
}

/// An interface the XDP program is attached to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// Kernel name.
    pub name: String,
    /// `native` or `generic`.
    pub mode: String,
}

/// A counter of the datapath with its name: a reason for a drop, a pass to the host, or an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedCount {
    /// Reason in snake case, the metric label.
    pub name: String,
    /// Packets or events.
    pub count: u64,
}

/// Everything but the connection entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Version of LVX.
    pub version: String,
    /// Seconds since the start of the daemon.
    pub uptime: u64,
    /// Number of successful configuration loads, the first included.
    pub generation: u64,
    /// Interfaces.
    pub interfaces: Vec<InterfaceStatus>,
    /// Services in the order of the configuration.
    pub services: Vec<ServiceStatus>,
    /// Sum over all services since the start of the daemon, removed ones included.
    pub traffic: Traffic,
    /// Tables.
    pub tables: Vec<TableFill>,
    /// Packets dropped, by reason; every reason is present.
    pub drops: Vec<NamedCount>,
    /// Packets passed to the host's stack, by reason; every reason is present.
    pub passes: Vec<NamedCount>,
    /// Events that are neither, such as connection entries evicted; every event is present.
    pub events: Vec<NamedCount>,
    /// Notifications by channel; every channel is present.
    #[serde(default)]
    pub notifications: Vec<NotificationCounts>,
    /// Virtual routers; none where VRRP is not configured.
    #[serde(default)]
    pub vrrp: Option<VrrpStatus>,
}

/// What became of the notifications of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationCounts {
    /// `fifo`, `email`, `webhook` or `program`.
    pub channel: String,
    /// Delivered; for programs: ended with exit code 0.
    pub sent: u64,
    /// Given up after the last try.
    pub failed: u64,
    /// Not tried, because a queue was full.
    pub dropped: u64,
}
