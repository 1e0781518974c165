//! A second process that takes the virtual addresses away when this one is killed.
//!
//! A kernel answers ARP for the addresses of its interfaces, whatever became of the process that put them there: after a
//! crash two hosts would answer for the same address. The guard knows the addresses through its standard input, and
//! removes them when that ends.

use std::collections::BTreeSet;
use std::io::{self, BufRead, Write as _};
use std::net::IpAddr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};

use tracing::error;

use crate::netlink;

/// The command of `lvx` that is the guard.
pub const COMMAND: &str = "vrrp-guard";

/// This process's end. Without a guard everything works but that.
#[derive(Debug, Default)]
pub(super) struct Guard {
    input: Option<ChildStdin>,
}

impl Guard {
    /// Starts the guard, in a process group of its own: a signal for this one's does not reach it.
    pub(super) fn start(program: &Path) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.arg(COMMAND).stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0);
        let mut child = command.spawn()?;
        let input = child.stdin.take();
        // It ends after its input; nobody need wait for it then.
        std::thread::Builder::new().name("lvx-guard".to_owned()).spawn(move || child.wait())?;
        Ok(Self { input })
    }

    /// An address is on an interface from now on.
    pub(super) fn add(&mut self, ifindex: u32, address: IpAddr, prefix_length: u8) {
        self.tell(&format!("+ {ifindex} {address} {prefix_length}\n"));
    }

    /// It no longer is.
    pub(super) fn remove(&mut self, ifindex: u32, address: IpAddr, prefix_length: u8) {
        self.tell(&format!("- {ifindex} {address} {prefix_length}\n"));
    }

    fn tell(&mut self, line: &str) {
        if let Some(input) = &mut self.input
            && let Err(error) = input.write_all(line.as_bytes())
        {
            error!(%error, "the guard of the virtual addresses is gone: after a crash they would stay on this host");
            self.input = None;
        }
    }
}

/// An address on an interface, as it stands in a line.
type Entry = (u32, IpAddr, u8);

/// The guard itself: reads until the end, then removes what is left.
///
/// # Errors
///
/// Where the standard input cannot be read; what is known is removed all the same.
pub fn run() -> io::Result<()> {
    // It has to outlive the process that it watches, also where both are told to end.
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        // SAFETY: SIG_IGN is a valid disposition, and no handler is replaced that anybody relies on.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    let mut entries = BTreeSet::new();
    let outcome = follow(io::stdin().lock(), &mut entries);
    for (ifindex, address, prefix_length) in entries {
        // Interface or address may be gone by themselves.
        let _ = netlink::remove_address(ifindex, address, prefix_length);
    }
    outcome
}

fn follow(input: impl BufRead, entries: &mut BTreeSet<Entry>) -> io::Result<()> {
    for line in input.lines() {
        let line = line?;
        match line.split_at_checked(2) {
            Some(("+ ", rest)) => entries.extend(entry(rest)),
            Some(("- ", rest)) => {
                if let Some(entry) = entry(rest) {
                    entries.remove(&entry);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn entry(text: &str) -> Option<Entry> {
    let mut words = text.split(' ');
    let entry = (words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    words.next().is_none().then_some(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_at_the_end() {
        let mut entries = BTreeSet::new();
        let input =
            "+ 2 192.0.2.100 24\n+ 2 2001:db8::1 64\nnonsense\n+ x\n- 2 192.0.2.100 24\n+ 3 192.0.2.7 32\n";
        follow(input.as_bytes(), &mut entries).unwrap();
        let left = [(2, "2001:db8::1".parse().unwrap(), 64), (3, "192.0.2.7".parse().unwrap(), 32)];
        assert_eq!(entries, BTreeSet::from(left));
    }
}
