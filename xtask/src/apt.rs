//! Installing Debian packages without starting the services they bring.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};

use crate::process;

/// The hook that Debian's package scripts ask before they start a service (Debian policy manual, 9.3.3.1).
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Recognises a hook that an earlier run could not remove because it was killed.
const POLICY_MARK: &str = "# cargo xtask setup: services stay stopped while packages are installed";

/// Services that the lab's packages bring and that must not start with the machine either: the lab runs its own
/// instances, and these would take the ports 25, 80 and 9090 of the host.
const SERVICES: [(&str, &str); 12] = [
    ("nginx-light", "nginx"),
    ("nginx", "nginx"),
    ("prometheus", "prometheus"),
    ("opensmtpd", "opensmtpd"),
    ("keepalived", "keepalived"),
    ("redis-server", "redis-server"),
    ("postgresql", "postgresql"),
    ("mariadb-server", "mariadb"),
    ("slapd", "slapd"),
    ("dovecot-imapd", "dovecot"),
    ("freeradius", "freeradius"),
    ("vsftpd", "vsftpd"),
];

/// Whether packages can be installed at all on this system.
pub(crate) fn is_there() -> bool {
    process::find_program("apt-get").is_some()
}

/// Fetches the package lists.
pub(crate) fn update() -> Result<()> {
    process::quietly("apt-get update", apt_get().arg("update"))
}

/// Whether a package of this name can be installed from the known lists.
pub(crate) fn is_available(package: &str) -> Result<bool> {
    let mut command = Command::new("apt-cache");
    let output = command
        .env("LC_ALL", "C")
        .args(["policy", package])
        .stdin(Stdio::null())
        .output()
        .context("cannot start `apt-cache`")?;
    Ok(has_candidate(&String::from_utf8_lossy(&output.stdout)))
}

fn has_candidate(policy: &str) -> bool {
    policy
        .lines()
        .any(|line| line.trim().strip_prefix("Candidate:").is_some_and(|version| version.trim() != "(none)"))
}

/// Installs `packages`; services among them are neither started now nor at the next boot.
///
/// # Errors
/// When apt-get fails or the user interrupts; the service hook is taken away again in both cases.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let signals = HeldSignals::hold();
    let hook = ServiceHook::place(Path::new(POLICY)).with_context(|| format!("cannot write {POLICY}"))?;
    let what = format!("apt-get install {}", packages.join(" "));
    let result =
        process::quietly(&what, apt_get().args(["install", "--no-install-recommends"]).args(packages));
    drop(hook);
    drop(signals);
    result?;
    if INTERRUPTED.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    keep_off_at_boot(packages);
    Ok(())
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("NEEDRESTART_SUSPEND", "1")
        // Another apt at work (unattended upgrades on a machine just booted) is waited for.
        .args(["--yes", "--quiet=1", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0"]);
    command
}

fn keep_off_at_boot(packages: &[&str]) {
    for (_, service) in SERVICES.iter().filter(|(package, _)| packages.contains(package)) {
        // Debian's own tool: it knows systemd's links and those of System V init.
        let mut command = Command::new("update-rc.d");
        command.args([service, "disable"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if !command.status().is_ok_and(|status| status.success()) {
            println!("setup: the service {service} could not be disabled and may start at the next boot");
        }
    }
}

/// A `policy-rc.d` that forbids starting services, there as long as this value lives.
///
/// `None` when the system has its own, which is respected and left as it is.
struct ServiceHook(Option<PathBuf>);

impl ServiceHook {
    fn place(path: &Path) -> io::Result<Self> {
        if fs::read_to_string(path).is_ok_and(|text| text.contains(POLICY_MARK)) {
            fs::remove_file(path)?;
        }
        match OpenOptions::new().write(true).create_new(true).mode(0o755).open(path) {
            Ok(mut file) => {
                // Made before it is filled, so that a failed write is cleaned up too.
                let hook = Self(Some(path.to_owned()));
                write!(file, "#!/bin/sh\n{POLICY_MARK}\nexit 101\n")?;
                Ok(hook)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Self(None)),
            Err(error) => Err(error),
        }
    }
}

impl Drop for ServiceHook {
    fn drop(&mut self) {
        if let Some(path) = &self.0
            && let Err(error) = fs::remove_file(path)
        {
            eprintln!(
                "setup: cannot remove {}: {error}; remove it, or no service will start",
                path.display()
            );
        }
    }
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn note_interrupt(_signal: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// Signals that would end this process before the service hook is removed, only noted while this value lives.
///
/// apt-get itself is not shielded: handlers end at exec, so Ctrl-C stops it and this process cleans up after it.
struct HeldSignals([(libc::c_int, libc::sighandler_t); 3]);

impl HeldSignals {
    fn hold() -> Self {
        Self([libc::SIGINT, libc::SIGTERM, libc::SIGHUP].map(|signal| {
            // SAFETY: the handler only stores to an atomic, which is allowed in a signal handler, and lives for ever.
            let before = unsafe {
                libc::signal(
                    signal,
                    note_interrupt as extern "C" fn(libc::c_int) as usize as libc::sighandler_t,
                )
            };
            (signal, before)
        }))
    }
}

impl Drop for HeldSignals {
    fn drop(&mut self) {
        for (signal, before) in self.0 {
            // SAFETY: `before` is what the system returned for this signal, so it is a valid disposition (SIG_ERR
            // cannot occur for these three signals).
            unsafe { libc::signal(signal, before) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidate_of_a_package() {
        assert!(has_candidate("x:\n  Installed: (none)\n  Candidate: 1.2-3\n"));
        assert!(!has_candidate("x:\n  Installed: (none)\n  Candidate: (none)\n"));
        assert!(!has_candidate(""));
    }

    #[test]
    fn service_hook_is_removed_and_a_foreign_one_is_left() {
        let path = std::env::temp_dir().join(format!("lvx-policy-{}", std::process::id()));
        {
            let hook = ServiceHook::place(&path).unwrap();
            assert!(hook.0.is_some());
            let status = Command::new("/bin/sh").arg(&path).status().unwrap();
            assert_eq!(status.code(), Some(101));
        }
        assert!(!path.exists());

        fs::write(&path, "#!/bin/sh\nexit 0\n").unwrap();
        drop(ServiceHook::place(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "#!/bin/sh\nexit 0\n");

        fs::write(&path, format!("#!/bin/sh\n{POLICY_MARK}\nexit 101\n")).unwrap();
        drop(ServiceHook::place(&path).unwrap());
        assert!(!path.exists(), "one left by a killed run is taken over");
    }
}
