//! What the operator asked for, validated: virtual services, their real servers, interfaces, sizes.
//!
//! No I/O and no map layout here: [`crate::config`] produces these values, `crate::apply` turns them into map
//! operations.

use std::collections::BTreeSet;
use std::net::IpAddr;

mod check;
mod dialogue;
mod health;
mod service;
mod settings;
mod vrrp;

pub use check::{
    BodyDigest, Check, CheckKind, CheckPolicy, CheckTarget, CheckTls, DnsCheck, FileCheck, FileMeaning,
    HttpCheck, HttpRequest, HttpVersion, Pattern, ScriptCheck, SmtpCheck, StatusSet, UdpCheck,
};
pub use dialogue::{Dialogue, DialogueProtocol, DialogueStep, Login};
pub use health::{Email, Notifications, Program, RealServerHealth, ServiceHealth};
pub use service::{
    DEFAULT_MAGLEV_TABLE_SIZE, FULL_SHARE, ForwardingMethod, MAX_LOAD_SCHEDULED, MAX_WEIGHT, Protocol,
    RealServer, Scheduler, ServiceKey, SourceHashFlags, VirtualService,
};
pub use settings::{AttachMode, Interface, Limits, Settings, Timeouts};
pub use vrrp::{
    Announce, Heartbeat, Instance, StatePrograms, SyncGroup, Track, TrackKind, VirtualAddress, Vrrp,
};

/// Everything a configuration file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Process-wide settings; a change needs a restart where its documentation says so.
    pub settings: Settings,
    /// Network interfaces whose packets LVX sees.
    pub interfaces: Vec<Interface>,
    /// Virtual services in file order; keys are unique.
    pub services: Vec<VirtualService>,
    /// Where changes of state are told.
    pub notifications: Notifications,
    /// Addresses shared with other directors.
    pub vrrp: Vrrp,
}

impl Model {
    /// Real servers over all services; a server in two services counts twice, as it does in
    /// [`Limits::real_servers`].
    #[must_use]
    pub fn real_server_count(&self) -> usize {
        self.services.iter().map(|service| service.real_servers.len()).sum()
    }

    /// Every address that a real server or sorry server has, whether it is up or not: a failed one's next hop has to be
    /// known at the moment it comes back.
    #[must_use]
    pub fn targets(&self) -> BTreeSet<IpAddr> {
        let servers = self
            .services
            .iter()
            .flat_map(|service| service.real_servers.iter().chain(&service.health.sorry_server));
        servers.map(|server| server.address).collect()
    }
}
