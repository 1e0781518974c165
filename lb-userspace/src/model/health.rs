//! What follows from health checks: quorum, sorry server, slow start, notifications.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Check, RealServer};

/// A program to start, without a shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Absolute path and arguments.
    pub command: Vec<String>,
    /// User to run as; the daemon's own where there is none.
    pub user: Option<String>,
}

/// Health of one real server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RealServerHealth {
    /// Checks; the real server is up while all of them pass. None: always up.
    pub checks: Arc<[Check]>,
    /// A failed real server is quiesced (weight 0) instead of removed (keepalived's `inhibit_on_failure`).
    pub inhibit_on_failure: bool,
    /// A returning real server's weight grows to its full value over this time.
    pub slow_start: Option<Duration>,
    /// Run when the real server comes up.
    pub notify_up: Option<Program>,
    /// Run when it goes down.
    pub notify_down: Option<Program>,
}

/// Health of a virtual service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceHealth {
    /// Sum of the weights of live real servers that the service needs.
    pub quorum: u32,
    /// The quorum is gained at `quorum + hysteresis` and lost below `quorum - hysteresis`.
    pub hysteresis: u32,
    /// Run when the quorum is gained.
    pub quorum_up: Option<Program>,
    /// Run when it is lost.
    pub quorum_down: Option<Program>,
    /// Serves while there is no quorum.
    pub sorry_server: Option<RealServer>,
    /// Without quorum, live real servers go on serving beside the sorry server (keepalived removes them).
    pub keep_live_servers: bool,
    /// Real servers are down until their checks have passed once.
    pub alpha: bool,
    /// At the end of the daemon the down notifications are run.
    pub omega: bool,
    /// Checks rest while the virtual address is on no interface of this host.
    pub ha_suspend: bool,
    /// Percentage of failed real servers above which failures are disbelieved and all of them serve again; none believes
    /// every failure.
    pub panic_threshold: Option<u32>,
    /// Connections of clients that a real server refused or never answered, within a sample of the counters, after which
    /// its checks count as failed.
    pub passive_fall: Option<u32>,
}

impl Default for ServiceHealth {
    fn default() -> Self {
        Self {
            quorum: 1,
            hysteresis: 0,
            quorum_up: None,
            quorum_down: None,
            sorry_server: None,
            keep_live_servers: false,
            alpha: false,
            omega: false,
            ha_suspend: false,
            panic_threshold: None,
            passive_fall: None,
        }
    }
}

/// Where changes of state are told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Notifications {
    /// Named pipe that gets a line for each change, in keepalived's format (`lvs_notify_fifo`).
    pub fifo: Option<PathBuf>,
    /// Mail.
    pub email: Option<Email>,
    /// Addresses (`http://` or `https://`) that get each change as JSON by POST.
    pub webhooks: Vec<String>,
}

/// Mail about changes of state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email {
    /// Server, `host:port`.
    pub server: String,
    /// Sender's address.
    pub from: String,
    /// Receivers' addresses.
    pub to: Vec<String>,
    /// Name in HELO; the host's own where there is none.
    pub helo: Option<String>,
    /// Bound for a delivery.
    pub timeout: Duration,
}
