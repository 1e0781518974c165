//! Health checks decide: real servers that die under load, come back, and are missed. Needs root.

mod director;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use director::{Director, SOON, url};
use lab::Lab;
use lb_userspace::control::health::ServiceHealthStatus;
use lb_userspace::control::snapshot::Snapshot;

const CHECK: &str = "[[service.check]]\ntype = \"tcp\"\ninterval = \"200ms\"\ntimeout = \"500ms\"\nfall = 1\nwarmup = \"100ms\"\n";

/// One service by direct routing on all real servers of the lab, with `keys` of its own and `checks`.
fn checked(lab: &Lab, scheduler: &str, keys: &str, checks: &str) -> String {
    let interface = lab.director_interfaces()[0];
    let mut text = format!(
        "[global]\ncontrol_socket = \"{}\"\nmetrics = \"127.0.0.1:9464\"\n[[interface]]\nname = \"{interface}\"\n\
         [[service]]\naddress = \"{}:80\"\nscheduler = \"{scheduler}\"\n{keys}\n{checks}\n",
        Director::socket(lab).display(),
        lab.vip4()
    );
    for server in lab.real_servers() {
        text += &format!("[[service.real_server]]\naddress = \"{}:80\"\n", server.v4);
    }
    text
}

fn health(snapshot: &Snapshot) -> &ServiceHealthStatus {
    snapshot.services[0].health.as_ref().expect("health")
}

fn whoami(lab: &Lab) -> String {
    let name = lab.client().fetch(&url(lab, "/whoami")).expect("an answer");
    String::from_utf8(name).expect("a name").trim().to_owned()
}

/// Connections of the client that ask again and again until they are told to stop; counts what went wrong.
fn ask_on(lab: &Lab, stop: &AtomicBool, asked: &AtomicU64) -> BTreeMap<String, (u64, bool)> {
    let vip = SocketAddr::from((lab.vip4(), 80));
    let open = || -> Vec<TcpStream> {
        (0..50).map(|_| TcpStream::connect_timeout(&vip, SOON).expect("a connection")).collect()
    };
    let mut streams: Vec<(TcpStream, String, u64, bool)> = lab
        .client()
        .enter(open)
        .expect("the client's namespace")
        .into_iter()
        .map(|stream| (stream, String::new(), 0, false))
        .collect();
    while !stop.load(Ordering::Relaxed) {
        for (stream, name, answers, broken) in &mut streams {
            if *broken {
                continue;
            }
            stream.set_read_timeout(Some(SOON)).expect("a bound for reading");
            let request = b"GET /whoami HTTP/1.1\r\nHost: lab\r\n\r\n";
            let mut answer = [0; 512];
            match stream.write_all(request).and_then(|()| stream.read(&mut answer)) {
                Ok(length) if length > 0 => {
                    let text = String::from_utf8_lossy(&answer[..length]).into_owned();
                    name.clear();
                    name.push_str(text.lines().last().unwrap_or_default());
                    *answers += 1;
                    asked.fetch_add(1, Ordering::Relaxed);
                }
                _ => *broken = true,
            }
        }
    }
    let mut all: BTreeMap<String, (u64, bool)> = BTreeMap::new();
    for (_, name, answers, broken) in streams {
        let entry = all.entry(name).or_default();
        entry.0 += answers;
        entry.1 |= broken;
    }
    all
}

#[test]
fn a_real_server_that_dies_under_load_is_left_out() {
    let lab = Lab::builder().real_servers(3).build().expect("lab");
    let text = checked(&lab, "rr", "", CHECK);
    let (stop, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    let director = Director::start(&lab, &text);
    director.wait("good checks", |snapshot| {
        health(snapshot).real_servers.iter().all(|server| server.checks[0].passes > 0)
    });
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| ask_on(&lab, &stop, &asked))).collect();
        let started = Instant::now();
        while asked.load(Ordering::Relaxed) < 1000 {
            assert!(started.elapsed() < SOON, "no load");
            std::thread::sleep(Duration::from_millis(10));
        }
        lab.stop_web(2).expect("nginx of rs2");
        let after = director.wait("the failure", |snapshot| health(snapshot).live == 2);
        assert_eq!(after.services[0].real_servers.len(), 2, "a failed real server is removed");
        let failed = &health(&after).real_servers[1];
        assert!(!failed.up && failed.checks[0].failures[0].name == "refused", "{failed:?}");
        for _ in 0..9 {
            assert_ne!(whoami(&lab), "rs2", "no new connection reaches it");
        }
        std::thread::sleep(Duration::from_millis(500));
        stop.store(true, Ordering::Relaxed);
        let mut broken = BTreeMap::new();
        for thread in threads {
            for (name, (answers, lost)) in thread.join().expect("load") {
                let entry: &mut (u64, bool) = broken.entry(name).or_default();
                entry.0 += answers;
                entry.1 |= lost;
            }
        }
        assert_eq!(broken.keys().collect::<Vec<_>>(), ["rs1", "rs2", "rs3"]);
        for (name, (answers, lost)) in &broken {
            assert_eq!(*lost, name == "rs2", "{name}: {answers} answers");
        }
    });
    let listing = director.list(&["--health"]).expect("a listing");
    assert!(listing.contains("DOWN") && listing.contains("refused"), "{listing}");
    let metrics = lab.director().fetch("http://127.0.0.1:9464/metrics").expect("metrics");
    let metrics = String::from_utf8(metrics).expect("text");
    let series = format!("real_server=\"{}:80\"}} 0", lab.rs(2).v4);
    assert!(
        metrics.lines().any(|line| line.starts_with("lvx_real_server_up{") && line.ends_with(&series)),
        "{metrics}"
    );
    lab.start_web(2).expect("nginx of rs2");
    director.wait("its return", |snapshot| health(snapshot).live == 3);
}

#[test]
fn a_returning_real_server_starts_slowly() {
    let lab = Lab::builder().real_servers(2).build().expect("lab");
    let text = checked(&lab, "rr", "slow_start = \"30s\"\n", CHECK);
    lab.stop_web(2).expect("nginx of rs2");
    let director = Director::launch(&lab, &text);
    director.wait("the failure", |snapshot| health(snapshot).live == 1);
    lab.start_web(2).expect("nginx of rs2");
    director.wait("its return", |snapshot| {
        health(snapshot).live == 2 && snapshot.services[0].real_servers.len() == 2
    });
    let mut spread: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..34 {
        *spread.entry(whoami(&lab)).or_default() += 1;
    }
    // A sixteenth or two of the other's share at the beginning, and an equal share at the end.
    let (full, slow) = (spread["rs1"], spread.get("rs2").copied().unwrap_or_default());
    assert!((1..=9).contains(&slow) && full > 2 * slow, "{spread:?}");
    let share = |snapshot: &Snapshot| health(snapshot).real_servers[1].share;
    let early = share(&director.snapshot().expect("the daemon answers"));
    director.wait("a larger share", |snapshot| share(snapshot) > early);
    let listing = director.list(&["--health"]).expect("a listing");
    assert!(listing.contains("/16"), "{listing}");
}

#[test]
fn the_sorry_server_serves_without_quorum_and_reloads_keep_verdicts() {
    let lab = Lab::builder().real_servers(3).build().expect("lab");
    let sorry = lab.rs(3).v4;
    let text = |weight: u32| {
        let mut text = checked(&lab, "rr", "quorum = 2\n", CHECK);
        // The third real server is the sorry server.
        let last = text.rfind("[[service.real_server]]").expect("a real server");
        text.truncate(last);
        text = text.replace(
            "[[service.check]]",
            &format!("[service.sorry_server]\naddress = \"{sorry}:80\"\n[[service.check]]"),
        );
        text + &format!("weight = {weight}\n")
    };
    let (first, second) = (text(1), text(2));
    let director = Director::start(&lab, &first);
    for _ in 0..4 {
        assert_ne!(whoami(&lab), "rs3", "the sorry server waits");
    }
    lab.stop_web(1).expect("nginx of rs1");
    let lost = director.wait("the loss of the quorum", |snapshot| !health(snapshot).quorum);
    assert!(health(&lost).sorry_server_active);
    for _ in 0..4 {
        assert_eq!(whoami(&lab), "rs3");
    }
    director.reload(&second);
    let reloaded = director.wait("the reload", |snapshot| snapshot.generation == 2);
    assert!(!health(&reloaded).real_servers[0].up, "a failed real server does not come back by a reload");
    // Weight 2 is quorum enough now.
    assert!(health(&reloaded).quorum);
    assert_eq!(whoami(&lab), "rs2");
    lab.start_web(1).expect("nginx of rs1");
    director.wait("its return", |snapshot| health(snapshot).live == 2);
}

#[test]
fn refused_connections_of_clients_fail_a_nat_server_before_its_check_runs() {
    let lab = Lab::builder().real_servers(2).build().expect("lab");
    // The check itself would take an hour to notice.
    let slow = CHECK.replace("200ms", "1h").replace("warmup = \"100ms\"", "warmup = \"0s\"");
    let text = checked(&lab, "rr", "forwarding = \"nat\"\npassive_fall = 3\n", &slow);
    let director = Director::start(&lab, &text);
    director.wait("good checks", |snapshot| {
        health(snapshot).real_servers.iter().all(|server| server.checks[0].passes > 0)
    });
    lab.stop_web(2).expect("nginx of rs2");
    let refused = (0..12).filter(|_| lab.client().fetch(&url(&lab, "/whoami")).is_err()).count();
    assert!(refused >= 3, "{refused}");
    let failed = director.wait("the failure", |snapshot| health(snapshot).live == 1);
    assert!(!health(&failed).real_servers[1].up);
    assert_eq!(whoami(&lab), "rs1");
    let metrics = lab.director().fetch("http://127.0.0.1:9464/metrics").expect("metrics");
    let metrics = String::from_utf8(metrics).expect("text");
    assert!(metrics.contains("lvx_real_server_refused_total{"), "{metrics}");
    assert!(director.log().contains("connections of clients were refused"), "{}", director.log());
}

/// An example of `configs/`, with the addresses of the lab.
fn tutorial(lab: &Lab, name: &str) -> String {
    let path = format!("{}/../configs/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect("an example");
    let global =
        format!("[global]\ncontrol_socket = \"{}\"\nmetrics = \"off\"\n", Director::socket(lab).display());
    let text = [
        ("192.168.10.9", lab.vip4().to_string()),
        ("192.168.10.11", lab.rs(1).v4.to_string()),
        ("192.168.10.12", lab.rs(2).v4.to_string()),
        ("192.168.10.20", lab.rs(3).v4.to_string()),
        ("\"6s\"", "\"200ms\"".to_owned()),
        ("fall = 4", "fall = 1".to_owned()),
    ]
    .into_iter()
    .fold(text, |text, (from, to)| text.replace(from, &to));
    global + &text
}

fn live(director: &Director<'_>, what: &str, live: u64) -> Snapshot {
    director.wait(what, |snapshot| {
        let health = health(snapshot);
        health.live == live && health.real_servers.iter().all(|server| server.checks[0].last.is_some())
    })
}

#[test]
fn the_tutorial_with_tcp_checks() {
    let lab = Lab::builder().real_servers(3).build().expect("lab");
    let director = Director::start(&lab, &tutorial(&lab, "tutorial-tcp.toml"));
    live(&director, "two real servers", 2);
    let mut names = [whoami(&lab), whoami(&lab)];
    names.sort_unstable();
    assert_eq!(names, ["rs1", "rs2"]);
    lab.stop_web(1).expect("nginx of rs1");
    live(&director, "the failure", 1);
    assert_eq!([whoami(&lab), whoami(&lab)], ["rs2", "rs2"]);
}

#[test]
fn the_tutorial_with_http_checks() {
    let lab = Lab::builder().real_servers(3).build().expect("lab");
    // The page of the tutorial is what the real servers of the lab have for download, with its own digest.
    let url = format!("http://{}/1MiB", lab.rs(1).v4);
    let genhash = ["-s", &lab.rs(1).v4.to_string(), "-p", "80", "-u", "/1MiB"].map(str::to_owned);
    let mut words = vec![env!("CARGO_BIN_EXE_lvx"), "genhash"];
    words.extend(genhash.iter().map(String::as_str));
    let printed = lab.director().output(&words).expect("lvx genhash");
    let printed = String::from_utf8(printed).expect("text");
    let is_digest = |word: &&str| word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let digest = printed.split_whitespace().find(is_digest).expect("a digest");
    assert!(lab.director().fetch(&url).is_ok());
    let text = tutorial(&lab, "tutorial-http.toml")
        .replace("/testurl/test.jsp", "/1MiB")
        .replace("640205b7b0fc66c1ea91c463fac6334d", digest)
        .replace("path = \"/\"", "path = \"/whoami\"");
    let director = Director::start(&lab, &text);
    live(&director, "two real servers", 2);
    assert_ne!(whoami(&lab), "rs3");
    // Another digest is no longer theirs: both fail, and the sorry server serves.
    director.reload(&text.replace(digest, "00000000000000000000000000000000"));
    let failed = live(&director, "the failures", 0);
    let reason =
        health(&failed).real_servers[0].checks[0].last.as_ref().and_then(|last| last.failure.clone());
    assert!(reason.as_deref().is_some_and(|reason| reason.starts_with("digest: ")), "{reason:?}");
    assert_eq!(whoami(&lab), "rs3");
}

#[test]
fn the_tutorial_with_a_script() {
    let lab = Lab::builder().real_servers(3).build().expect("lab");
    // The script's directory has to belong to root alone.
    let folder = std::path::PathBuf::from(format!("/usr/local/lib/lvx-test-{}", std::process::id()));
    struct Folder(std::path::PathBuf);
    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
    std::fs::create_dir_all(&folder).expect("a folder for the script");
    let folder = Folder(folder);
    let (script, answers) = (folder.0.join("check-web"), folder.0.join("answers"));
    std::fs::create_dir_all(&answers).expect("a folder for answers");
    // It exits with what the file of the real server says.
    std::fs::write(&script, format!("#!/bin/sh\nexit $(cat {}/$1)\n", answers.display())).expect("a script");
    std::os::unix::fs::chown(&script, Some(0), Some(0)).expect("root's script");
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("a program");
    let answer = |number: usize, code: u8| {
        std::fs::write(answers.join(lab.rs(number).v4.to_string()), code.to_string()).expect("an answer");
    };
    answer(1, 0);
    answer(2, 0);
    let text =
        tutorial(&lab, "tutorial-script.toml").replace("/usr/local/bin/check-web", &script.to_string_lossy());
    let director = Director::start(&lab, &text);
    live(&director, "two real servers", 2);
    let weights = |snapshot: &Snapshot| -> Vec<u32> {
        health(snapshot).real_servers.iter().map(|server| server.weight).collect()
    };
    assert_eq!(weights(&director.snapshot().expect("the daemon answers")), [10, 10]);
    answer(1, 32);
    director.wait("another weight", |snapshot| weights(snapshot) == [30, 10]);
    let mut spread: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..8 {
        *spread.entry(whoami(&lab)).or_default() += 1;
    }
    assert_eq!(spread.into_iter().collect::<Vec<_>>(), [("rs1".to_owned(), 6), ("rs2".to_owned(), 2)]);
    answer(2, 1);
    live(&director, "the failure", 1);
    assert_eq!(whoami(&lab), "rs1");
}
