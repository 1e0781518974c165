//! Health in a snapshot.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::snapshot::NamedCount;

/// Health of a virtual service that is checked or has a sorry server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceHealthStatus {
    /// Whether the service has its quorum.
    pub quorum: bool,
    /// Sum of the weights of live real servers.
    pub live_weight: u64,
    /// Configured quorum.
    pub quorum_weight: u32,
    /// Real servers that are up.
    pub live: u64,
    /// Configured real servers.
    pub configured: u64,
    /// Whether failures are disbelieved (`panic_threshold`).
    pub panic: bool,
    /// Whether the checks rest (`ha_suspend`).
    pub suspended: bool,
    /// The sorry server, where there is one.
    pub sorry_server: Option<SocketAddr>,
    /// Whether it serves.
    pub sorry_server_active: bool,
    /// Every configured real server, in the order of the configuration.
    pub real_servers: Vec<RealServerHealthStatus>,
}

/// Health of a real server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RealServerHealthStatus {
    /// Address and port.
    pub address: SocketAddr,
    /// Whether it is up.
    pub up: bool,
    /// Seconds since it has been so.
    pub since: u64,
    /// Weight that its checks give it.
    pub weight: u32,
    /// Sixteenths of the weight that it has at the moment; fewer than 16 during a slow start.
    pub share: u8,
    /// Its checks.
    pub checks: Vec<CheckStatus>,
}

/// A check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckStatus {
    /// Its type, as in the configuration.
    pub kind: String,
    /// Whether it passes.
    pub passing: bool,
    /// The last run; none yet where it is absent.
    pub last: Option<CheckRunStatus>,
    /// Good runs.
    pub passes: u64,
    /// Bad runs by reason; only reasons that occurred.
    pub failures: Vec<NamedCount>,
}

/// A run of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckRunStatus {
    /// Milliseconds since its end.
    pub ago_ms: u64,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// Why it failed; none where it was good.
    pub failure: Option<String>,
    /// Something odd about a good one, such as a certificate that soon expires.
    pub warning: Option<String>,
}
