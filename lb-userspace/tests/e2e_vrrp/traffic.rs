//! Two directors with real servers: who balances, what a backup does with packets, what operators are told.

use std::time::{Duration, Instant};

use lab::Segment;
use lb_userspace::control::snapshot::Snapshot;

use crate::pair::{Keepalived, Lvx, SOON, VIP4, wait_owner};

fn director(priority: u8, extra: &str) -> String {
    format!(
        "[[vrrp]]\nname = \"web\"\ninterface = \"eth0\"\nrouter_id = 51\npriority = {priority}\ninterval = \"100ms\"\n\
         address = [\"{VIP4}/24\"]\n[[service]]\nname = \"www\"\naddress = \"{VIP4}:80\"\nscheduler = \"rr\"\n{extra}\
         [[service.real_server]]\naddress = \"192.0.2.4:80\"\n[[service.real_server]]\naddress = \"192.0.2.5:80\"\n"
    )
}

fn fetch(segment: &Segment) -> Option<String> {
    let body = segment.host(3).fetch(&format!("http://{VIP4}/whoami")).ok()?;
    String::from_utf8(body).ok()
}

fn until(what: &str, reached: impl Fn() -> bool) {
    let started = Instant::now();
    while !reached() {
        assert!(started.elapsed() < SOON, "no {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn snapshot(lvx: &Lvx<'_>) -> Snapshot {
    serde_json::from_str(&lvx.command(&["list", "--json"]).unwrap()).unwrap()
}

fn connections(lvx: &Lvx<'_>) -> u64 {
    snapshot(lvx).traffic.connections
}

/// Has the client send everything for the virtual address to a host, whoever has it.
fn lead_client_to(segment: &Segment, host: u8) {
    let link = segment.ip(host, "-o link show eth0").unwrap();
    let mac = link.split("link/ether ").nth(1).unwrap().split(' ').next().unwrap();
    segment.ip(3, &format!("neighbour replace {VIP4} lladdr {mac} dev eth0 nud permanent")).unwrap();
}

#[test]
fn only_the_active_director_balances() {
    let segment = Segment::new(5, 1).unwrap();
    let _servers =
        [segment.real_server(4, VIP4, "rs4").unwrap(), segment.real_server(5, VIP4, "rs5").unwrap()];
    let first = Lvx::start(&segment, 1, &director(150, ""));
    first.wait_state("active");
    let second = Lvx::start(&segment, 2, &director(100, ""));
    second.wait_state("backup");
    until("page", || fetch(&segment).is_some());
    let pages: Vec<String> = (0..10).filter_map(|_| fetch(&segment)).collect();
    assert_eq!(pages.len(), 10);
    assert!(pages.iter().filter(|page| *page == "rs4\n").count() == 5, "{pages:?}");
    assert!(connections(&first) >= 10);

    // A client that still sends to the backup gets no answer of it, and the backup has no part in it.
    lead_client_to(&segment, 2);
    let astray = segment.host(3).run(&["curl", "-s", "-m", "1", &format!("http://{VIP4}/whoami")]).unwrap();
    assert!(!astray.status.success());
    assert_eq!(connections(&second), 0);
    let snapshot = snapshot(&second);
    let standby = snapshot.passes.iter().find(|pass| pass.name == "standby").unwrap();
    assert!(standby.count > 0);
    segment.ip(3, &format!("neighbour del {VIP4} dev eth0")).unwrap();

    // The other takes over the traffic, and the first has no part in it any more.
    first.command(&["switchover"]).unwrap();
    until("page from the second", || fetch(&segment).is_some());
    let before = connections(&first);
    assert!((0..10).all(|_| fetch(&segment).is_some()));
    assert_eq!(connections(&first), before);
    assert!(connections(&second) >= 10);

    // Without the other, it serves again.
    second.daemon.signal(libc::SIGKILL);
    first.wait_state("active");
    until("page from the first again", || fetch(&segment).is_some());
    assert!(connections(&first) > before);
}

#[test]
fn an_always_on_service_is_balanced_on_the_backup_too() {
    let segment = Segment::new(5, 1).unwrap();
    let _servers =
        [segment.real_server(4, VIP4, "rs4").unwrap(), segment.real_server(5, VIP4, "rs5").unwrap()];
    let first = Lvx::start(&segment, 1, &director(150, ""));
    first.wait_state("active");
    let second = Lvx::start(&segment, 2, &director(100, "always_on = true\n"));
    second.wait_state("backup");
    lead_client_to(&segment, 2);
    until("page through the backup", || fetch(&segment).is_some());
    assert!(connections(&second) > 0);
    assert_eq!(connections(&first), 0);
}

#[test]
fn a_reload_changes_an_active_router_in_place() {
    let segment = Segment::new(2, 1).unwrap();
    let text = |addresses: &str, extra: &str| {
        format!(
            "[[vrrp]]\nname = \"web\"\ninterface = \"eth0\"\nrouter_id = 51\ninterval = \"100ms\"\naddress = [{addresses}]\n{extra}"
        )
    };
    let lvx = Lvx::start(&segment, 1, &text("\"192.0.2.100/24\", \"192.0.2.101/24\"", ""));
    let before = lvx.wait_state("active");
    lvx.reload(&text("\"192.0.2.100/24\", \"192.0.2.102/24\"", "priority = 120\n"));
    let after = lvx.wait("the new addresses", |all| all[0].addresses.contains(&"192.0.2.102/24".to_owned()));
    assert_eq!((after[0].state.as_str(), after[0].priority), ("active", 120));
    assert_eq!(after[0].history.len(), before[0].history.len(), "{after:?}");
    for (address, owner) in [("192.0.2.100", true), ("192.0.2.101", false), ("192.0.2.102", true)] {
        until(address, || crate::pair::has(&segment, 1, address) == owner);
    }
    // An address that somebody takes away comes back.
    segment.ip(1, "address del 192.0.2.102/24 dev eth0").unwrap();
    wait_owner(&segment, &[1], "192.0.2.102", 1, &|| lvx.log());
    // Another name is the same router.
    lvx.reload(
        &text("\"192.0.2.100/24\", \"192.0.2.102/24\"", "").replace("name = \"web\"", "name = \"other\""),
    );
    let renamed = lvx.wait("the other name", |all| all[0].name == "other");
    assert_eq!((renamed[0].state.as_str(), renamed[0].history.len()), ("active", before[0].history.len()));
    assert!(crate::pair::has(&segment, 1, "192.0.2.100") && crate::pair::has(&segment, 1, "192.0.2.102"));
    // Without the instance the addresses go, and a wrong configuration changes nothing.
    lvx.reload("[[vrrp]]\nname = \"web\"\n");
    until("a refusal", || lvx.log().contains("reload refused"));
    assert!(crate::pair::has(&segment, 1, "192.0.2.100"));
    lvx.reload("");
    until("nothing", || !crate::pair::has(&segment, 1, "192.0.2.100"));
    assert_eq!(lvx.instances().unwrap().len(), 0);
}

#[test]
fn what_a_killed_director_has_left_is_removed_at_its_next_start() {
    let segment = Segment::new(2, 1).unwrap();
    segment.ip(1, "address add 192.0.2.100/24 dev eth0").unwrap();
    let keepalived = Keepalived::start(
        &segment,
        2,
        "vrrp_instance web {\n  state MASTER\n  interface eth0\n  version 3\n  virtual_router_id 51\n  priority 200\n  \
         advert_int 0.1\n  virtual_ipaddress {\n    192.0.2.100/24\n  }\n}\n",
    );
    keepalived.wait("Entering MASTER STATE");
    let lvx = Lvx::start(&segment, 1, &director(100, ""));
    lvx.wait_state("backup");
    wait_owner(&segment, &[1, 2], VIP4, 2, &|| lvx.log());
}

#[test]
fn operators_are_told_as_keepalived_tells_them() {
    let segment = Segment::new(2, 1).unwrap();
    let folder = segment.folder();
    let script = segment
        .write("note", format!("#!/bin/sh\necho \"$LVX_EVENT $*\" >> {}/notes\n", folder.display()))
        .unwrap();
    let mut mode = std::fs::metadata(&script).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o755);
    std::fs::set_permissions(&script, mode).unwrap();
    // keepalived makes its pipe before it tells anything; the reader has to be there to hear the first line.
    let reader = |name: &str| {
        let fifo = folder.join(name);
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let words = ["sh".to_owned(), "-c".to_owned(), format!("exec cat <> {}", fifo.display())];
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        segment.spawn(1, &words, &format!("{name}.lines")).unwrap()
    };
    let lines =
        |name: &str| std::fs::read_to_string(folder.join(format!("{name}.lines"))).unwrap_or_default();
    let _readers = [reader("lvx.fifo"), reader("keepalived.fifo")];
    let text = |priority: u8| {
        format!(
            "[[vrrp]]\nname = \"VI_1\"\ninterface = \"eth0\"\nrouter_id = 51\npriority = {priority}\ninterval = \"100ms\"\n\
             address = [\"{VIP4}/24\"]\nnotify = [\"{0}\", \"any\"]\nnotify_active = [\"{0}\", \"active\"]\n\
             [notify]\nfifo = \"{1}\"\n",
            script.display(),
            folder.join("lvx.fifo").display()
        )
    };
    let lvx = Lvx::start(&segment, 1, &text(100));
    lvx.wait_state("active");
    segment.plug(1, 0, false).unwrap();
    lvx.wait_state("fault");
    assert!(lvx.daemon.end());
    segment.plug(1, 0, true).unwrap();
    // keepalived begins with a fault where the carrier is not there yet.
    until("carrier", || segment.ip(1, "-o link show eth0").unwrap().contains("state UP"));
    let keepalived = format!(
        "global_defs {{\n  vrrp_notify_fifo {}\n}}\nvrrp_instance VI_1 {{\n  state BACKUP\n  interface eth0\n  version 3\n  \
         virtual_router_id 51\n  priority 100\n  advert_int 0.1\n  virtual_ipaddress {{\n    {VIP4}/24\n  }}\n}}\n",
        folder.join("keepalived.fifo").display()
    );
    let other = Keepalived::start(&segment, 1, &keepalived);
    // keepalived writes a line some time after the change, with the state that it has then.
    until("keepalived's MASTER", || lines("keepalived.fifo").contains("MASTER"));
    segment.plug(1, 0, false).unwrap();
    until("keepalived's FAULT", || lines("keepalived.fifo").contains("FAULT"));
    assert!(other.daemon.end());
    let expected =
        "INSTANCE \"VI_1\" BACKUP 100\nINSTANCE \"VI_1\" MASTER 100\nINSTANCE \"VI_1\" FAULT 100\n";
    let told = |name: &str, context: &dyn Fn() -> String| {
        let started = Instant::now();
        while !lines(name).starts_with(expected) {
            assert!(started.elapsed() < SOON, "{name}: {:?}\n{}", lines(name), context());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    told("keepalived.fifo", &|| other.log());
    told("lvx.fifo", &|| lvx.log());
    until("the end of both", || lines("lvx.fifo").ends_with("STOP 100\n"));
    assert_eq!(lines("lvx.fifo"), lines("keepalived.fifo"));
    let notes = std::fs::read_to_string(folder.join("notes")).unwrap();
    let expected = [
        "vrrp_backup any INSTANCE VI_1 BACKUP 100",
        "vrrp_active active",
        "vrrp_active any INSTANCE VI_1 MASTER 100",
        "vrrp_fault any INSTANCE VI_1 FAULT 100",
        "vrrp_stop any INSTANCE VI_1 STOP 100",
    ];
    assert_eq!(notes.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn an_address_that_accepts_nothing_but_its_services() {
    let segment = Segment::new(5, 1).unwrap();
    let _servers =
        [segment.real_server(4, VIP4, "rs4").unwrap(), segment.real_server(5, VIP4, "rs5").unwrap()];
    let text =
        |accept: bool| director(150, "").replace("router_id", &format!("accept = {accept}\nrouter_id"));
    let lvx = Lvx::start(&segment, 1, &text(false));
    lvx.wait_state("active");
    until("page", || fetch(&segment).is_some());
    // A port of nobody: the stack would refuse it, and a program that listens everywhere would answer.
    let connect = |port: u16| {
        let to = std::net::SocketAddr::new(VIP4.parse().unwrap(), port);
        let timeout = Duration::from_millis(500);
        let connected = segment.host(3).enter(|| std::net::TcpStream::connect_timeout(&to, timeout));
        connected.unwrap().map(drop).map_err(|error| error.kind())
    };
    assert_eq!(connect(9), Err(std::io::ErrorKind::TimedOut));
    let snapshot = snapshot(&lvx);
    assert!(
        snapshot.drops.iter().any(|drop| drop.name == "not_accepted" && drop.count > 0),
        "{:?}",
        snapshot.drops
    );
    lvx.reload(&text(true));
    until("a refusal by the stack", || connect(9) == Err(std::io::ErrorKind::ConnectionRefused));
    lvx.reload(&text(false));
    until("silence", || connect(9) == Err(std::io::ErrorKind::TimedOut));
    assert!(fetch(&segment).is_some());
}
