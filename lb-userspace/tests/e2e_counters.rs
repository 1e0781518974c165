//! Counters of connections are exact, and load schedulers go by them. Needs root.

mod director;

use std::net::{SocketAddr, TcpStream};

use director::{Director, SOON, configuration};
use lab::Lab;
use lb_userspace::control::snapshot::Snapshot;

/// Opens connections to the virtual address, one after the other, and keeps them.
fn hold(lab: &Lab, port: u16, count: usize) -> Vec<TcpStream> {
    let vip = SocketAddr::from((lab.vip4(), port));
    let open = || (0..count).map(|_| TcpStream::connect_timeout(&vip, SOON)).collect::<Result<Vec<_>, _>>();
    lab.client().enter(open).expect("the client's namespace").expect("connections")
}

/// Active and inactive connections of each real server of a service.
fn counted(snapshot: &Snapshot, service: usize) -> Vec<(u32, u32)> {
    let servers = &snapshot.services[service].real_servers;
    servers.iter().map(|server| (server.active, server.inactive)).collect()
}

#[test]
fn load_schedulers_go_by_the_open_connections() {
    let lab = Lab::builder().real_servers(2).build().expect("lab");
    for (scheduler, shares) in [("wlc", [(4, 0), (12, 0)]), ("lc", [(8, 0), (8, 0)])] {
        let text = configuration(&lab, "[timeouts]\ntcp_fin = \"1s\"", &[(1, 1), (2, 3)])
            .replace("\"rr\"", &format!("\"{scheduler}\""));
        let director = Director::start(&lab, &text);
        let streams = hold(&lab, 80, 16);
        let snapshot = director.wait("16 connections", |snapshot| {
            snapshot.services[0].traffic.connections == 16 && counted(snapshot, 0) == shares
        });
        assert_eq!(snapshot.services[0].real_servers.len(), 2);
        drop(streams);
        director.wait("expiry", |snapshot| counted(snapshot, 0) == [(0, 0), (0, 0)]);
        assert!(director.daemon.end());
    }
}

#[test]
fn counters_return_to_zero_after_many_connections_at_once() {
    const THREADS: usize = 8;
    const EACH: usize = 50;
    let lab = Lab::builder().real_servers(3).build().expect("lab");
    let mut text = configuration(&lab, "[timeouts]\ntcp_fin = \"1s\"", &[(1, 1), (2, 1), (3, 1)]);
    text += &format!(
        "[[service]]\naddress = \"{}:8082\"\nscheduler = \"rr\"\nforwarding = \"nat\"\n",
        lab.vip4()
    );
    for server in lab.real_servers() {
        text += &format!("[[service.real_server]]\naddress = \"{}:80\"\n", server.v4);
    }
    let director = Director::start(&lab, &text);
    let open = |port| {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(|| hold(&lab, port, EACH))).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("connections")).collect::<Vec<_>>()
        })
    };
    let all = (THREADS * EACH) as u32;
    let sum = |snapshot: &Snapshot, service| {
        let counted = counted(snapshot, service);
        (
            counted.iter().map(|server| server.0).sum::<u32>(),
            counted.iter().map(|server| server.1).sum::<u32>(),
        )
    };
    let direct = open(80);
    let translated = open(8082);
    director
        .wait("every connection", |snapshot| sum(snapshot, 0) == (all, 0) && sum(snapshot, 1) == (all, 0));
    let entries = director.list(&["--connections"]).expect("connections");
    let established = entries.lines().filter(|line| line.contains("ESTABLISHED")).count();
    assert_eq!(established as u32, 2 * all);
    drop(translated);
    // Both directions pass: the entries are in TIME_WAIT, whose two minutes no setting shortens.
    director.wait("closing connections", |snapshot| sum(snapshot, 1) == (0, all));
    drop(direct);
    director.wait("expiry", |snapshot| sum(snapshot, 0) == (0, 0));
    let snapshot = director.snapshot().expect("the daemon answers");
    assert_eq!(sum(&snapshot, 1), (0, all));
    assert!(snapshot.drops.iter().all(|drop| drop.count == 0), "{:?}", snapshot.drops);
}
