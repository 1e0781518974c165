//! Process-wide settings.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How the XDP program is attached to an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AttachMode {
    /// Native, and generic where the driver has no XDP support (logged).
    #[default]
    Auto,
    /// In the driver, or not at all.
    Native,
    /// After the driver, on every device, slower.
    Generic,
}

impl AttachMode {
    /// Names in configuration files and output.
    pub const NAMES: [&'static str; 3] = ["auto", "native", "generic"];

    /// The mode with one of [`Self::NAMES`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "auto" => Some(Self::Auto),
            "native" => Some(Self::Native),
            "generic" => Some(Self::Generic),
            _ => None,
        }
    }
}

/// A network interface whose packets LVX sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Kernel name, at most 15 bytes.
    pub name: String,
    /// How to attach.
    pub mode: AttachMode,
}

/// Sizes of the tables; memory is taken once, at start. A change needs a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connection entries that fit without eviction.
    pub connections: u32,
    /// Half-open TCP connections (a SYN seen, nothing more).
    pub embryonic: u32,
    /// Virtual services.
    pub services: u32,
    /// Real servers over all services (a server in two services counts twice).
    pub real_servers: u32,
    /// Slots for scheduler tables over all services, 4 bytes each.
    pub scheduler_slots: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1 << 20,
            embryonic: 1 << 16,
            services: 4096,
            real_servers: 1 << 17,
            scheduler_slots: 1 << 23,
        }
    }
}

/// Idle time after which a connection entry expires; names and defaults of IPVS (`ipvsadm --set`, net/netfilter/ipvs).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// Established TCP connection.
    pub tcp: Duration,
    /// TCP connection after a FIN (FIN_WAIT).
    pub tcp_fin: Duration,
    /// UDP flow.
    pub udp: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp: Duration::from_secs(900),
            tcp_fin: Duration::from_secs(120),
            udp: Duration::from_secs(300),
        }
    }
}

/// Process-wide settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Unix socket for `lvx list` and the other commands.
    pub control_socket: PathBuf,
    /// Address of the Prometheus endpoint; none switches it off.
    pub metrics: Option<SocketAddr>,
    /// Log filter in the syntax of `RUST_LOG`.
    pub log: String,
    /// Name of the director in mails and webhooks; the host's own where there is none.
    pub router_id: Option<String>,
    /// User that programs run as where they name none; the daemon's own where this is none, too.
    pub script_user: Option<String>,
    /// Sizes of the tables.
    pub limits: Limits,
    /// Idle times.
    pub timeouts: Timeouts,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            control_socket: PathBuf::from("/run/lvx/lvx.sock"),
            metrics: Some(SocketAddr::from(([127, 0, 0, 1], 9464))),
            log: "info".to_owned(),
            router_id: None,
            script_user: None,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
        }
    }
}
