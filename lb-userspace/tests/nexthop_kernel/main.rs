//! The next-hop watcher against the kernel, in network namespaces. Needs root.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic where it is")]

mod lab;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use lab::{Lab, addr, link_down, parse_mac};
use lb_userspace::nexthop::{LinkKind, NextHop, Reason, Resolution};

#[test]
fn neighbours_gateways_and_own_addresses_of_both_families() {
    Lab::new().run(async |lab, mut follower| {
        lab.director("route add 10.99.0.0/24 via 10.77.0.2 mtu 1400");
        lab.director("route add fd99::/64 via fd78::2");
        lab.director("route add 10.98.0.0/24 via inet6 fd78::2 dev d1");
        follower
            .targets(&[
                "10.77.0.2",
                "fd77::2",
                "10.99.0.7",
                "fd99::7",
                "10.98.0.7",
                "10.77.0.1",
                "fd78::1",
                "127.0.0.1",
            ])
            .await;
        let (s0, s1) = (lab.peer_mac("s0"), lab.peer_mac("s1"));
        let d0 = follower.handle.interface_by_name("d0").await.unwrap().unwrap();
        let d1 = follower.handle.interface_by_name("d1").await.unwrap().unwrap();
        assert_eq!(d0.kind, LinkKind::Other("veth".to_owned()));
        assert!(follower.handle.interface_by_name("d2").await.unwrap().is_none());

        for (target, link, mac, gateway, source, mtu) in [
            ("10.77.0.2", &d0, s0, "10.77.0.2", "10.77.0.1", 1500),
            ("fd77::2", &d0, s0, "fd77::2", "fd77::1", 1500),
            ("10.99.0.7", &d0, s0, "10.77.0.2", "10.77.0.1", 1400),
            ("fd99::7", &d1, s1, "fd78::2", "fd78::1", 1500),
            ("10.98.0.7", &d1, s1, "fd78::2", "10.78.0.1", 1500),
        ] {
            let seen = follower.via(target, &link.name, mac).await;
            let expected = NextHop {
                ifindex: link.ifindex,
                interface: link.name.clone(),
                gateway: addr(gateway),
                source_mac: link.mac.unwrap(),
                mac,
                source: Some(addr(source)),
                mtu,
                vlan: None,
            };
            assert_eq!(seen, expected, "{target}");
        }
        for own in ["10.77.0.1", "fd78::1", "127.0.0.1"] {
            follower.wait(own, "local", |seen| *seen == Resolution::Local).await;
        }
        let own = follower.handle.local_addresses().await.unwrap();
        for expected in ["10.77.0.1", "10.78.0.1", "fd77::1", "fd78::1", "127.0.0.1", "::1"] {
            assert!(own.iter().any(|own| own.address == addr(expected) && own.usable), "{expected}: {own:?}");
        }
        assert_eq!(follower.handle.resolutions().await.unwrap(), follower.last);
    });
}

#[test]
fn what_cannot_be_reached_has_its_reason_and_recovers() {
    Lab::new().run(async |lab, mut follower| {
        lab.director("route add blackhole 10.90.0.0/24");
        lab.director("route add prohibit 10.91.0.0/24");
        lab.director("route add unreachable 10.92.0.0/24");
        lab.director("route add 10.93.0.0/24 dev lo");
        lab.director("route add blackhole fd90::/64");
        lab.director("route add prohibit fd91::/64");
        let targets = [
            "10.90.0.1",
            "10.91.0.1",
            "10.92.0.1",
            "10.93.0.1",
            "10.94.0.1",
            "10.77.0.9",
            "10.77.0.255",
            "224.0.0.9",
            "fd90::1",
            "fd91::1",
            "fd94::1",
            "fd77::9",
        ];
        follower.targets(&targets).await;
        let silent = |gateway| Reason::NoNeighbour { interface: "d0".to_owned(), gateway: addr(gateway) };
        for (target, reason) in [
            ("10.90.0.1", Reason::Refused),
            ("10.91.0.1", Reason::Refused),
            ("10.92.0.1", Reason::NoRoute),
            ("10.93.0.1", Reason::NotEthernet { interface: "lo".to_owned() }),
            ("10.94.0.1", Reason::NoRoute),
            ("10.77.0.255", Reason::NotUnicast),
            ("fd90::1", Reason::Refused),
            ("fd91::1", Reason::Refused),
            ("fd94::1", Reason::NoRoute),
            ("10.77.0.9", silent("10.77.0.9")),
            ("fd77::9", silent("fd77::9")),
        ] {
            follower.reason(target, reason).await;
        }
        lab.peer("address add 10.77.0.9/24 dev s0");
        lab.peer("address add fd77::9/64 dev s0 nodad");
        lab.director("route replace 10.94.0.0/24 via 10.77.0.2");
        lab.director("route replace fd91::/64 via fd77::2");
        for target in ["10.77.0.9", "fd77::9", "10.94.0.1", "fd91::1"] {
            follower.via(target, "d0", lab.peer_mac("s0")).await;
        }
    });
}

#[test]
fn a_neighbour_that_changes_its_mac_in_silence_is_found() {
    Lab::new().run(async |lab, mut follower| {
        follower.targets(&["10.77.0.2", "fd77::2"]).await;
        let old = lab.peer_mac("s0");
        follower.via("10.77.0.2", "d0", old).await;
        follower.via("fd77::2", "d0", old).await;
        // After the first question both kernels confirm their entries of their own accord, the peer's after five
        // seconds (delay_first_probe_time); from then on nothing but the watcher's probes can notice.
        tokio::time::sleep(Duration::from_secs(8)).await;
        let new = parse_mac("02:00:5e:00:53:01");
        lab.peer("link set s0 address 02:00:5e:00:53:01");
        follower.via("10.77.0.2", "d0", new).await;
        follower.via("fd77::2", "d0", new).await;
    });
}

#[test]
fn routes_that_move_to_another_interface_are_followed() {
    Lab::new().run(async |lab, mut follower| {
        let (s0, s1) = (lab.peer_mac("s0"), lab.peer_mac("s1"));
        lab.director("route add 10.99.0.0/24 via 10.77.0.2");
        lab.director("route add fd99::/64 via fd77::2");
        follower.targets(&["10.99.0.7", "fd99::7"]).await;
        follower.via("10.99.0.7", "d0", s0).await;
        follower.via("fd99::7", "d0", s0).await;

        lab.director("route replace 10.99.0.0/24 via 10.78.0.2");
        lab.director("route replace fd99::/64 via fd78::2");
        let moved = follower.via("10.99.0.7", "d1", s1).await;
        assert_eq!((moved.gateway, moved.source), (addr("10.78.0.2"), Some(addr("10.78.0.1"))));
        follower.via("fd99::7", "d1", s1).await;

        // A rule moves traffic without any route changing.
        lab.director("route add 10.99.0.0/24 via 10.77.0.2 table 77");
        lab.director("rule add to 10.99.0.0/24 table 77");
        follower.via("10.99.0.7", "d0", s0).await;
        lab.director("rule delete to 10.99.0.0/24 table 77");
        follower.via("10.99.0.7", "d1", s1).await;

        // So does a next-hop object.
        lab.director("nexthop add id 5 via 10.78.0.2 dev d1");
        lab.director("route replace 10.99.0.0/24 nhid 5");
        lab.director("nexthop replace id 5 via 10.77.0.2 dev d0");
        follower.via("10.99.0.7", "d0", s0).await;

        lab.director("route delete 10.99.0.0/24");
        follower.reason("10.99.0.7", Reason::NoRoute).await;
    });
}

#[test]
fn links_that_go_down_and_come_back() {
    Lab::new().run(async |lab, mut follower| {
        let mac = lab.peer_mac("s0");
        let targets = ["10.77.0.2", "fd77::2"];
        follower.targets(&targets).await;
        for (down, up) in [
            (
                &(|| lab.director("link set d0 down")) as &dyn Fn(),
                &(|| lab.director("link set d0 up")) as &dyn Fn(),
            ),
            (&|| lab.peer("link set s0 down"), &|| lab.peer("link set s0 up")),
        ] {
            for target in targets {
                follower.via(target, "d0", mac).await;
            }
            down();
            for target in targets {
                follower.reason(target, link_down("d0")).await;
            }
            // Long enough for the routes to be gone and asked for again.
            tokio::time::sleep(Duration::from_secs(2)).await;
            for (target, seen) in follower.handle.resolutions().await.unwrap() {
                assert_eq!(seen, Resolution::Unresolved(link_down("d0")), "{target}");
            }
            up();
            // An IPv6 address goes with its link.
            lab.peer("address replace fd77::2/64 dev s0 nodad");
        }
        for target in targets {
            follower.via(target, "d0", mac).await;
        }
        lab.director("link delete d0");
        for target in targets {
            follower.reason(target, Reason::NoRoute).await;
        }
        assert!(follower.handle.interface_by_name("d0").await.unwrap().is_none());
    });
}

#[test]
fn an_address_that_comes_and_goes_turns_a_server_local_and_back() {
    Lab::new().run(async |lab, mut follower| {
        let mac = lab.peer_mac("s0");
        lab.director("route add 10.99.0.0/24 via 10.77.0.2");
        lab.director("route add fd99::/64 via fd77::2");
        follower.targets(&["10.99.0.7", "fd99::7"]).await;
        for _ in 0..2 {
            follower.via("10.99.0.7", "d0", mac).await;
            follower.via("fd99::7", "d0", mac).await;
            lab.director("address add 10.99.0.7/32 dev lo");
            lab.director("address add fd99::7/128 dev lo");
            follower.wait("10.99.0.7", "local", |seen| *seen == Resolution::Local).await;
            follower.wait("fd99::7", "local", |seen| *seen == Resolution::Local).await;
            lab.director("address delete 10.99.0.7/32 dev lo");
            lab.director("address delete fd99::7/128 dev lo");
        }
    });
}

#[test]
fn events_the_kernel_had_to_drop_are_made_up_for() {
    Lab::new().run(async |lab, mut follower| {
        follower.targets(&["10.77.0.2"]).await;
        follower.via("10.77.0.2", "d0", lab.peer_mac("s0")).await;
        // The one thread of this runtime is busy meanwhile, so that the socket overflows long before the last line.
        let mut batch: String = (0..20_000u32)
            .map(|n| {
                let address = IpAddr::from((0x0a4d_1000 + n).to_be_bytes());
                format!("neigh replace {address} lladdr 02:00:00:00:00:01 dev d0 nud permanent\n")
            })
            .collect();
        batch.push_str("neigh replace 10.77.0.2 lladdr 02:00:5e:00:53:02 dev d0 nud permanent\n");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("batch");
        std::fs::write(&file, batch).unwrap();
        lab.director(&format!("-batch {}", file.display()));
        follower.via("10.77.0.2", "d0", parse_mac("02:00:5e:00:53:02")).await;
    });
}

#[test]
fn twenty_thousand_servers_behind_a_gateway() {
    Lab::new().run(async |lab, mut follower| {
        lab.director("route add 10.200.0.0/16 via 10.77.0.2");
        let targets: BTreeSet<IpAddr> =
            (0..20_000u32).map(|n| IpAddr::from((0x0ac8_0000 + n).to_be_bytes())).collect();
        follower.handle.set_targets(targets.clone()).await.unwrap();
        for (interface, device, change) in
            [("d0", "s0", ""), ("d1", "s1", "route replace 10.200.0.0/16 via 10.78.0.2")]
        {
            if !change.is_empty() {
                lab.director(change);
            }
            let mac = lab.peer_mac(device);
            for target in &targets {
                follower.via(&target.to_string(), interface, mac).await;
            }
        }
    });
}
