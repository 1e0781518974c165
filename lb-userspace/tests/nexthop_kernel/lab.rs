//! Two network namespaces joined by two veth pairs, and a reader of the watcher's changes.
//!
//! `d0`-`s0` carries 10.77.0.0/24 and fd77::/64, `d1`-`s1` 10.78.0.0/24 and fd78::/64; the director is .1, the peer .2.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lb_userspace::nexthop::{Changes, Handle, NextHop, Reason, Resolution, Settings, Watcher};

/// Far beyond anything that works; only a hang or a lost event takes this long.
pub(crate) const BOUND: Duration = Duration::from_secs(60);

/// Two namespaces, removed when dropped.
pub(crate) struct Lab {
    director: String,
    peer: String,
}

impl Lab {
    pub(crate) fn new() -> Self {
        // SAFETY: geteuid has no preconditions and cannot fail.
        let root = unsafe { libc::geteuid() } == 0;
        assert!(root, "these tests make network namespaces and need root: run them as root");
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = |side| format!("lvxnh{}-{number}{side}", std::process::id());
        let lab = Self { director: name('d'), peer: name('s') };
        ip(&format!("netns add {}", lab.director));
        ip(&format!("netns add {}", lab.peer));
        lab.director("link set lo up");
        lab.peer("link set lo up");
        for n in 0..2 {
            ip(&format!("link add d{n} netns {} type veth peer name s{n} netns {}", lab.director, lab.peer));
            for (namespace, end, host) in [(&lab.director, "d", 1), (&lab.peer, "s", 2)] {
                let device = format!("{end}{n}");
                ip(&format!("-n {namespace} address add 10.{}.0.{host}/24 dev {device}", 77 + n));
                ip(&format!("-n {namespace} address add fd{}::{host}/64 dev {device} nodad", 77 + n));
                ip(&format!("-n {namespace} link set {device} up"));
            }
            // A confirmed neighbour turns stale after two seconds rather than half a minute, unless it was used within
            // the last second.
            for family in ["ipv4", "ipv6"] {
                lab.sysctl(&format!("{family}/neigh/d{n}/base_reachable_time_ms"), "2000");
                lab.sysctl(&format!("{family}/neigh/d{n}/delay_first_probe_time"), "1");
            }
            lab.sysctl(&format!("ipv6/conf/d{n}/keep_addr_on_down"), "1");
        }
        lab
    }

    pub(crate) fn director(&self, arguments: &str) {
        ip(&format!("-n {} {arguments}", self.director));
    }

    pub(crate) fn peer(&self, arguments: &str) {
        ip(&format!("-n {} {arguments}", self.peer));
    }

    pub(crate) fn sysctl(&self, path: &str, value: &str) {
        let write = format!("echo {value} > /proc/sys/net/{path}");
        let output =
            Command::new("ip").args(["netns", "exec", &self.director, "sh", "-c", &write]).output().unwrap();
        assert!(output.status.success(), "{write}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// MAC address of one of the peer's devices.
    pub(crate) fn peer_mac(&self, device: &str) -> [u8; 6] {
        let text = ip(&format!("netns exec {} cat /sys/class/net/{device}/address", self.peer));
        parse_mac(text.trim())
    }

    /// Runs `body` on a thread of its own inside the director's namespace.
    pub(crate) fn run<F: AsyncFnOnce(&Lab, Follower) + Send>(&self, body: F) {
        let result = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    enter(&self.director);
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(async { body(self, Follower::start().await).await });
                })
                .join()
        });
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in [&self.director, &self.peer] {
            let _ = Command::new("ip").args(["netns", "delete", namespace]).output();
        }
    }
}

pub(crate) fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn enter(namespace: &str) {
    let file = File::open(format!("/run/netns/{namespace}")).unwrap();
    // SAFETY: the descriptor is open for the duration of the call, which affects only the calling thread.
    let result = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
    assert_eq!(result, 0, "setns: {}", std::io::Error::last_os_error());
}

pub(crate) fn parse_mac(text: &str) -> [u8; 6] {
    let bytes: Vec<u8> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

pub(crate) fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Reads the changes and remembers the last of each target.
pub(crate) struct Follower {
    pub(crate) handle: Handle,
    changes: Changes,
    pub(crate) last: BTreeMap<IpAddr, Resolution>,
}

impl Follower {
    pub(crate) async fn start() -> Self {
        // Without the regular look at all routes, which would hide that an event was missed.
        let settings = Settings { route_refresh: Duration::from_secs(3600), ..Settings::default() };
        let (handle, changes) = Watcher::spawn(settings).await.unwrap();
        Self { handle, changes, last: BTreeMap::new() }
    }

    pub(crate) async fn targets(&mut self, targets: &[&str]) {
        let targets: BTreeSet<IpAddr> = targets.iter().map(|text| addr(text)).collect();
        self.handle.set_targets(targets).await.unwrap();
    }

    pub(crate) async fn wait(
        &mut self,
        target: &str,
        what: &str,
        wanted: impl Fn(&Resolution) -> bool,
    ) -> Resolution {
        let target = addr(target);
        let waiting = async {
            loop {
                if let Some(seen) = self.last.get(&target).filter(|seen| wanted(seen)) {
                    return seen.clone();
                }
                let batch = self.changes.recv().await.expect("the watcher has stopped");
                assert!(!batch.is_empty());
                self.last.extend(batch);
            }
        };
        match tokio::time::timeout(BOUND, waiting).await {
            Ok(resolution) => resolution,
            Err(_) => panic!("{target} should become {what}, but is {:?}", self.last.get(&target)),
        }
    }

    pub(crate) async fn via(&mut self, target: &str, interface: &str, mac: [u8; 6]) -> NextHop {
        let seen = self
            .wait(target, &format!("{mac:x?} through {interface}"), |resolution| {
                matches!(resolution, Resolution::Via(n) if n.interface == interface && n.mac == mac)
            })
            .await;
        match seen {
            Resolution::Via(next_hop) => next_hop,
            other => panic!("{other}"),
        }
    }

    pub(crate) async fn reason(&mut self, target: &str, reason: Reason) {
        let wanted = Resolution::Unresolved(reason);
        self.wait(target, &wanted.to_string(), |seen| *seen == wanted).await;
    }
}

pub(crate) fn link_down(interface: &str) -> Reason {
    Reason::LinkDown { interface: interface.to_owned() }
}
