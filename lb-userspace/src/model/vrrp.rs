//! Virtual routers: which addresses this director shares with others, and when it has them.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Check, Program};
use crate::vrrp::{Authentication, Checksum, HmacConfig, RouterConfig};

/// Everything about VRRP.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Vrrp {
    /// Virtual routers in the order of the file; names are unique, and so are interface, number and family together.
    pub instances: Vec<Arc<Instance>>,
    /// Sync groups; an instance is in one at most.
    pub groups: Vec<SyncGroup>,
}

impl Vrrp {
    /// The instance that carries an address.
    #[must_use]
    pub fn carrier(&self, address: IpAddr) -> Option<&Instance> {
        self.instances.iter().map(|instance| &**instance).find(|instance| instance.carries(address))
    }
}

/// A virtual router (keepalived's `vrrp_instance`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Name in logs, metrics, listings and notifications.
    pub name: String,
    /// Interface of the advertisements, and of the addresses that name none.
    pub interface: String,
    /// The protocol's part of it.
    pub router: RouterConfig,
    /// Virtual addresses that the advertisements list.
    pub addresses: Vec<VirtualAddress>,
    /// Virtual addresses that they do not list (keepalived's `virtual_ipaddress_excluded`).
    pub excluded: Vec<VirtualAddress>,
    /// Others to send to by unicast; empty is multicast.
    pub peers: Vec<IpAddr>,
    /// Address to send from; none is the first of the interface (IPv6: its link-local one).
    pub source: Option<IpAddr>,
    /// Authentication of version 2.
    pub authentication: Authentication,
    /// Authentication by HMAC.
    pub hmac: Option<HmacConfig>,
    /// What the checksum of version 3 over IPv4 covers in messages sent; received ones may have either.
    pub checksum: Checksum,
    /// Whether the host's stack gets packets to the virtual addresses that no virtual service takes.
    pub accept: bool,
    /// Whether the addresses have the MAC address of the virtual router, on a device of their own.
    pub virtual_mac: bool,
    /// How the network is told whose the addresses are.
    pub announce: Announce,
    /// Further ways for advertisements, beside interface and peers.
    pub heartbeats: Vec<Heartbeat>,
    /// What has to be there, or changes the priority.
    pub tracks: Vec<Track>,
    /// Programs for changes of state.
    pub notify: StatePrograms,
}

impl Instance {
    /// All virtual addresses.
    pub fn all_addresses(&self) -> impl Iterator<Item = &VirtualAddress> {
        self.addresses.iter().chain(&self.excluded)
    }

    /// Whether one of its addresses is this one.
    #[must_use]
    pub fn carries(&self, address: IpAddr) -> bool {
        self.all_addresses().any(|own| own.address == address)
    }

    /// Family of the advertisements: that of the first address.
    #[must_use]
    pub fn is_ipv4(&self) -> bool {
        self.addresses.first().is_none_or(|first| first.address.is_ipv4())
    }
}

/// An address of a virtual router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualAddress {
    /// The address.
    pub address: IpAddr,
    /// Length of its prefix in bits.
    pub prefix_length: u8,
    /// Interface that gets it; none is that of the instance.
    pub interface: Option<String>,
}

impl fmt::Display for VirtualAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_length)?;
        self.interface.iter().try_for_each(|interface| write!(f, "@{interface}"))
    }
}

/// Gratuitous ARP and unsolicited neighbour advertisements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announce {
    /// How often each address is announced when it is taken (keepalived's `garp_master_repeat`).
    pub repeat: u32,
    /// After this time, as often again (`garp_master_delay`); zero: not again.
    pub delay: Duration,
    /// Once in this time while active (`garp_master_refresh`); zero: never.
    pub refresh: Duration,
}

impl Default for Announce {
    fn default() -> Self {
        Self { repeat: 5, delay: Duration::from_secs(5), refresh: Duration::ZERO }
    }
}

/// A further way for the advertisements of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// Interface.
    pub interface: String,
    /// Others to send to by unicast; empty is multicast.
    pub peers: Vec<IpAddr>,
}

/// Something that an instance depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    /// Name in logs and listings.
    pub name: String,
    /// What is looked at.
    pub kind: TrackKind,
    /// Added to the priority: a positive weight while it is well, a negative one while it is not. Zero: the instance is
    /// in fault while it is not well.
    pub weight: i32,
}

/// What a track looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrackKind {
    /// An interface is up.
    Interface(String),
    /// A check passes; its target has an address, except for scripts and files.
    Check(Box<Check>),
    /// A process of this name runs.
    Process(String),
    /// A file holds a number, which is multiplied by the weight and added to the priority (keepalived's `track_file`).
    File(PathBuf),
    /// A virtual service of this name has its quorum.
    Service(String),
}

/// Programs for changes of state (`notify_master` and so on).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StatePrograms {
    /// It became active.
    pub active: Option<Program>,
    /// It became a backup.
    pub backup: Option<Program>,
    /// It is in fault.
    pub fault: Option<Program>,
    /// It was stopped.
    pub stop: Option<Program>,
    /// Any of these.
    pub any: Option<Program>,
}

/// Instances that change their state together (keepalived's `vrrp_sync_group`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncGroup {
    /// Name.
    pub name: String,
    /// Names of the instances.
    pub members: Vec<String>,
    /// Programs for changes of state of the whole group.
    pub notify: StatePrograms,
}
