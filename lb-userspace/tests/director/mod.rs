//! A daemon in a lab, as tests use it.

#![allow(dead_code, reason = "every test file takes what it needs")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use lab::{Lab, Process};
use lb_userspace::control::snapshot::Snapshot;

/// Bound for anything that has to happen; none of it takes a second on an idle machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) struct Director<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) daemon: Process,
}

impl<'a> Director<'a> {
    /// Starts the daemon and waits until it forwards.
    pub(crate) fn start(lab: &'a Lab, configuration: &str) -> Self {
        let director = Self::launch(lab, configuration);
        director.wait("every next hop", |snapshot| {
            let mut servers = snapshot.services.iter().flat_map(|service| &service.real_servers);
            servers.all(|server| server.local || server.next_hop.is_some())
        });
        director
    }

    /// Starts the daemon.
    pub(crate) fn launch(lab: &'a Lab, configuration: &str) -> Self {
        std::fs::write(Self::file(lab), configuration).expect("configuration file");
        let file = Self::file(lab);
        let words = [env!("CARGO_BIN_EXE_lvx"), "run", "--config", &file.to_string_lossy()];
        let daemon = lab.director().spawn(&words, &Self::log_file(lab)).expect("lvx starts");
        Self { lab, daemon }
    }

    pub(crate) fn file(lab: &Lab) -> PathBuf {
        lab.folder().join("lvx.toml")
    }

    pub(crate) fn socket(lab: &Lab) -> PathBuf {
        lab.folder().join("lvx.sock")
    }

    pub(crate) fn log_file(lab: &Lab) -> PathBuf {
        lab.folder().join("lvx.log")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(Self::log_file(self.lab)).unwrap_or_default()
    }

    pub(crate) fn list(&self, options: &[&str]) -> Option<String> {
        let socket = Self::socket(self.lab);
        let mut words = vec![env!("CARGO_BIN_EXE_lvx"), "list", "--socket"];
        let socket = socket.to_string_lossy();
        words.push(&socket);
        words.extend(options);
        self.lab.director().output(&words).ok().and_then(|bytes| String::from_utf8(bytes).ok())
    }

    pub(crate) fn snapshot(&self) -> Option<Snapshot> {
        serde_json::from_str(&self.list(&["--json"])?).ok()
    }

    pub(crate) fn wait(&self, what: &str, reached: impl Fn(&Snapshot) -> bool) -> Snapshot {
        let started = Instant::now();
        loop {
            if let Some(snapshot) = self.snapshot().filter(&reached) {
                return snapshot;
            }
            assert!(self.daemon.is_running(), "lvx ended before {what}:\n{}", self.log());
            assert!(started.elapsed() < SOON, "no {what}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Writes another configuration and has the daemon read it.
    pub(crate) fn reload(&self, configuration: &str) {
        std::fs::write(Self::file(self.lab), configuration).expect("configuration file");
        self.daemon.signal(libc::SIGHUP);
    }
}

/// One service by direct routing on the IPv4 virtual address; `servers` are numbers and weights.
pub(crate) fn configuration(lab: &Lab, extra: &str, servers: &[(usize, u32)]) -> String {
    let socket = Director::socket(lab);
    let interface = lab.director_interfaces()[0];
    let mut text = format!(
        "[global]\ncontrol_socket = \"{}\"\nmetrics = \"127.0.0.1:9464\"\n{extra}\n[[interface]]\nname = \"{interface}\"\n\
         [[service]]\naddress = \"{}:80\"\nscheduler = \"rr\"\nforwarding = \"dr\"\n",
        socket.display(),
        lab.vip4()
    );
    for (number, weight) in servers {
        let address = lab.rs(*number).v4;
        text.push_str(&format!("[[service.real_server]]\naddress = \"{address}:80\"\nweight = {weight}\n"));
    }
    text
}

pub(crate) fn url(lab: &Lab, path: &str) -> String {
    format!("http://{}{path}", SocketAddr::from((lab.vip4(), 80)))
}
