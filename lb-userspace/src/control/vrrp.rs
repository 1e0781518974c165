//! What the daemon tells about VRRP.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::snapshot::NamedCount;

/// Everything about VRRP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VrrpStatus {
    /// Instances in the order of the configuration.
    pub instances: Vec<VrrpInstanceStatus>,
    /// Messages for no instance, by reason.
    pub strays: Vec<NamedCount>,
    /// Whether the thread has real-time priority.
    pub realtime: bool,
}

/// A virtual router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VrrpInstanceStatus {
    /// Name.
    pub name: String,
    /// Interface.
    pub interface: String,
    /// Number of the virtual router.
    pub router_id: u8,
    /// Version of the protocol.
    pub version: u8,
    /// `initialize`, `backup`, `active` or `fault`.
    pub state: String,
    /// Milliseconds since the last transition.
    pub since_ms: u64,
    /// Why it is in its state.
    pub reason: String,
    /// Priority at the moment.
    pub priority: u8,
    /// Priority of the configuration.
    pub configured_priority: u8,
    /// Own interval in milliseconds.
    pub interval_ms: u32,
    /// Interval of the active router in milliseconds.
    pub active_interval_ms: u32,
    /// Milliseconds of silence after which a backup takes over.
    pub active_down_ms: u32,
    /// Milliseconds until the timer runs out.
    pub timer_ms: Option<u64>,
    /// Handed over on purpose: it preempts nobody.
    pub held: bool,
    /// Another router is active at the same time.
    pub rival: bool,
    /// Sync group.
    pub group: Option<String>,
    /// Virtual addresses.
    pub addresses: Vec<String>,
    /// Address that advertisements come from.
    pub source: Option<IpAddr>,
    /// Other routers that were heard.
    pub peers: Vec<VrrpPeerStatus>,
    /// What is tracked.
    pub tracks: Vec<VrrpTrackStatus>,
    /// The last transitions, the newest last.
    pub history: Vec<VrrpTransition>,
    /// Advertisements sent.
    pub sent: u64,
    /// Advertisements that could not be sent.
    pub send_errors: u64,
    /// Advertisements sent later than half an interval after their time.
    pub late: u64,
    /// Good advertisements received.
    pub received: u64,
    /// Of those, with priority 0.
    pub received_zero: u64,
    /// Advertisements that list other addresses.
    pub other_addresses: u64,
    /// Refused messages, by reason.
    pub rejects: Vec<NamedCount>,
    /// Entries into each state.
    pub transitions: Vec<NamedCount>,
}

/// Another router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VrrpPeerStatus {
    /// Its address.
    pub address: IpAddr,
    /// Interface by which it was heard.
    pub interface: String,
    /// Its priority when it was last heard.
    pub priority: u8,
    /// Milliseconds since then.
    pub ago_ms: u64,
}

/// Something tracked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VrrpTrackStatus {
    /// Name.
    pub name: String,
    /// Whether it is well.
    pub up: bool,
    /// Of a file: the number in it.
    pub number: i32,
    /// Weight; 0 is a fault.
    pub weight: i32,
}

/// A transition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VrrpTransition {
    /// RFC 3339, UTC, with milliseconds.
    pub time: String,
    /// State before.
    pub from: String,
    /// State after.
    pub to: String,
    /// Why.
    pub reason: String,
}
