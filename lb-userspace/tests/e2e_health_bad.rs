//! Bad servers and bad scripts end in a clear reason, in the listing and in the metrics; and changes are told. Needs root.

mod director;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use director::{Director, SOON};
use lab::Lab;
use lb_userspace::control::health::{CheckStatus, ServiceHealthStatus};
use lb_userspace::control::snapshot::Snapshot;

fn health(snapshot: &Snapshot, service: usize) -> &ServiceHealthStatus {
    snapshot.services[service].health.as_ref().expect("health")
}

fn head(lab: &Lab) -> String {
    let interface = lab.director_interfaces()[0];
    format!(
        "[global]\ncontrol_socket = \"{}\"\nmetrics = \"127.0.0.1:9464\"\n[[interface]]\nname = \"{interface}\"\n",
        Director::socket(lab).display()
    )
}

/// A server of the first real server that does this with every connection.
fn serve(lab: &Lab, port: u16, act: fn(TcpStream) -> std::io::Result<()>) {
    let bound = lab.rs(1).host.enter(|| TcpListener::bind(("0.0.0.0", port))).expect("the namespace");
    let listener = bound.expect("a port");
    // Both end with the test's process; the daemon's end closes their connections.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || act(stream));
        }
    });
}

fn request(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut bytes = [0; 1024];
    stream.read(&mut bytes).map(|_| ())
}

#[test]
fn every_bad_server_has_its_reason() {
    let lab = Lab::builder().real_servers(1).build().expect("lab");
    serve(&lab, 9001, |stream| {
        std::thread::sleep(SOON);
        drop(stream);
        Ok(())
    });
    serve(&lab, 9002, |mut stream| {
        request(&mut stream)?;
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello" {
            stream.write_all(&[*byte])?;
            std::thread::sleep(Duration::from_millis(300));
        }
        Ok(())
    });
    serve(&lab, 9003, |mut stream| {
        loop {
            request(&mut stream)?;
            stream.write_all(b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n")?;
        }
    });
    serve(&lab, 9004, |mut stream| {
        request(&mut stream)?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")?;
        let block = vec![b'x'; 1 << 16];
        (0..1 << 14).try_for_each(|_| stream.write_all(&block))
    });
    serve(&lab, 9005, |mut stream| {
        request(&mut stream)?;
        stream.write_all(b"220 this is no TLS\r\n")
    });
    serve(&lab, 9006, |stream| {
        drop(stream);
        Ok(())
    });
    let folder = lab.folder();
    let script = |name: &str, mode: u32| {
        let path = folder.join(name);
        std::fs::write(&path, "#!/bin/sh\nexit 0\n").expect("a script");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("its mode");
        format!("type = \"script\"\ncommand = [\"{}\"]", path.display())
    };
    let digest = "md5 = \"00000000000000000000000000000000\"";
    let cases: [(u16, String, &str, &str); 10] = [
        (9001, "type = \"http\"".into(), "timeout", "no complete answer within 500ms"),
        (9002, "type = \"http\"".into(), "timeout", "no complete answer within 500ms"),
        (9003, "type = \"http\"\nmax_redirects = 5".into(), "redirect", ""),
        (9004, format!("type = \"http\"\n{digest}"), "too_long", ""),
        (9005, "type = \"https\"".into(), "tls", ""),
        (9006, "type = \"http\"".into(), "closed", ""),
        (9007, "type = \"tcp\"".into(), "refused", "connect"),
        (9008, script("plain", 0o644), "unsafe", "is not executable"),
        (9009, script("open", 0o777), "unsafe", "is writable by everyone"),
        (9010, "type = \"off\"".into(), "off", "switched off"),
    ];
    let mut text = head(&lab);
    for (port, check, reason, _) in &cases {
        // Short where time is what runs out, and long enough for a busy machine elsewhere.
        let timeout = if *reason == "timeout" { "500ms" } else { "5s" };
        text += &format!(
            "[[service]]\naddress = \"{}:{port}\"\n[[service.check]]\n{check}\ninterval = \"300ms\"\ntimeout = \"{timeout}\"\n\
             fall = 1\nwarmup = \"0s\"\n[[service.real_server]]\naddress = \"{}\"\n",
            lab.vip4(),
            lab.rs(1).v4
        );
    }
    let director = Director::launch(&lab, &text);
    let all = director.wait("every failure", |snapshot| {
        (0..cases.len()).all(|service| health(snapshot, service).live == 0)
    });
    let listing = director.list(&["--health"]).expect("a listing");
    let metrics = lab.director().fetch("http://127.0.0.1:9464/metrics").expect("metrics");
    let metrics = String::from_utf8(metrics).expect("text");
    for (service, (port, _, reason, detail)) in cases.iter().enumerate() {
        let CheckStatus { failures, last, .. } = &health(&all, service).real_servers[0].checks[0];
        let said = last.as_ref().and_then(|last| last.failure.clone()).unwrap_or_default();
        assert!(failures.iter().any(|failure| failure.name == *reason), "{port}: {said}");
        assert!(said.starts_with(&format!("{reason}: ")) && said.contains(detail), "{port}: {said}");
        assert!(listing.contains(&format!("{reason}: ")), "{listing}");
        let series = metrics.lines().any(|line| {
            line.starts_with("lvx_check_runs_total{")
                && line.contains(&format!("{}:{port}", lab.vip4()))
                && line.contains(&format!("result=\"{reason}\""))
        });
        assert!(series, "{port}: {metrics}");
    }
}

#[test]
fn changes_are_told_to_pipe_and_programs_until_the_end() {
    let lab = Lab::builder().real_servers(2).build().expect("lab");
    let (fifo, told) = (lab.folder().join("fifo"), lab.folder().join("told"));
    let program = lab.folder().join("tell");
    let body = format!("#!/bin/sh\necho \"$1 $LVX_EVENT $LVX_REAL_SERVER_ADDRESS\" >> {}\n", told.display());
    std::fs::write(&program, body).expect("a program");
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("its mode");
    let program = program.display();
    let text = head(&lab)
        + &format!(
            "[notify]\nfifo = \"{}\"\n[[service]]\naddress = \"{}:80\"\nomega = true\nquorum = 2\n\
             notify_down = [\"{program}\", \"down\"]\nnotify_up = [\"{program}\", \"up\"]\nquorum_down = [\"{program}\", \"quorum\"]\n\
             [[service.check]]\ntype = \"tcp\"\ninterval = \"100ms\"\nfall = 1\nwarmup = \"0s\"\n\
             [[service.real_server]]\naddress = \"{}\"\n[[service.real_server]]\naddress = \"{}\"\n",
            fifo.display(),
            lab.vip4(),
            lab.rs(1).v4,
            lab.rs(2).v4
        );
    let director = Director::start(&lab, &text);
    lab.stop_web(2).expect("nginx of rs2");
    director.wait("the failure", |snapshot| health(snapshot, 0).live == 1);
    lab.start_web(2).expect("nginx of rs2");
    director.wait("its return", |snapshot| health(snapshot, 0).live == 2);
    assert!(director.daemon.end(), "{}", director.log());
    // The pipe keeps its lines while the daemon holds it; what was read before the end is what counts.
    let lines = std::fs::read_to_string(&told).unwrap_or_default();
    let (rs1, rs2) = (lab.rs(1).v4, lab.rs(2).v4);
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for line in lines.lines() {
        *counts.entry(line).or_default() += 1;
    }
    let down = |server| format!("down real_server_down {server}");
    let expected = [
        (down(rs1), 1),
        (down(rs2), 2),
        (format!("up real_server_up {rs2}"), 1),
        ("quorum service_down ".to_owned(), 2),
    ];
    let expected: BTreeMap<&str, u32> =
        expected.iter().map(|(line, count)| (line.as_str(), *count)).collect();
    assert_eq!(counts, expected);
}

#[test]
fn the_pipe_gets_the_lines_of_keepalived() {
    let lab = Lab::builder().real_servers(1).build().expect("lab");
    let fifo = lab.folder().join("fifo");
    let text = head(&lab)
        + &format!(
            "[notify]\nfifo = \"{}\"\n[[service]]\naddress = \"{}:80\"\n[[service.check]]\ntype = \"tcp\"\ninterval = \"100ms\"\n\
             fall = 1\nwarmup = \"0s\"\n[[service.real_server]]\naddress = \"{}\"\n",
            fifo.display(),
            lab.vip4(),
            lab.rs(1).v4
        );
    let director = Director::start(&lab, &text);
    let reader = std::fs::OpenOptions::new().read(true).write(true).open(&fifo).expect("the pipe");
    lab.stop_web(1).expect("nginx of rs1");
    director.wait("the failure", |snapshot| health(snapshot, 0).live == 0);
    let (vs, rs) = (
        format!("VS [{}]:tcp:80", lab.vip4()),
        format!("RS [{}]:tcp:80 [{}]:tcp:80", lab.rs(1).v4, lab.vip4()),
    );
    let expected = format!("{vs} UP\n{rs} DOWN\n{vs} DOWN\n");
    let mut lines = vec![0; expected.len()];
    let mut reader = reader;
    reader.read_exact(&mut lines).expect("lines");
    assert_eq!(String::from_utf8_lossy(&lines), expected);
    drop(director);
}

#[test]
fn checks_rest_while_the_address_is_elsewhere() {
    let lab = Lab::builder().real_servers(1).build().expect("lab");
    let text = head(&lab)
        + &format!(
            "[[service]]\naddress = \"{}:80\"\nha_suspend = true\n[[service.check]]\ntype = \"tcp\"\ninterval = \"100ms\"\n\
             fall = 1\nwarmup = \"0s\"\n[[service.real_server]]\naddress = \"{}\"\n",
            lab.vip4(),
            lab.rs(1).v4
        );
    let director = Director::start(&lab, &text);
    let runs = |snapshot: &Snapshot| health(snapshot, 0).real_servers[0].checks[0].passes;
    director.wait("good checks", |snapshot| runs(snapshot) > 2);
    let interface = lab.director_interfaces()[0];
    let address = format!("{}/32", lab.vip4());
    let change = |word: &str| {
        let words = ["ip", "address", word, &address, "dev", interface];
        lab.director().output(&words).expect("ip");
    };
    change("del");
    director.wait("rest", |snapshot| health(snapshot, 0).suspended);
    // Nobody asks, so nobody notices.
    lab.stop_web(1).expect("nginx of rs1");
    let started = Instant::now();
    let before = runs(&director.snapshot().expect("the daemon answers"));
    while started.elapsed() < Duration::from_millis(500) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let after = director.snapshot().expect("the daemon answers");
    assert_eq!((runs(&after), health(&after, 0).live), (before, 1));
    change("add");
    director.wait("the failure", |snapshot| !health(snapshot, 0).suspended && health(snapshot, 0).live == 0);
    let listed: SocketAddr = health(&after, 0).real_servers[0].address;
    assert_eq!(listed.ip(), lab.rs(1).v4);
}
