//! Every forwarding method on real traffic between network namespaces. Needs root.

mod director;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use director::Director;
use lab::Lab;

/// A service and its real servers.
fn service(vip: SocketAddr, protocol: &str, method: &str, servers: &[SocketAddr]) -> String {
    let mut text = format!(
        "[[service]]\naddress = \"{vip}\"\nprotocol = \"{protocol}\"\nscheduler = \"rr\"\nforwarding = \"{method}\"\n"
    );
    for server in servers {
        text.push_str(&format!("[[service.real_server]]\naddress = \"{server}\"\n"));
    }
    text
}

fn head(lab: &Lab) -> String {
    let interfaces: String =
        lab.director_interfaces().iter().map(|name| format!("[[interface]]\nname = \"{name}\"\n")).collect();
    format!(
        "[global]\ncontrol_socket = \"{}\"\nmetrics = \"off\"\n{interfaces}",
        Director::socket(lab).display()
    )
}

/// Takes the headers of tunnels off on every real server.
fn decapsulate(lab: &Lab) -> Vec<lab::Process> {
    let (vip4, vip6) = (lab.vip4().to_string(), lab.vip6().to_string());
    let words = [env!("CARGO_BIN_EXE_lvx"), "decap", "--interface", "eth0", "--vip", &vip4, "--vip", &vip6];
    let start = |server: &lab::RealServer| {
        let log = lab.folder().join(format!("{}.log", server.name));
        server.host.spawn(&words, &log).expect("decap")
    };
    lab.real_servers().iter().map(start).collect()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("text").trim().to_owned()
}

#[test]
fn every_method_and_family_carries_tcp_and_udp() {
    let lab = Lab::builder().real_servers(3).build().expect("lab");
    let families: [(IpAddr, IpAddr); 2] =
        [(lab.vip4().into(), lab.client4().into()), (lab.vip6().into(), lab.client6().into())];
    // Direct routing, tunnel and NAT each have a port, because they share the virtual address.
    let methods = [("dr", 80, 5300), ("tunnel", 8081, 5301), ("nat", 8082, 5302)];
    let mut configuration = head(&lab);
    for (vip, _) in families {
        for (method, web, echo) in methods {
            for (protocol, port) in [("tcp", web), ("udp", echo)] {
                let servers: Vec<SocketAddr> = lab
                    .real_servers()
                    .iter()
                    .map(|server| SocketAddr::new(server.address(vip), port))
                    .collect();
                configuration += &service(SocketAddr::new(vip, port), protocol, method, &servers);
            }
        }
    }
    let _decapsulators = decapsulate(&lab);
    let director = Director::start(&lab, &configuration);
    let names = ["rs1", "rs2", "rs3"].map(str::to_owned);
    for (vip, client) in families {
        for (method, web, echo) in methods {
            let what = format!("{method} {vip}");
            let at = SocketAddr::new(vip, web);
            let fetch = |path: &str| {
                let fetched = lab.client().fetch(&format!("http://{at}{path}"));
                fetched.unwrap_or_else(|error| panic!("{what}{path}: {error:#}\n{}", director.log()))
            };
            let mut spread: BTreeMap<String, u32> = BTreeMap::new();
            for _ in 0..6 {
                *spread.entry(text(fetch("/whoami"))).or_default() += 1;
            }
            assert_eq!(spread, names.iter().map(|name| (name.clone(), 2)).collect(), "{what}");
            assert_eq!(text(fetch("/client")), client.to_string(), "{what}: the client's address is seen");
            assert!(fetch("/1MiB") == lab.download(), "{what}: the download is damaged");
            let upload = format!("{method}{}", u8::from(vip.is_ipv6()));
            let file = lab.download_file();
            let target = format!("http://{at}/upload/{upload}");
            let words = ["curl", "-sS", "--fail", "-T", &file.to_string_lossy(), &target];
            lab.client().output(&words).unwrap_or_else(|error| panic!("{what}: upload: {error:#}"));
            let received: Vec<Vec<u8>> =
                lab.real_servers().iter().filter_map(|server| lab.uploaded(server, &upload).ok()).collect();
            assert!(
                received == [lab.download()],
                "{what}: the upload is damaged or at {} servers",
                received.len()
            );

            // Each question is a flow of its own, from another port.
            let mut answered: BTreeMap<String, u32> = BTreeMap::new();
            for number in 0..6 {
                let question = format!("question {number}");
                let answer = lab.client().ask(SocketAddr::new(vip, echo), &question);
                let answer =
                    answer.unwrap_or_else(|error| panic!("{what}: UDP: {error:#}\n{}", director.log()));
                let mut words = answer.splitn(3, ' ');
                let (name, seen, payload) = (words.next(), words.next(), words.next());
                *answered.entry(name.unwrap_or_default().to_owned()).or_default() += 1;
                let seen: SocketAddr =
                    seen.and_then(|seen| seen.strip_prefix("client=")?.parse().ok()).expect("the client");
                assert_eq!(seen.ip(), client, "{what}: UDP");
                assert_eq!(payload, Some(question.as_str()), "{what}");
            }
            assert_eq!(answered, names.iter().map(|name| (name.clone(), 2)).collect(), "{what}: UDP");
        }
    }
    let snapshot = director.snapshot().expect("the daemon answers");
    for service in &snapshot.services {
        let nat = matches!(service.key.port, 8082 | 5302);
        assert_eq!(service.traffic.out_packets > 0, nat, "{}: replies through the director", service.key);
    }
    assert!(snapshot.drops.iter().all(|drop| drop.count == 0), "{:?}", snapshot.drops);
}

#[test]
fn the_director_is_a_real_server_too() {
    let lab = Lab::builder().real_servers(1).build().expect("lab");
    let _own = lab.serve_web(lab.director(), "director", &[80]).expect("nginx on the director");
    let own = "10.0.0.2:80".parse().expect("the director's address");
    let configuration = head(&lab)
        + &service(
            SocketAddr::from((lab.vip4(), 80)),
            "tcp",
            "dr",
            &[own, SocketAddr::from((lab.rs(1).v4, 80))],
        );
    let director = Director::start(&lab, &configuration);
    let mut names: Vec<String> = (0..6)
        .map(|_| text(lab.client().fetch(&format!("http://{}/whoami", lab.vip4())).expect("an answer")))
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["director", "director", "director", "rs1", "rs1", "rs1"]);
    let listing = director.list(&[]).expect("a listing");
    assert!(listing.contains("Local"), "{listing}");
    let download = lab.client().fetch(&format!("http://{}/client", lab.vip4())).expect("an answer");
    assert_eq!(text(download), lab.client4().to_string());
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
