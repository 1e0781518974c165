//! Programs that the daemon starts for the operator: check scripts and notification programs.
//!
//! A program is started without a shell, in a process group of its own, with a bounded part of its output kept. It is
//! never started when somebody else could have exchanged it ([`safety`]). Dropping the future that waits for it kills
//! the group; what has moved to another session by itself is out of reach.

mod account;
pub mod safety;
mod spawn;

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

pub use safety::Unsafe;
pub use spawn::{run, run_within};

/// From SIGTERM to SIGKILL for a program whose time is up (keepalived waits as long for its check scripts).
pub const GRACE: Duration = Duration::from_secs(2);

/// A program to run.
#[derive(Debug, Clone)]
pub struct Spec<'a> {
    /// Absolute path and arguments.
    pub command: &'a [String],
    /// User to run as, without supplementary groups; the daemon's own where there is none.
    pub user: Option<&'a str>,
    /// Environment; beside it there is only `PATH` and, with a user, `HOME`, `USER` and `LOGNAME`.
    pub environment: Vec<(String, String)>,
    /// Most bytes of standard output and standard error, together, that are kept; the rest is read and thrown away.
    pub output_limit: usize,
    /// What happens to processes of the group that outlive the program's own end.
    pub leftovers: Leftovers,
}

/// Processes that a program has started in the background and left there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Leftovers {
    /// They are killed, as befits a check that runs every few seconds.
    #[default]
    Kill,
    /// They go on when the program has ended by itself; one that had to be killed takes them along.
    Leave,
}

/// A program that has ended by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Exit code or signal.
    pub status: ExitStatus,
    /// Beginning of what it wrote to standard output and standard error, in the order of writing.
    pub output: Vec<u8>,
}

/// Why a program has no result.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It must not be started.
    #[error(transparent)]
    Unsafe(#[from] Unsafe),
    /// The user to run as does not exist.
    #[error("there is no user {0:?}")]
    UnknownUser(String),
    /// The system refused to start it, or to say how it ended.
    #[error("cannot run {path:?}: {source}")]
    Spawn {
        /// The program.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// It ran longer than [`run_within`] allows, and was killed.
    #[error("still running after {} s", limit.as_secs_f64())]
    Timeout {
        /// The bound.
        limit: Duration,
        /// Beginning of what it wrote.
        output: Vec<u8>,
    },
}
