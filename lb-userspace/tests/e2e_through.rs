//! Checks through the datapath find out what checks of the real server's own address cannot. Needs root.

mod director;

use std::net::{IpAddr, SocketAddr};

use director::Director;
use lab::Lab;
use lb_userspace::control::snapshot::Snapshot;

const CHECKS: &str = "[[service.check]]\ntype = \"tcp\"\nthrough = \"datapath\"\ninterval = \"100ms\"\ntimeout = \"300ms\"\n\
                      fall = 2\nretry_delay = \"50ms\"\nwarmup = \"50ms\"\n[[service.check]]\ntype = \"tcp\"\ninterval = \"100ms\"\n\
                      timeout = \"300ms\"\nwarmup = \"50ms\"\n";

fn service(vip: SocketAddr, method: &str, servers: &[SocketAddr]) -> String {
    let mut text = format!("[[service]]\naddress = \"{vip}\"\nforwarding = \"{method}\"\n{CHECKS}");
    for (number, server) in servers.iter().enumerate() {
        // A quiesced real server is checked all the same.
        text += &format!("[[service.real_server]]\naddress = \"{server}\"\nweight = {}\n", 1 - number.min(1));
    }
    text
}

/// Whether each check of the second real server of each service passes.
fn second(snapshot: &Snapshot) -> Vec<[bool; 2]> {
    let health = snapshot.services.iter().map(|service| service.health.as_ref().expect("health"));
    health
        .map(|health| {
            let checks = &health.real_servers[1].checks;
            [checks[0].passing && checks[0].passes > 0, checks[1].passing && checks[1].passes > 0]
        })
        .collect()
}

fn run(two_armed: bool) {
    let lab = Lab::builder().real_servers(2).two_armed(two_armed).build().expect("lab");
    let v4 = |port| [1, 2].map(|number| SocketAddr::from((lab.rs(number).v4, port)));
    let v6 = |port| [1, 2].map(|number| SocketAddr::from((lab.rs(number).v6, port)));
    let (vip4, vip6) = (IpAddr::from(lab.vip4()), IpAddr::from(lab.vip6()));
    let interfaces: String =
        lab.director_interfaces().iter().map(|name| format!("[[interface]]\nname = \"{name}\"\n")).collect();
    let text = format!(
        "[global]\ncontrol_socket = \"{}\"\nmetrics = \"off\"\n{interfaces}{}{}{}{}",
        Director::socket(&lab).display(),
        service(SocketAddr::new(vip4, 80), "dr", &v4(80)),
        service(SocketAddr::new(vip6, 80), "dr", &v6(80)),
        service(SocketAddr::new(vip4, 8081), "tunnel", &v4(8081)),
        service(SocketAddr::new(vip6, 8081), "tunnel", &v6(8081)),
    );
    let (vip4_text, vip6_text) = (vip4.to_string(), vip6.to_string());
    let words =
        [env!("CARGO_BIN_EXE_lvx"), "decap", "--interface", "eth0", "--vip", &vip4_text, "--vip", &vip6_text];
    let decapsulators: Vec<_> = lab
        .real_servers()
        .iter()
        .map(|server| {
            let log = lab.folder().join(format!("{}.log", server.name));
            server.host.spawn(&words, &log).expect("decap")
        })
        .collect();
    let director = Director::start(&lab, &text);
    director.wait("good checks", |snapshot| second(snapshot) == [[true, true]; 4]);

    // The tunnel of the second real server is gone; direct routing and its own address still answer.
    assert!(decapsulators[1].end());
    director.wait("the lost tunnel", |snapshot| {
        second(snapshot) == [[true, true], [true, true], [false, true], [false, true]]
    });
    let addresses = lab.rs(2).host.output(&["ip", "address", "del", &format!("{vip4}/32"), "dev", "lo"]);
    addresses.expect("the virtual address was there");
    director.wait("the lost virtual address", |snapshot| {
        second(snapshot) == [[false, true], [true, true], [false, true], [false, true]]
    });
    let listing = director.list(&["--health"]).expect("a listing");
    assert!(listing.contains("DOWN"), "{listing}");
    // The first real server is as it was, and takes connections.
    let name = lab.client().fetch(&format!("http://{vip4}/whoami")).expect("an answer");
    assert_eq!(String::from_utf8_lossy(&name).trim(), "rs1");
    let back = lab.rs(2).host.output(&["ip", "address", "add", &format!("{vip4}/32"), "dev", "lo"]);
    back.expect("the virtual address is back");
    director.wait("its return", |snapshot| second(snapshot)[0] == [true, true]);

    let snapshot = director.snapshot().expect("the daemon answers");
    let connections: u64 = snapshot.services.iter().map(|service| service.traffic.connections).sum();
    assert_eq!(connections, 1, "checks are no connections");
    let entries = director.list(&["--connections"]).expect("connections");
    assert_eq!(entries.lines().skip(2).count(), 1, "{entries}");
    assert!(director.daemon.end());
    let left = lab.director().output(&["ip", "link"]).expect("links");
    assert!(!String::from_utf8_lossy(&left).contains("lvxchk"), "{}", String::from_utf8_lossy(&left));
}

#[test]
fn one_armed() {
    run(false);
}

#[test]
fn two_armed() {
    run(true);
}
