//! What makes the thread run in time.

use std::io;

/// Lowest real-time priority: above everything that is no real-time thread, below those that the operator has.
const PRIORITY: libc::c_int = 1;

/// Gives the calling thread real-time priority and keeps the process in memory. Where that is not permitted, everything
/// works as well, as long as the machine is not overloaded.
pub(super) fn enter() -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: PRIORITY };
    // Programs that other threads start do not inherit it anyway; the flag is for those of this one.
    let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
    // SAFETY: pid 0 is the calling thread; the parameter is valid and only read.
    if unsafe { libc::sched_setscheduler(0, policy, &raw const parameter) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // Pages are locked when they are first used: otherwise every stack and map would be filled at once.
    // SAFETY: the call takes no pointers.
    if unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
