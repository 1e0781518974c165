//! Ctrl-C, SIGTERM and a closed terminal: noted, and obeyed between two requests, so that everything is removed.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};

static REQUESTED: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_signal: libc::c_int) {
    REQUESTED.store(true, Ordering::Release);
}

/// From here on the signals do not end the process.
pub(super) fn catch() {
    let handler: extern "C" fn(libc::c_int) = note;
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
}

/// Whether one of the signals has come.
pub(super) fn requested() -> bool {
    REQUESTED.load(Ordering::Acquire)
}

/// Fails once one of the signals has come.
pub(super) fn check() -> Result<()> {
    ensure!(!requested(), "interrupted");
    Ok(())
}
