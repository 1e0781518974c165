//! The daemon on real traffic between network namespaces. Needs root.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use lab::{Lab, Process};
use lb_userspace::control::snapshot::Snapshot;

/// Bound for anything that has to happen; none of it takes a second on an idle machine.
const SOON: Duration = Duration::from_secs(20);

struct Director<'a> {
    lab: &'a Lab,
    daemon: Process,
}

impl<'a> Director<'a> {
    fn start(lab: &'a Lab, configuration: &str) -> Self {
        std::fs::write(Self::file(lab), configuration).expect("configuration file");
        let file = Self::file(lab);
        let words = [env!("CARGO_BIN_EXE_lvx"), "run", "--config", &file.to_string_lossy()];
        let daemon = lab.director().spawn(&words, &Self::log_file(lab)).expect("lvx starts");
        let director = Self { lab, daemon };
        director.wait("every next hop", |snapshot| {
            let mut servers = snapshot.services.iter().flat_map(|service| &service.real_servers);
            servers.all(|server| server.local || server.next_hop.is_some())
        });
        director
    }

    fn file(lab: &Lab) -> PathBuf {
        lab.folder().join("lvx.toml")
    }

    fn socket(lab: &Lab) -> PathBuf {
        lab.folder().join("lvx.sock")
    }

    fn log_file(lab: &Lab) -> PathBuf {
        lab.folder().join("lvx.log")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(Self::log_file(self.lab)).unwrap_or_default()
    }

    fn list(&self, options: &[&str]) -> Option<String> {
        let socket = Self::socket(self.lab);
        let mut words = vec![env!("CARGO_BIN_EXE_lvx"), "list", "--socket"];
        let socket = socket.to_string_lossy();
        words.push(&socket);
        words.extend(options);
        self.lab.director().output(&words).ok().and_then(|bytes| String::from_utf8(bytes).ok())
    }

    fn snapshot(&self) -> Option<Snapshot> {
        serde_json::from_str(&self.list(&["--json"])?).ok()
    }

    fn wait(&self, what: &str, reached: impl Fn(&Snapshot) -> bool) -> Snapshot {
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
    fn reload(&self, configuration: &str) {
        std::fs::write(Self::file(self.lab), configuration).expect("configuration file");
        self.daemon.signal(libc::SIGHUP);
    }
}

/// One service by direct routing on the IPv4 virtual address; `servers` are numbers and weights.
fn configuration(lab: &Lab, extra: &str, servers: &[(usize, u32)]) -> String {
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

fn url(lab: &Lab, path: &str) -> String {
    format!("http://{}{path}", SocketAddr::from((lab.vip4(), 80)))
}

#[test]
fn a_reload_keeps_connections_and_a_wrong_one_changes_nothing() {
    let lab = Lab::builder().real_servers(3).build().expect("lab");
    let director = Director::start(&lab, &configuration(&lab, "", &[(1, 1)]));
    // The only real server is number 1, so the download is its own; slow enough to outlast the reloads.
    let target = lab.folder().join("download");
    let words = [
        "curl",
        "--silent",
        "--show-error",
        "--limit-rate",
        "200k",
        "--output",
        &target.to_string_lossy(),
        &url(&lab, "/1MiB"),
    ];
    let download = lab.client().spawn(&words, &lab.folder().join("curl.log")).expect("curl starts");
    director.wait("a connection", |snapshot| snapshot.services[0].traffic.connections == 1);

    director.reload(&configuration(&lab, "", &[(1, 3), (2, 1), (3, 1)]));
    director.wait("three real servers", |snapshot| {
        snapshot.generation == 2 && snapshot.services[0].real_servers.len() == 3
    });
    director.reload(&configuration(&lab, "", &[(1, 0), (3, 1)]));
    let before = director.wait("two real servers", |snapshot| {
        snapshot.generation == 3 && snapshot.services[0].real_servers.len() == 2
    });

    director.reload("[[service]]\naddress = \"nonsense\"\n");
    let started = Instant::now();
    while !director.log().contains("reload refused") {
        assert!(started.elapsed() < SOON, "the wrong file was not refused:\n{}", director.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    let after = director.snapshot().expect("the daemon answers");
    assert_eq!((after.generation, &after.services[0].key), (3, &before.services[0].key));
    assert_eq!(after.services[0].real_servers.len(), 2);
    // New connections go on, to the server that is neither quiesced nor removed.
    for _ in 0..4 {
        let name = lab.client().fetch(&url(&lab, "/whoami")).expect("an answer");
        assert_eq!(String::from_utf8_lossy(&name).trim(), lab.rs(3).name);
    }

    let started = Instant::now();
    while download.is_running() {
        assert!(started.elapsed() < SOON * 2, "the download hangs:\n{}", director.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    let received = std::fs::read(&target).expect("the download");
    assert!(received == lab.download(), "{} bytes arrived, not as they were sent", received.len());
}

#[test]
fn metrics_count_and_a_terminated_director_leaves_nothing_attached() {
    let lab = Lab::builder().real_servers(2).build().expect("lab");
    let director = Director::start(&lab, &configuration(&lab, "", &[(1, 1), (2, 1)]));
    for _ in 0..6 {
        lab.client().fetch(&url(&lab, "/whoami")).expect("an answer");
    }
    let metrics = lab.director().fetch("http://127.0.0.1:9464/metrics").expect("metrics");
    let metrics = String::from_utf8(metrics).expect("text");
    for series in ["lvx_service_connections_total{", "node_ipvs_connections_total "] {
        let line =
            metrics.lines().find(|line| line.starts_with(series)).unwrap_or_else(|| panic!("no {series}"));
        assert!(line.ends_with(" 6"), "{line}");
    }
    let snapshot = director.snapshot().expect("the daemon answers");
    let connections: Vec<u64> =
        snapshot.services[0].real_servers.iter().map(|server| server.traffic.connections).collect();
    assert_eq!(connections, [3, 3]);
    assert_eq!(snapshot.services[0].traffic.out_packets, 0, "replies bypass a director with direct routing");

    let interface = lab.director_interfaces()[0];
    let link = || {
        let bytes = lab.director().output(&["ip", "link", "show", "dev", interface]).expect("ip");
        String::from_utf8_lossy(&bytes).into_owned()
    };
    assert!(link().contains("xdp"), "the program is attached: {}", link());
    assert!(director.daemon.end(), "lvx ends by itself when it is told to");
    assert!(!link().contains("xdp"), "the program is still attached: {}", link());
}

#[test]
fn udp_entries_expire_and_generic_mode_forwards() {
    let lab = Lab::builder().real_servers(1).build().expect("lab");
    let text = configuration(&lab, "[timeouts]\nudp = \"2s\"", &[(1, 1)])
        .replace("[[service]]", "mode = \"generic\"\n[[service]]")
        + &format!(
            "[[service]]\naddress = \"{}:5300\"\nprotocol = \"udp\"\nforwarding = \"dr\"\n[[service.real_server]]\naddress = \"{}:5300\"\n",
            lab.vip4(),
            lab.rs(1).v4
        );
    let director = Director::start(&lab, &text);
    assert_eq!(director.snapshot().expect("the daemon answers").interfaces[0].mode, "generic");
    assert_eq!(lab.client().fetch(&url(&lab, "/1MiB")).expect("a download"), lab.download());
    let answer = lab.client().ask(SocketAddr::from((lab.vip4(), 5300)), "hello").expect("an answer");
    assert!(answer.contains("hello"), "{answer}");
    let entries = director.list(&["--connections"]).expect("connections");
    assert!(entries.lines().any(|line| line.starts_with("UDP")), "{entries}");
    director.wait("end of the UDP entry", |snapshot| snapshot.services[1].real_servers[0].inactive == 0);
}

#[test]
fn two_armed_directors_redirect_and_tunnels_cross_families() {
    let lab = Lab::builder().real_servers(2).two_armed(true).build().expect("lab");
    let interfaces: String =
        lab.director_interfaces().iter().map(|name| format!("[[interface]]\nname = \"{name}\"\n")).collect();
    let service = |vip: SocketAddr, method: &str, servers: &[SocketAddr]| {
        let mut text =
            format!("[[service]]\naddress = \"{vip}\"\nscheduler = \"rr\"\nforwarding = \"{method}\"\n");
        for server in servers {
            text.push_str(&format!("[[service.real_server]]\naddress = \"{server}\"\n"));
        }
        text
    };
    let v4 = |port| [1, 2].map(|number| SocketAddr::from((lab.rs(number).v4, port)));
    let v6 = |port| [1, 2].map(|number| SocketAddr::from((lab.rs(number).v6, port)));
    let (vip4, vip6) =
        (|port| SocketAddr::from((lab.vip4(), port)), |port| SocketAddr::from((lab.vip6(), port)));
    let text = format!(
        "[global]\ncontrol_socket = \"{}\"\nmetrics = \"off\"\n{interfaces}{}{}{}{}{}",
        Director::socket(&lab).display(),
        service(vip4(80), "dr", &v4(80)),
        service(vip4(8081), "tunnel", &v6(8081)),
        service(vip6(8081), "tunnel", &v4(8081)),
        service(vip4(8082), "nat", &v4(80)),
        service(vip6(8082), "nat", &v6(80)),
    );
    let mut decapsulators = Vec::new();
    for server in lab.real_servers() {
        let (vip4, vip6) = (lab.vip4().to_string(), lab.vip6().to_string());
        let words =
            [env!("CARGO_BIN_EXE_lvx"), "decap", "--interface", "eth0", "--vip", &vip4, "--vip", &vip6];
        decapsulators.push(
            server.host.spawn(&words, &lab.folder().join(format!("{}.log", server.name))).expect("decap"),
        );
    }
    let director = Director::start(&lab, &text);
    for vip in [vip4(80), vip4(8081), vip6(8081), vip4(8082), vip6(8082)] {
        let mut names = Vec::new();
        for _ in 0..4 {
            let name = lab.client().fetch(&format!("http://{vip}/whoami"));
            let name = name.unwrap_or_else(|error| panic!("{vip}: {error:#}\n{}", director.log()));
            names.push(String::from_utf8_lossy(&name).trim().to_owned());
        }
        names.sort_unstable();
        assert_eq!(names, ["rs1", "rs1", "rs2", "rs2"], "{vip}");
        let download = lab.client().fetch(&format!("http://{vip}/1MiB")).expect("a download");
        assert!(download == lab.download(), "{vip}: the download is damaged");
    }
    let snapshot = director.snapshot().expect("the daemon answers");
    for service in &snapshot.services {
        let through_director = service.traffic.out_packets > 0;
        assert_eq!(through_director, service.key.port == 8082, "{}", service.key);
    }
}
