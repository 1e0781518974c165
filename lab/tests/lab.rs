//! The lab itself: its peers answer, and nothing of it stays. Needs root.

#![expect(clippy::unwrap_used, reason = "a failure of these functions is a failure of the test")]

use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use lab::{HTTP_PORTS, Lab, UDP_PORTS};

/// Namespaces, processes and files of the lab with this prefix that exist.
fn remains(prefix: &str) -> Vec<String> {
    let names = |directory: &str| {
        let entries = fs::read_dir(directory).into_iter().flatten();
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect::<Vec<_>>()
    };
    let mut found = names("/run/netns");
    found.extend(names("/run/lvx-lab"));
    for pid in names("/proc") {
        // Both kinds of server have the lab's folder or name in their command line or working files.
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        found.push(format!("process {pid} {}", String::from_utf8_lossy(&line).replace('\0', " ")));
    }
    let mark = |name: &String| name.contains(&format!("{prefix}-")) || name.contains(&format!("{prefix}/"));
    found.retain(|name| mark(name) || name == prefix);
    found
}

fn is_running(pid: i32) -> bool {
    // A zombie has no command line.
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

fn pids(lab: &Lab) -> Vec<i32> {
    let servers = lab.real_servers().iter();
    servers.flat_map(|server| server.host.processes().unwrap()).map(|process| process.pid()).collect()
}

#[track_caller]
fn assert_gone(prefix: &str, pids: &[i32]) {
    assert_eq!(remains(prefix), Vec::<String>::new());
    let running: Vec<_> = pids.iter().filter(|pid| is_running(**pid)).collect();
    assert!(running.is_empty(), "still running: {running:?}");
}

fn peers_answer(lab: &Lab) {
    let client = lab.client();
    for server in lab.real_servers() {
        for (address, own) in
            [(IpAddr::from(server.v4), IpAddr::from(lab.client4())), (server.v6.into(), lab.client6().into())]
        {
            for port in HTTP_PORTS {
                let url = format!("http://{}", SocketAddr::new(address, port));
                let who = client.fetch(&format!("{url}/whoami")).unwrap();
                assert_eq!(String::from_utf8_lossy(&who), format!("{}\n", server.name));
                let seen = client.fetch(&format!("{url}/client")).unwrap();
                assert_eq!(String::from_utf8_lossy(&seen), format!("{own}\n"));
            }
            for port in UDP_PORTS {
                let answer = client.ask(SocketAddr::new(address, port), "hello there").unwrap();
                let expected = format!("{} client={}", server.name, SocketAddr::new(own, 0));
                let expected = expected.strip_suffix('0').unwrap();
                assert!(answer.starts_with(expected) && answer.ends_with(" hello there"), "{answer}");
            }
            let body = client.fetch(&format!("http://{}/1MiB", SocketAddr::new(address, 80))).unwrap();
            assert!(body == lab.download(), "{} bytes that are not those of the file", body.len());
        }
    }
}

#[test]
fn one_armed_peers_answer_and_nothing_stays() {
    let began = Instant::now();
    let lab = Lab::builder().build().unwrap();
    println!("built in {:?}", began.elapsed());
    let (prefix, pids) = (lab.prefix().to_owned(), pids(&lab));
    assert_eq!(pids.len(), 6, "an nginx and an echo on each of three real servers");
    assert!(pids.iter().all(|pid| is_running(*pid)));
    assert!(remains(&prefix).len() >= 7);
    peers_answer(&lab);
    let began = Instant::now();
    drop(lab);
    println!("removed in {:?}", began.elapsed());
    assert_gone(&prefix, &pids);
}

#[test]
fn two_armed_peers_answer_through_the_director() {
    let lab = Lab::builder().two_armed(true).real_servers(2).build().unwrap();
    peers_answer(&lab);
    assert_eq!(lab.director_interfaces(), ["eth0", "eth1"]);
    let path = lab.client().output(&["ip", "-4", "route", "get", &lab.rs(1).v4.to_string()]).unwrap();
    assert!(String::from_utf8_lossy(&path).contains("via 192.0.2.2 "), "{path:?}");
}

/// The address that was asked answers, even though the real server would by itself choose another source.
#[test]
fn echo_answers_from_a_virtual_address() {
    let lab = Lab::builder().real_servers(1).build().unwrap();
    for (vip, real) in
        [(IpAddr::from(lab.vip4()), IpAddr::from(lab.rs(1).v4)), (lab.vip6().into(), lab.rs(1).v6.into())]
    {
        let family = if vip.is_ipv4() { "-4" } else { "-6" };
        let (destination, gateway) = (vip.to_string(), real.to_string());
        let length = if vip.is_ipv4() { 32 } else { 128 };
        let route = format!("{destination}/{length}");
        let words = ["ip", family, "route", "add", &route, "via", &gateway, "dev", "eth0", "onlink"];
        lab.client().output(&words).unwrap();
        let answer = lab.client().ask(SocketAddr::new(vip, 5300), "x").unwrap();
        assert!(answer.starts_with("rs1 client="), "{answer}");
        let url = format!("http://{}/whoami", SocketAddr::new(vip, 80));
        assert_eq!(lab.client().fetch(&url).unwrap(), b"rs1\n");
    }
}

#[test]
fn uploads_arrive_whole() {
    let lab = Lab::builder().real_servers(1).build().unwrap();
    let file = lab.download_file();
    let url = format!("http://{}/upload/copy", lab.rs(1).v4);
    lab.client().output(&["curl", "-sSf", "-m", "5", "-T", file.to_str().unwrap(), &url]).unwrap();
    assert!(lab.uploaded(lab.rs(1), "copy").unwrap() == lab.download());
}

/// Only the director answers ARP and neighbour solicitations for a virtual address.
#[test]
fn virtual_address_is_the_directors() {
    let lab = Lab::builder().real_servers(2).build().unwrap();
    let own =
        String::from_utf8(lab.director().output(&["ip", "-br", "link", "show", "eth0"]).unwrap()).unwrap();
    let mac = own.split_whitespace().nth(2).unwrap();
    for vip in [IpAddr::from(lab.vip4()), lab.vip6().into()] {
        // The discard port: whatever becomes of the datagram, the neighbour is looked up.
        let asked = lab.client().enter(|| {
            let socket = UdpSocket::bind(if vip.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).unwrap();
            socket.send_to(b"", (vip, 9)).unwrap()
        });
        asked.unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let words = ["ip", "neigh", "show", "to", &vip.to_string()];
            let found = String::from_utf8(lab.client().output(&words).unwrap()).unwrap();
            if found.contains(mac) {
                break;
            }
            assert!(!found.contains("lladdr") && Instant::now() < deadline, "{vip}: {found}, expected {mac}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// What native XDP on the director needs from the other ends of its cables.
#[test]
fn director_faces_ports_with_a_program_and_whole_checksums() {
    let lab = Lab::builder().real_servers(1).two_armed(true).build().unwrap();
    for port in ["director", "director1"] {
        let link = lab.switch().output(&["ip", "-d", "link", "show", port]).unwrap();
        let link = String::from_utf8(link).unwrap();
        assert!(link.contains("prog/xdp id"), "{link}");
        assert!(link.contains("mtu 1600"), "{link}");
        let features = lab.switch().output(&["ethtool", "-k", port]).unwrap();
        let features = String::from_utf8(features).unwrap();
        assert!(features.contains("tx-checksumming: off"), "{features}");
    }
    let link = lab.switch().output(&["ip", "link", "show", "client"]).unwrap();
    assert!(!String::from_utf8(link).unwrap().contains("xdp"));
}

#[test]
fn panic_leaves_nothing() {
    let seen = std::sync::Mutex::new((String::new(), Vec::new(), 0));
    let result = std::panic::catch_unwind(|| {
        let lab = Lab::builder().real_servers(1).build().unwrap();
        let log = lab.folder().join("sleep.log");
        let sleeper = lab.client().spawn(&["sleep", "1000"], &log).unwrap();
        *seen.lock().unwrap() = (lab.prefix().to_owned(), pids(&lab), sleeper.pid());
        std::panic::resume_unwind(Box::new("as planned"));
    });
    assert_eq!(result.unwrap_err().downcast_ref(), Some(&"as planned"));
    let (prefix, mut pids, sleeper) = seen.into_inner().unwrap();
    assert_eq!(pids.len(), 2);
    pids.push(sleeper);
    assert_gone(&prefix, &pids);
}

/// Processes that a test has started and forgotten end with the lab too.
#[test]
fn forgotten_processes_end_with_the_lab() {
    let lab = Lab::builder().real_servers(1).build().unwrap();
    let (prefix, mut pids) = (lab.prefix().to_owned(), pids(&lab));
    let log = lab.folder().join("sleep.log");
    pids.push(lab.client().spawn(&["sleep", "1000"], &log).unwrap().leave_running());
    drop(lab);
    assert_gone(&prefix, &pids);
}

#[test]
fn labs_stand_side_by_side() {
    let labs: Vec<Lab> = std::thread::scope(|scope| {
        let builds: Vec<_> =
            (0..3).map(|_| scope.spawn(|| Lab::builder().real_servers(1).build().unwrap())).collect();
        builds.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let prefixes: std::collections::BTreeSet<&str> = labs.iter().map(Lab::prefix).collect();
    assert_eq!(prefixes.len(), 3);
    labs.iter().for_each(peers_answer);
}

#[test]
fn kept_lab_stays_until_removed() {
    let lab = Lab::builder().real_servers(1).build().unwrap();
    let (client, url) = (lab.client().clone(), format!("http://{}/whoami", lab.rs(1).v4));
    let pids = pids(&lab);
    let prefix = lab.keep().unwrap();
    // The next build cleans up after killed processes, and has to leave this one.
    drop(Lab::builder().real_servers(0).build().unwrap());
    let answer = client.fetch(&url);
    let kept = lab::kept();
    Lab::remove(&prefix).unwrap();
    assert_eq!(answer.unwrap(), b"rs1\n");
    assert!(kept.unwrap().contains(&prefix));
    assert_gone(&prefix, &pids);
}

#[test]
fn killed_process_is_cleaned_up_after_and_a_living_one_is_not() {
    let mut owner = Command::new("sleep").arg("1000").spawn().unwrap();
    let name = format!("lvx{}-0-client", owner.id());
    let path = Path::new("/run/netns").join(&name);
    let added = Command::new("ip").args(["netns", "add", &name]).status();
    drop(Lab::builder().real_servers(0).build().unwrap());
    let stayed = path.exists();
    owner.kill().unwrap();
    owner.wait().unwrap();
    drop(Lab::builder().real_servers(0).build().unwrap());
    assert!(added.unwrap().success() && stayed);
    assert!(!path.exists());
}

#[test]
fn errors_name_what_went_wrong() {
    let lab = Lab::builder().real_servers(1).build().unwrap();
    let error = lab.client().output(&["ip", "link", "show", "eth7"]).unwrap_err().to_string();
    assert!(error.starts_with("`ip link show eth7` in lvx") && error.contains("does not exist"), "{error}");
    let nobody = SocketAddr::new(lab.rs(1).v4.into(), 9);
    assert!(
        format!("{:#}", lab.client().ask(nobody, "x").unwrap_err())
            .contains("no UDP answer from 10.0.0.11:9")
    );
    assert!(Lab::builder().real_servers(201).build().unwrap_err().to_string().contains("at most 200"));
}
