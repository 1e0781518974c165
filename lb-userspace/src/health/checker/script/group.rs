//! The process group of a script.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::runtime::Handle;

/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

/// A script and everything it started. Dropped while the script runs, the group gets SIGTERM, and SIGKILL two seconds
/// later unless it has ended; the script is reaped in both cases.
pub(super) struct Group {
    child: Option<Child>,
}

impl Group {
    /// For a child that leads its group.
    pub(super) fn new(child: Child) -> Self {
        Self { child: Some(child) }
    }

    /// Waits for the script's end. What it left running in the background is none of the check's business, as in
    /// keepalived.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        let Some(child) = &mut self.child else { return Err(io::ErrorKind::NotFound.into()) };
        let status = child.wait().await;
        self.child = None;
        status
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let Some(group) = child.id().map(|id| Pid::from_raw(id.cast_signed())) else { return };
        // Errors mean that nobody is left in the group.
        let _ = killpg(group, Signal::SIGTERM);
        let Ok(runtime) = Handle::try_current() else {
            let _ = killpg(group, Signal::SIGKILL);
            return;
        };
        // The leader is reaped last: until then the group's number cannot go to anybody else.
        runtime.spawn(async move {
            let guard = Kill(group);
            tokio::time::sleep(GRACE).await;
            drop(guard);
            let _ = child.wait().await;
        });
    }
}

/// SIGKILL for the group, also when the runtime ends earlier.
struct Kill(Pid);

impl Drop for Kill {
    fn drop(&mut self) {
        let _ = killpg(self.0, Signal::SIGKILL);
    }
}
