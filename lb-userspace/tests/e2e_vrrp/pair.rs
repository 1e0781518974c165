//! Routers on a segment: LVX and keepalived, and who has the address.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use lab::{Process, Segment};
use lb_userspace::control::vrrp::VrrpInstanceStatus;

/// Bound for anything that has to happen.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The virtual addresses that the tests share.
pub(crate) const VIP4: &str = "192.0.2.100";
pub(crate) const VIP6: &str = "2001:db8::100";

/// LVX on a host of the segment.
pub(crate) struct Lvx<'a> {
    segment: &'a Segment,
    pub(crate) host: u8,
    pub(crate) daemon: Process,
}

impl<'a> Lvx<'a> {
    /// Starts it with instances (and whatever else) in `text`.
    pub(crate) fn start(segment: &'a Segment, host: u8, text: &str) -> Self {
        let file = Self::write(segment, host, text);
        let words = [env!("CARGO_BIN_EXE_lvx"), "run", "--config", &file.to_string_lossy()];
        let daemon = segment.spawn(host, &words, &format!("lvx{host}.log")).expect("lvx starts");
        let lvx = Self { segment, host, daemon };
        lvx.wait("an answer", |_| true);
        lvx
    }

    fn write(segment: &Segment, host: u8, text: &str) -> PathBuf {
        let socket = Self::socket(segment, host);
        let head = format!(
            "[global]\ncontrol_socket = \"{}\"\nmetrics = \"off\"\n[limits]\nconnections = \"64Ki\"\n[[interface]]\nname = \"eth0\"\n",
            socket.display()
        );
        segment.write(&format!("lvx{host}.toml"), head + text).expect("configuration")
    }

    fn socket(segment: &Segment, host: u8) -> PathBuf {
        segment.folder().join(format!("lvx{host}.sock"))
    }

    pub(crate) fn reload(&self, text: &str) {
        Self::write(self.segment, self.host, text);
        self.daemon.signal(libc::SIGHUP);
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.segment.folder().join(format!("lvx{}.log", self.host)))
            .unwrap_or_default()
    }

    /// Runs a command of `lvx` that asks the daemon; its output, or what it said against it.
    pub(crate) fn command(&self, words: &[&str]) -> Result<String, String> {
        let socket = Self::socket(self.segment, self.host);
        let mut all = vec![env!("CARGO_BIN_EXE_lvx")];
        all.extend(words);
        let socket = socket.to_string_lossy();
        all.extend(["--socket", &socket]);
        let output = self.segment.host(self.host).run(&all).expect("lvx");
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).expect("text"))
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    pub(crate) fn instances(&self) -> Option<Vec<VrrpInstanceStatus>> {
        let status: lb_userspace::control::vrrp::VrrpStatus =
            serde_json::from_str(&self.command(&["vrrp", "--json"]).ok()?).ok()?;
        Some(status.instances)
    }

    pub(crate) fn wait(
        &self,
        what: &str,
        reached: impl Fn(&[VrrpInstanceStatus]) -> bool,
    ) -> Vec<VrrpInstanceStatus> {
        let started = Instant::now();
        loop {
            if let Some(instances) = self.instances().filter(|instances| reached(instances)) {
                return instances;
            }
            let now = self.command(&["vrrp"]);
            assert!(self.daemon.is_running(), "lvx on {} ended before {what}:\n{}", self.host, self.log());
            assert!(
                started.elapsed() < SOON,
                "host {}: no {what}: {}\n{}",
                self.host,
                now.unwrap_or_default(),
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until all instances are in a state.
    pub(crate) fn wait_state(&self, state: &str) -> Vec<VrrpInstanceStatus> {
        self.wait(state, |all| all.iter().all(|instance| instance.state == state))
    }
}

/// keepalived on a host of the segment.
pub(crate) struct Keepalived<'a> {
    segment: &'a Segment,
    pub(crate) host: u8,
    pub(crate) daemon: Process,
}

impl<'a> Keepalived<'a> {
    /// Starts it with instances in `text`.
    pub(crate) fn start(segment: &'a Segment, host: u8, text: &str) -> Self {
        let head = format!(
            "global_defs {{\n  router_id h{host}\n  enable_script_security\n  script_user root\n}}\n",
        );
        let file = segment.write(&format!("keepalived{host}.conf"), head + text).expect("configuration");
        let pid = |name: &str| segment.folder().join(format!("{name}{host}.pid")).display().to_string();
        let words = [
            "keepalived",
            "--dont-fork",
            "--log-console",
            "--log-detail",
            "--vrrp",
            "--use-file",
            &file.display().to_string(),
            "--pid",
            &pid("main"),
            "--vrrp_pid",
            &pid("vrrp"),
        ];
        let daemon =
            segment.spawn(host, &words, &format!("keepalived{host}.log")).expect("keepalived starts");
        Self { segment, host, daemon }
    }

    pub(crate) fn log(&self) -> String {
        let file = self.segment.folder().join(format!("keepalived{}.log", self.host));
        std::fs::read_to_string(file).unwrap_or_default()
    }

    /// Waits until the log has said this.
    pub(crate) fn wait(&self, text: &str) {
        let started = Instant::now();
        while !self.log().contains(text) {
            assert!(started.elapsed() < SOON, "keepalived never said {text:?}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Whether a host has an address.
pub(crate) fn has(segment: &Segment, host: u8, address: &str) -> bool {
    let listed = segment.ip(host, "-o address show").expect("ip address");
    listed.lines().any(|line| line.contains(&format!(" {address}/")))
}

/// Waits until exactly these hosts have an address.
pub(crate) fn wait_owner(
    segment: &Segment,
    hosts: &[u8],
    address: &str,
    owner: u8,
    context: &dyn Fn() -> String,
) {
    let started = Instant::now();
    loop {
        let owners: Vec<u8> = hosts.iter().copied().filter(|host| has(segment, *host, address)).collect();
        if owners == [owner] {
            return;
        }
        assert!(started.elapsed() < SOON, "{address} is on {owners:?}, not on {owner}\n{}", context());
        std::thread::sleep(Duration::from_millis(20));
    }
}
