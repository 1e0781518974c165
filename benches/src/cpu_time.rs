//! CPU time of a thread, as the scheduler counts it.

use std::fs;
use std::time::Duration;

use anyhow::{Result, bail};

/// CPU time so far of the thread with this name in a process: its id, or `self`.
///
/// # Errors
///
/// Where there is no such thread.
pub(crate) fn cpu_time(process: &str, thread: &str) -> Result<Duration> {
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let folder = task?.path();
        if fs::read_to_string(folder.join("comm"))?.trim() == thread {
            // The first number is time on a CPU in nanoseconds (Documentation/scheduler/sched-stats.rst).
            let stat = fs::read_to_string(folder.join("schedstat"))?;
            return Ok(Duration::from_nanos(stat.split(' ').next().unwrap_or_default().parse()?));
        }
    }
    bail!("the thread {thread} does not run")
}
