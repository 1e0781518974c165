//! States of a virtual router, what leads from one to another, and what is to be done then.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// What a virtual router is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Not started, or stopped.
    Initialize,
    /// Waits for the active router to fail.
    Backup,
    /// Has the addresses ("master" before RFC 9568).
    Active,
    /// Something that it needs is missing, such as its interface.
    Fault,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Initialize, Self::Backup, Self::Active, Self::Fault];

    /// The name in listings and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Initialize => "initialize",
            Self::Backup => "backup",
            Self::Active => "active",
            Self::Fault => "fault",
        }
    }
}

/// Why a router is in its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It was started.
    Startup,
    /// It owns the addresses (priority 255).
    Owner,
    /// No advertisement within Active_Down_Interval, or within the skew after one of priority 0.
    Silence,
    /// Another router has a higher priority.
    HigherPriority {
        /// Its priority.
        priority: u8,
        /// Its address.
        source: IpAddr,
    },
    /// Another router has the same priority and a higher address.
    HigherAddress {
        /// Its address.
        source: IpAddr,
    },
    /// This process did not run for longer than the others wait.
    Slept,
    /// An operator said so.
    Manual,
    /// Its sync group did.
    Group,
    /// Something is missing.
    Missing(String),
    /// What was missing is back.
    Recovered,
    /// It was stopped.
    Shutdown,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Startup => f.write_str("start"),
            Self::Owner => f.write_str("owner of the addresses"),
            Self::Silence => f.write_str("no advertisement of an active router"),
            Self::HigherPriority { priority, source } => write!(f, "{source} has priority {priority}"),
            Self::HigherAddress { source } => {
                write!(f, "{source} has the same priority and the higher address")
            }
            Self::Slept => f.write_str("this process did not run for too long"),
            Self::Manual => f.write_str("switchover"),
            Self::Group => f.write_str("sync group"),
            Self::Missing(what) => f.write_str(what),
            Self::Recovered => f.write_str("nothing is missing any more"),
            Self::Shutdown => f.write_str("stop"),
        }
    }
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send an advertisement with this priority.
    Advertise(u8),
    /// Take the addresses and tell the network. It follows the first advertisement, so that the router before has given
    /// them up.
    TakeAddresses,
    /// Tell the network again whose the addresses are.
    Announce,
    /// Give the addresses up.
    ReleaseAddresses,
    /// Tell everybody that the state is another one.
    Entered(State, Reason),
}
