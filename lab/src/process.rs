//! Processes of the lab: ended with everything they started, and never left behind.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long a process may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

/// A process that ends with this value: SIGTERM, and SIGKILL when it has not ended five seconds later.
#[derive(Debug)]
pub struct Process {
    pid: libc::pid_t,
    /// Whether signals go to the whole process group, which the process then leads.
    group: bool,
    /// Whether dropping the value ends the process.
    owned: bool,
    /// The process has been reaped, so that its id may already belong to another one.
    reaped: AtomicBool,
}

impl Process {
    /// A child of this process that leads its own group.
    pub(crate) fn leader(pid: libc::pid_t) -> Self {
        Self { pid, group: true, owned: true, reaped: AtomicBool::new(false) }
    }

    /// A process found in a namespace, perhaps nobody's child here.
    pub(crate) fn observed(pid: libc::pid_t) -> Self {
        Self { pid, group: false, owned: false, reaped: AtomicBool::new(false) }
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends `signal`, such as `libc::SIGHUP`, to the process and, for one that the lab started, to its group.
    pub fn signal(&self, signal: i32) {
        if self.reaped.load(Ordering::Acquire) {
            return;
        }
        let target = if self.group { -self.pid } else { self.pid };
        // SAFETY: kill touches no memory; a process that has ended meanwhile is not an error here. Until a child is
        // reaped its id goes to no other process.
        unsafe { libc::kill(target, signal) };
    }

    /// Whether the process still runs; one that has ended is reaped by this.
    #[must_use]
    pub fn is_running(&self) -> bool {
        if self.reaped.load(Ordering::Acquire) {
            return false;
        }
        // SAFETY: a null status pointer is allowed; WNOHANG returns at once.
        match unsafe { libc::waitpid(self.pid, std::ptr::null_mut(), libc::WNOHANG) } {
            0 => true,
            // Not our child: what /proc says.
            -1 => runs(self.pid),
            _ => {
                self.reaped.store(true, Ordering::Release);
                false
            }
        }
    }

    /// Ends the process and waits for that: SIGTERM, and SIGKILL after five seconds. True when SIGTERM was enough.
    pub fn end(&self) -> bool {
        self.signal(libc::SIGTERM);
        if self.gone_within(GRACE) {
            return true;
        }
        self.signal(libc::SIGKILL);
        self.gone_within(GRACE);
        false
    }

    /// Lets the process go on after this value.
    pub fn leave_running(mut self) -> i32 {
        self.owned = false;
        self.pid
    }

    pub(crate) fn gone_within(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while self.is_running() {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(2));
        }
        true
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.owned && self.is_running() {
            self.end();
        }
    }
}

/// Whether a process with this id exists and is no zombie.
pub(crate) fn runs(pid: libc::pid_t) -> bool {
    // The state follows the name, which stands in parentheses and may contain any character (proc_pid_stat(5)).
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
    })
}

/// The file of a program: on the `PATH`, or in the two `sbin` directories that are not on every user's `PATH`.
pub(crate) fn program(name: &Path) -> PathBuf {
    if name.components().count() > 1 {
        return name.to_owned();
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path)
        .chain(system)
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| name.to_owned())
}
