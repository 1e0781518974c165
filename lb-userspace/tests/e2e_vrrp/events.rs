//! What makes a pair fail over, beside the end of a process: cables, tracking, preemption, sync groups, orders, orders of frames.

use std::time::{Duration, Instant};

use lab::Segment;

use crate::pair::{Keepalived, Lvx, SOON, VIP4, has, wait_owner};

fn lvx(priority: u8, extra: &str) -> String {
    format!(
        "[[vrrp]]\nname = \"web\"\ninterface = \"eth0\"\nrouter_id = 51\npriority = {priority}\ninterval = \"100ms\"\n\
         address = [\"{VIP4}/24\"]\n{extra}"
    )
}

fn keepalived(priority: u8, extra: &str) -> String {
    format!(
        "vrrp_instance web {{\n  state BACKUP\n  interface eth0\n  version 3\n  virtual_router_id 51\n  priority {priority}\n  \
         advert_int 0.1\n  {extra}\n  virtual_ipaddress {{\n    {VIP4}/24\n  }}\n}}\n"
    )
}

#[test]
fn a_pulled_cable_is_a_fault_and_its_return_preempts() {
    let segment = Segment::new(2, 1).unwrap();
    let first = Lvx::start(&segment, 1, &lvx(150, ""));
    first.wait_state("active");
    let second = Keepalived::start(&segment, 2, &keepalived(100, ""));
    second.wait("Entering BACKUP STATE");
    segment.plug(1, 0, false).unwrap();
    let fault = first.wait_state("fault");
    assert_eq!(fault[0].reason, "interface eth0 is down");
    second.wait("Entering MASTER STATE");
    wait_owner(&segment, &[1, 2], VIP4, 2, &|| first.log());
    segment.plug(1, 0, true).unwrap();
    first.wait_state("active");
    wait_owner(&segment, &[1, 2], VIP4, 1, &|| first.log());
}

#[test]
fn tracking_lowers_the_priority_and_the_other_takes_over() {
    let segment = Segment::new(2, 1).unwrap();
    let file = segment.write("track", "0").unwrap();
    let track = format!("[[vrrp.track]]\nfile = \"{}\"\nweight = 1\n", file.display());
    let first = Lvx::start(&segment, 1, &lvx(150, &track));
    first.wait_state("active");
    let second = Keepalived::start(&segment, 2, &keepalived(100, ""));
    second.wait("Entering BACKUP STATE");
    segment.write("track", "-100").unwrap();
    let lowered = first.wait_state("backup");
    assert_eq!((lowered[0].priority, lowered[0].configured_priority), (50, 150));
    assert!(lowered[0].reason.contains("192.0.2.2 has priority 100"), "{}", lowered[0].reason);
    wait_owner(&segment, &[1, 2], VIP4, 2, &|| first.log());
    segment.write("track", "0").unwrap();
    first.wait_state("active");
    wait_owner(&segment, &[1, 2], VIP4, 1, &|| first.log());
}

#[test]
fn tracked_checks_processes_interfaces_and_services_are_faults() {
    let segment = Segment::new(2, 2).unwrap();
    let gone = segment.folder().join("maintenance");
    let text = lvx(
        150,
        &format!(
            "[[vrrp.track]]\ninterface = \"eth1\"\n\
             [[vrrp.track]]\nname = \"gateway\"\ncheck = {{ type = \"ping\", address = \"192.0.2.2\", interval = \"100ms\", \
             timeout = \"500ms\", fall = 1 }}\n\
             [[vrrp.track]]\nname = \"maintenance\"\ncheck = {{ type = \"file\", file = \"{}\", meaning = \"down\", \
             interval = \"50ms\", fall = 1 }}\n\
             [[vrrp.track]]\nprocess = \"lvx\"\n\
             [[vrrp.track]]\nservice = \"web\"\n\
             [[service]]\nname = \"web\"\naddress = \"{VIP4}:80\"\n\
             [[service.check]]\ntype = \"tcp\"\ninterval = \"100ms\"\ntimeout = \"500ms\"\nretry_delay = \"50ms\"\n\
             [[service.real_server]]\naddress = \"192.0.2.2:80\"\n",
            gone.display()
        ),
    );
    let web = segment.serve_web(2, "rs").unwrap();
    let first = Lvx::start(&segment, 1, &text);
    let started = first.wait_state("active");
    let names: Vec<&str> = started[0].tracks.iter().map(|track| track.name.as_str()).collect();
    assert_eq!(names, ["interface eth1", "gateway", "maintenance", "process lvx", "service web"]);
    let back = || {
        first.wait_state("active");
    };
    segment.plug(1, 1, false).unwrap();
    assert_eq!(first.wait_state("fault")[0].reason, "interface eth1 failed");
    assert!(!has(&segment, 1, VIP4));
    segment.plug(1, 1, true).unwrap();
    back();
    segment.write("maintenance", "").unwrap();
    assert_eq!(first.wait_state("fault")[0].reason, "maintenance failed");
    std::fs::remove_file(&gone).unwrap();
    back();
    segment.ip(2, "address del 192.0.2.2/24 dev eth0").unwrap();
    let fault = first.wait_state("fault");
    assert!(["gateway failed", "service web failed"].contains(&fault[0].reason.as_str()), "{fault:?}");
    segment.ip(2, "address add 192.0.2.2/24 dev eth0").unwrap();
    back();
    drop(web);
    assert_eq!(first.wait_state("fault")[0].reason, "service web failed");
    let web = segment.serve_web(2, "rs").unwrap();
    back();
    drop(web);
}

#[test]
fn without_preemption_the_lower_priority_stays_active() {
    let segment = Segment::new(2, 1).unwrap();
    let second = Keepalived::start(&segment, 2, &keepalived(100, ""));
    second.wait("Entering MASTER STATE");
    let first = Lvx::start(&segment, 1, &lvx(150, "preempt = false\n"));
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(2) {
        assert_eq!(first.wait_state("backup").len(), 1);
        std::thread::sleep(Duration::from_millis(50));
    }
    wait_owner(&segment, &[1, 2], VIP4, 2, &|| first.log());
    // And the other way round: keepalived does not preempt LVX.
    assert!(second.daemon.end());
    first.wait_state("active");
    first.reload(&lvx(50, "preempt = false\n"));
    first.wait("the lower priority", |all| all[0].priority == 50);
    let second = Keepalived::start(&segment, 2, &keepalived(100, "nopreempt"));
    second.wait("Entering BACKUP STATE");
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(2) {
        assert_eq!(first.instances().unwrap()[0].state, "active", "{}", second.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_sync_group_moves_as_one() {
    let segment = Segment::new(2, 2).unwrap();
    let own = "[[vrrp]]\nname = \"inside\"\ninterface = \"eth1\"\nrouter_id = 52\npriority = 150\ninterval = \"100ms\"\n\
               address = [\"198.51.100.100/24\"]\n[[vrrp_group]]\nname = \"both\"\nmembers = [\"web\", \"inside\"]\n";
    let first = Lvx::start(&segment, 1, &lvx(150, own));
    first.wait_state("active");
    let other = format!(
        "vrrp_sync_group both {{\n  group {{\n    web\n    inside\n  }}\n}}\n{}vrrp_instance inside {{\n  state BACKUP\n  \
         interface eth1\n  version 3\n  virtual_router_id 52\n  priority 100\n  advert_int 0.1\n  virtual_ipaddress {{\n    \
         198.51.100.100/24\n  }}\n}}\n",
        keepalived(100, "")
    );
    let second = Keepalived::start(&segment, 2, &other);
    second.wait("(inside) Entering BACKUP STATE");
    let both = |owner| {
        for address in [VIP4, "198.51.100.100"] {
            wait_owner(&segment, &[1, 2], address, owner, &|| format!("{}\n{}", first.log(), second.log()));
        }
    };
    both(1);
    segment.plug(1, 1, false).unwrap();
    let fault = first.wait_state("fault");
    assert_eq!(fault[0].reason, "sync group");
    assert_eq!(fault[1].reason, "interface eth1 is down");
    both(2);
    segment.plug(1, 1, true).unwrap();
    first.wait_state("active");
    both(1);
    // keepalived's group fails in the same way.
    segment.plug(2, 1, false).unwrap();
    both(1);
}

#[test]
fn a_switchover_hands_over_and_is_undone() {
    let segment = Segment::new(3, 1).unwrap();
    let first = Lvx::start(&segment, 1, &lvx(150, ""));
    let second = Lvx::start(&segment, 2, &lvx(100, ""));
    first.wait_state("active");
    second.wait_state("backup");
    let context = || format!("{}\n{}", first.log(), second.log());
    assert_eq!(first.command(&["switchover"]).unwrap(), "web: handed over\n");
    second.wait_state("active");
    wait_owner(&segment, &[1, 2], VIP4, 2, &context);
    let held = first.wait("a held backup", |all| all[0].held && all[0].state == "backup");
    assert_eq!(held[0].reason, "switchover");
    // It stays there although the priority is lower, until it is told otherwise.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(second.instances().unwrap()[0].state, "active");
    let refused = second.command(&["switchover", "nothing"]).unwrap_err();
    assert!(refused.contains("there are web"), "{refused}");
    assert_eq!(first.command(&["switchover", "web", "--to", "active"]).unwrap(), "web: active here\n");
    wait_owner(&segment, &[1, 2], VIP4, 1, &context);
    second.wait_state("backup");
    let refused = second.command(&["switchover", "--to", "active"]).unwrap_err();
    assert!(
        refused.contains("192.0.2.1 is active for web with priority 150, and 100 is the priority here"),
        "{refused}"
    );
    // With nobody there it stays.
    second.daemon.end();
    let alone = first.command(&["switchover"]).unwrap_err();
    assert!(alone.contains("no other director took over"), "{alone}");
    assert_eq!(first.instances().unwrap()[0].state, "active");
}

#[test]
fn a_second_path_prevents_two_active_routers() {
    let segment = Segment::new(2, 2).unwrap();
    let heartbeat = "[[vrrp.heartbeat]]\ninterface = \"eth1\"\n";
    let first = Lvx::start(&segment, 1, &lvx(150, heartbeat));
    let second = Lvx::start(&segment, 2, &lvx(100, heartbeat));
    first.wait_state("active");
    second.wait_state("backup");
    // Both see carrier, and nothing of the other's.
    segment.isolate(1, 0, true).unwrap();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(2) {
        assert_eq!(second.instances().unwrap()[0].state, "backup", "{}", second.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    // Without the second path as well there are two, until they hear each other.
    segment.isolate(1, 1, true).unwrap();
    second.wait_state("active");
    first.wait_state("active");
    segment.isolate(1, 1, false).unwrap();
    second.wait_state("backup");
    segment.isolate(1, 0, false).unwrap();
    wait_owner(&segment, &[1, 2], VIP4, 1, &|| second.log());
}

#[test]
fn two_active_routers_are_told_at_once() {
    let segment = Segment::new(2, 1).unwrap();
    // This keepalived takes no checksums over the message alone: it never hears LVX, and LVX hears it.
    let first = Lvx::start(&segment, 1, &lvx(150, "checksum = \"message\"\n"));
    first.wait_state("active");
    let second = Keepalived::start(&segment, 2, &keepalived(100, ""));
    second.wait("Entering MASTER STATE");
    let rival = first.wait("a rival", |all| all[0].rival);
    assert_eq!((rival[0].state.as_str(), rival[0].peers[0].priority), ("active", 100));
    assert!(first.command(&["vrrp"]).unwrap().contains("ANOTHER ROUTER IS ACTIVE AT THE SAME TIME"));
    assert!(second.daemon.end());
    first.wait("no rival", |all| !all[0].rival);
}

#[test]
fn frames_come_in_the_order_that_keeps_the_address_single() {
    let segment = Segment::new(3, 1).unwrap();
    let dump = segment
        .spawn(3, &["tcpdump", "-i", "eth0", "-n", "-e", "-l", "-vvv", "proto 112 or arp"], "dump")
        .unwrap();
    let said = |text: &str| {
        std::fs::read_to_string(segment.folder().join("dump")).unwrap_or_default().contains(text)
    };
    let until = |text: &str| {
        let started = Instant::now();
        while !said(text) {
            assert!(started.elapsed() < SOON, "tcpdump did not see {text:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    until("listening on eth0");
    let first = Lvx::start(&segment, 1, &lvx(150, "announce_delay = \"1s\"\n"));
    first.wait_state("active");
    std::thread::sleep(Duration::from_millis(1500));
    assert!(first.daemon.end());
    until("prio 0");
    drop(dump);
    let dump = std::fs::read_to_string(segment.folder().join("dump")).unwrap();
    let advertisement = dump.find("vrid 51, prio 150").expect("an advertisement");
    let announcement = dump.find("who-has 192.0.2.100").expect("a gratuitous ARP");
    assert!(advertisement < announcement, "{dump}");
    assert_eq!(
        dump.matches("Request who-has 192.0.2.100 (ff:ff:ff:ff:ff:ff) tell 192.0.2.100").count(),
        10,
        "{dump}"
    );
    assert!(dump.contains("tos 0xc0") && dump.contains("ttl 255"), "{dump}");
    assert!(
        dump.contains(
            "192.0.2.1 > 224.0.0.18: VRRPv3, Advertisement, vrid 51, prio 150, \
                           intvl 10cs, length 12, addrs: 192.0.2.100"
        ),
        "{dump}"
    );
    assert!(!dump.contains("bad vrrp cksum") && !dump.contains("bad cksum"), "{dump}");
}

#[test]
fn an_authenticated_pair_takes_nothing_from_others() {
    let segment = Segment::new(3, 1).unwrap();
    let hmac = |secret: char, mode: &str| {
        let secret: String = std::iter::repeat_n(secret, 32).collect();
        format!("hmac = {{ mode = \"{mode}\", key = [{{ id = 1, secret = \"{secret}\" }}] }}\n")
    };
    let first = Lvx::start(&segment, 1, &lvx(150, &hmac('a', "enforce")));
    first.wait_state("active");
    let second = Lvx::start(&segment, 2, &lvx(100, &hmac('a', "enforce")));
    second.wait_state("backup");
    // Neither one without authentication nor one with another secret takes the address from them.
    let stranger = Lvx::start(&segment, 3, &lvx(200, ""));
    let refused = |lvx: &Lvx<'_>, reason: &str| {
        lvx.wait("a refusal", |all| all[0].rejects.iter().any(|each| each.name == reason && each.count > 10));
    };
    refused(&first, "hmac");
    refused(&second, "hmac");
    stranger.reload(&lvx(200, &hmac('b', "enforce")));
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(first.instances().unwrap()[0].state, "active");
    let backup = &second.instances().unwrap()[0];
    assert_eq!(backup.state, "backup");
    assert!(backup.received > 10, "{backup:?}");
    drop(stranger);
    assert!(first.daemon.end());
    second.wait_state("active");
}

/// Sends advertisements for router 51 from host 3, each with one thing wrong, and asserts that they are counted by their reason
/// and change nothing.
#[test]
fn wrong_messages_are_counted_and_change_nothing() {
    use socket2::{Domain, Protocol, Socket, Type};
    let segment = Segment::new(3, 1).unwrap();
    let first = Lvx::start(&segment, 1, &lvx(150, ""));
    first.wait_state("active");
    let second = Lvx::start(&segment, 2, &lvx(100, ""));
    second.wait_state("backup");
    let good = {
        use lb_userspace::vrrp::{Advertisement, Authentication, Centiseconds, Checksum, Version};
        let advertisement = Advertisement {
            vrid: 51,
            priority: 200,
            interval: Centiseconds::new(10).unwrap(),
            addresses: vec![VIP4.parse().unwrap()],
        };
        let (source, group) = ("192.0.2.3".parse().unwrap(), "224.0.0.18".parse().unwrap());
        advertisement.encode(Version::V3, Authentication::None, Checksum::PseudoHeader, source, group)
    };
    let changed = |place: usize, value: u8| {
        let mut message = good.clone();
        message[place] = value;
        message
    };
    let longer = [good.clone(), vec![0; 4]].concat();
    let cases: [(&str, Vec<u8>, u32); 9] = [
        ("ttl", good.clone(), 254),
        ("version", changed(0, 0x41), 255),
        ("type", changed(0, 0x32), 255),
        ("short", good[..10].to_vec(), 255),
        ("short", changed(3, 200), 255),
        ("length", longer, 255),
        (
            "interval",
            {
                let mut message = changed(4, 0);
                message[5] = 0;
                message
            },
            255,
        ),
        ("checksum", changed(6, good[6] ^ 1), 255),
        ("checksum", changed(2, 255), 255),
    ];
    let count = |lvx: &Lvx<'_>, reason: &str| {
        let all = lvx.instances().unwrap();
        all[0].rejects.iter().find(|each| each.name == reason).unwrap().count
    };
    let transitions = |lvx: &Lvx<'_>| lvx.instances().unwrap()[0].history.len();
    let before = (transitions(&first), transitions(&second));
    for (reason, message, ttl) in cases {
        let counted = [count(&first, reason), count(&second, reason)];
        let sent = segment.host(3).enter(|| {
            let socket = Socket::new_raw(Domain::IPV4, Type::RAW, Some(Protocol::from(112)))?;
            socket.set_multicast_ttl_v4(ttl)?;
            let own: std::net::Ipv4Addr = "192.0.2.3".parse().unwrap();
            socket.bind(&std::net::SocketAddr::from((own, 0)).into())?;
            socket.set_multicast_if_v4(&own)?;
            let group: std::net::SocketAddr = "224.0.0.18:0".parse().unwrap();
            socket.send_to(&message, &group.into())
        });
        sent.unwrap().unwrap();
        let started = Instant::now();
        while [count(&first, reason), count(&second, reason)] != [counted[0] + 1, counted[1] + 1] {
            assert!(started.elapsed() < SOON, "{reason}: not counted\n{}", first.command(&["vrrp"]).unwrap());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    assert_eq!((transitions(&first), transitions(&second)), before);
    assert_eq!(first.instances().unwrap()[0].state, "active");
    // Two that own the address: a mistake that no protocol can mend. Both say so, and neither gives way.
    first.reload(&lvx(255, ""));
    first.wait("its new priority", |all| all[0].priority == 255);
    second.reload(&lvx(255, ""));
    for each in [&first, &second] {
        each.wait("a second owner", |all| {
            let duplicate = all[0].rejects.iter().find(|reject| reject.name == "duplicate_owner");
            all[0].state == "active" && duplicate.is_some_and(|reject| reject.count > 10)
        });
    }
}
