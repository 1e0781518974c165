//! What `/metrics` says, how it says it over HTTP, and whether `docs/metrics.md` tells the same.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod control_fake;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use control_fake::{FakeDaemon, snapshot};
use lb_userspace::control::StatusSource;
use lb_userspace::control::snapshot::{ConnectionStatus, Snapshot};
use lb_userspace::metrics::{CONTENT_TYPE, Kind, all, reference, serve, write_all};
use lb_userspace::vrrp::routers::Switchover;
use tokio::sync::oneshot;

const PATIENCE: Duration = Duration::from_secs(30);

fn exposition(snapshot: &Snapshot) -> String {
    let mut text = Vec::new();
    write_all(snapshot, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

fn serve_in_background(source: Arc<dyn StatusSource>) -> (SocketAddr, oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            serve(listener, source, async {
                let _ = stopped.await;
            })
            .await;
        });
    });
    (address, stop)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends `request` and reads until the server closes: header and body.
fn talk(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (header, body) = answer.split_once("\r\n\r\n").unwrap();
    (header.to_ascii_lowercase(), body.to_owned())
}

/// HTTP/1.0, so that the body comes without chunk sizes.
fn get(address: SocketAddr, path: &str) -> (String, String) {
    talk(address, &format!("GET {path} HTTP/1.0\r\n\r\n"))
}

#[test]
fn the_values_of_a_snapshot() {
    let text = exposition(&snapshot());
    let web = r#"address="192.168.100.1:80",protocol="tcp""#;
    for line in [
        format!(r#"lvx_build_info{{version="9.8.7",arch="{}"}} 1"#, std::env::consts::ARCH),
        "lvx_uptime_seconds 61".to_owned(),
        "lvx_config_generation 3".to_owned(),
        r#"lvx_interface_attached{interface="eth0",mode="native"} 1"#.to_owned(),
        format!(r#"lvx_service_connections_total{{service="web \"shop\"",{web}}} 20"#),
        format!(r#"lvx_service_packets_total{{service="web \"shop\"",{web},direction="in"}} 80"#),
        format!(r#"lvx_service_packets_total{{service="web \"shop\"",{web},direction="out"}} 7"#),
        format!(r#"lvx_service_bytes_total{{service="web \"shop\"",{web},direction="in"}} 4320"#),
        format!(r#"lvx_service_bytes_total{{service="web \"shop\"",{web},direction="out"}} 5000000000"#),
        r#"lvx_service_connections_total{service="dns",address="[fd00:100::1]:53",protocol="udp"} 0"#
            .to_owned(),
        format!(
            r#"lvx_real_server_connections_total{{service="web \"shop\"",{web},real_server="10.0.1.1:80"}} 13"#
        ),
        format!(
            r#"lvx_real_server_packets_total{{service="web \"shop\"",{web},real_server="10.0.1.1:80",direction="in"}} 53"#
        ),
        format!(
            r#"lvx_real_server_bytes_total{{service="web \"shop\"",{web},real_server="10.0.1.1:80",direction="in"}} 2860"#
        ),
        format!(
            r#"lvx_real_server_connections{{service="web \"shop\"",{web},real_server="10.0.1.1:80",state="active"}} 6"#
        ),
        format!(
            r#"lvx_real_server_connections{{service="web \"shop\"",{web},real_server="10.0.1.1:80",state="inactive"}} 7"#
        ),
        format!(r#"lvx_real_server_weight{{service="web \"shop\"",{web},real_server="10.0.1.1:80"}} 100"#),
        format!(
            r#"lvx_real_server_next_hop_resolved{{service="web \"shop\"",{web},real_server="10.0.1.1:80"}} 1"#
        ),
        format!(
            r#"lvx_real_server_next_hop_resolved{{service="web \"shop\"",{web},real_server="10.0.1.2:8080"}} 0"#
        ),
        // The director itself needs no next hop.
        format!(
            r#"lvx_real_server_next_hop_resolved{{service="web \"shop\"",{web},real_server="10.0.0.254:80"}} 1"#
        ),
        r#"lvx_drops_total{reason="short_packet"} 2"#.to_owned(),
        r#"lvx_drops_total{reason="no_real_server"} 0"#.to_owned(),
        r#"lvx_passes_total{reason="no_service"} 12"#.to_owned(),
        r#"lvx_events_total{event="entry_evicted"} 1"#.to_owned(),
        r#"lvx_table_entries{table="connections"} 13"#.to_owned(),
        r#"lvx_table_capacity{table="connections"} 4096"#.to_owned(),
        r#"lvx_table_bytes{table="connections"} 65536"#.to_owned(),
    ] {
        assert!(text.lines().any(|given| given == line), "{line}\nis missing from\n{text}");
    }
}

#[test]
fn the_series_of_node_exporter() {
    let text = exposition(&snapshot());
    let backend = |address: &str, port: u16| {
        format!(
            r#"{{local_address="192.168.100.1",local_port="80",remote_address="{address}",remote_port="{port}",proto="TCP",local_mark=""}}"#
        )
    };
    for line in [
        "node_ipvs_connections_total 23".to_owned(),
        "node_ipvs_incoming_packets_total 90".to_owned(),
        "node_ipvs_outgoing_packets_total 8".to_owned(),
        "node_ipvs_incoming_bytes_total 5000".to_owned(),
        "node_ipvs_outgoing_bytes_total 5000000001".to_owned(),
        format!("node_ipvs_backend_connections_active{} 6", backend("10.0.1.1", 80)),
        format!("node_ipvs_backend_connections_inactive{} 7", backend("10.0.1.1", 80)),
        format!("node_ipvs_backend_weight{} 100", backend("10.0.1.1", 80)),
        format!("node_ipvs_backend_weight{} 0", backend("10.0.1.2", 8080)),
    ] {
        assert!(text.lines().any(|given| given == line), "{line}\nis missing from\n{text}");
    }
}

#[test]
fn every_metric_is_declared_once_and_named_by_the_rules() {
    let mut names = HashSet::new();
    for metric in all() {
        assert!(names.insert(metric.name), "{} is declared twice", metric.name);
        assert!(metric.name.starts_with("lvx_") || metric.name.starts_with("node_ipvs_"), "{}", metric.name);
        assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter, "{}", metric.name);
        assert!(metric.help.ends_with('.') && !metric.help.contains(['\n', '|']), "{}", metric.help);
        let labels: HashSet<_> = metric.labels.iter().collect();
        assert_eq!(labels.len(), metric.labels.len(), "{}", metric.name);
    }
}

#[test]
fn every_series_is_there_once_and_has_help_and_type() {
    let text = exposition(&snapshot());
    let series: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.rsplit_once(' ').unwrap().0)
        .collect();
    assert_eq!(series.iter().collect::<HashSet<_>>().len(), series.len());
    for metric in all() {
        let of_metric = |line: &&str| line.split(['{', ' ']).next() == Some(metric.name);
        assert!(series.iter().copied().any(|line| of_metric(&line)), "no series of {}", metric.name);
        assert!(text.contains(&format!("# HELP {} {}\n", metric.name, metric.help)));
        assert_eq!(text.matches(&format!("# TYPE {} ", metric.name)).count(), 1);
    }
}

#[test]
fn without_services_there_are_no_families_without_series() {
    let text = exposition(&Snapshot { services: Vec::new(), ..snapshot() });
    assert!(!text.contains("lvx_service_"), "{text}");
    assert!(text.contains("\nlvx_uptime_seconds 61\n"), "{text}");
}

#[test]
fn docs_metrics_md_is_what_the_declarations_say() {
    let path = format!("{}/../docs/metrics.md", env!("CARGO_MANIFEST_DIR"));
    let expected = reference();
    if std::env::var_os("LVX_BLESS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "docs/metrics.md is out of date; run LVX_BLESS=1 cargo test -p lb-userspace");
}

#[test]
fn http_paths_and_methods() {
    let (address, _stop) = serve_in_background(Arc::new(FakeDaemon::new(0)));

    let (header, body) = get(address, "/metrics");
    assert!(header.starts_with("http/1.0 200 ") || header.starts_with("http/1.1 200 "), "{header}");
    assert!(header.contains(&format!("content-type: {CONTENT_TYPE}")), "{header}");
    assert_eq!(body, exposition(&snapshot()));

    let (header, body) = talk(address, "HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(header.starts_with("http/1.1 200 ") && header.contains(CONTENT_TYPE), "{header}");
    assert_eq!(body, "");

    let (header, body) = get(address, "/");
    assert!(header.contains(" 200 ") && body.contains("/metrics"), "{header} {body}");
    let (header, _) = get(address, "/metrics/more");
    assert!(header.contains(" 404 "), "{header}");
    let (header, _) = talk(address, "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    assert!(header.contains(" 405 ") && header.contains("allow: get, head"), "{header}");
}

#[test]
fn garbage_and_endless_headers_are_refused() {
    let (address, _stop) = serve_in_background(Arc::new(FakeDaemon::new(0)));
    let (header, _) = talk(address, "what is this\r\n\r\n");
    assert!(header.contains(" 400 "), "{header}");

    let mut stream = connect(address);
    let line = format!("x-filler: {}\r\n", "y".repeat(1000));
    let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\n");
    // 4 MB do not fit into socket buffers and header together.
    let refused = (0..4000).any(|_| stream.write_all(line.as_bytes()).is_err());
    assert!(refused, "the server read all of it");
    assert_eq!(get(address, "/metrics").1, exposition(&snapshot()));
}

#[test]
fn silent_connections_do_not_stop_scrapes() {
    let (address, _stop) = serve_in_background(Arc::new(FakeDaemon::new(0)));
    let _silent: Vec<TcpStream> = (0..20).map(|_| connect(address)).collect();
    assert_eq!(get(address, "/metrics").1, exposition(&snapshot()));
    // More than there are places: the scrape waits until the silent ones are closed for want of a request.
    let _more: Vec<TcpStream> = (0..20).map(|_| connect(address)).collect();
    assert_eq!(get(address, "/metrics").1, exposition(&snapshot()));
}

#[test]
fn thousands_of_real_servers_arrive_whole() {
    let mut daemon = FakeDaemon::new(0);
    let template = daemon.snapshot.services[0].real_servers[0].clone();
    daemon.snapshot.services[0].real_servers = (1..=5000_u16)
        .map(|port| {
            let mut real_server = template.clone();
            real_server.address.set_port(port);
            real_server
        })
        .collect();
    let expected = exposition(&daemon.snapshot);
    assert!(expected.len() > 5_000_000, "{}", expected.len());
    let (address, _stop) = serve_in_background(Arc::new(daemon));
    assert!(get(address, "/metrics").1 == expected);
}

/// A daemon whose snapshot fails half-way through its life.
struct Broken;

impl StatusSource for Broken {
    fn snapshot(&self) -> Snapshot {
        panic!("no snapshot today");
    }

    fn switchover(&self, _: Option<String>, _: Option<bool>) -> Switchover {
        Switchover::Nothing(String::new())
    }

    fn connections(&self, _: &mut dyn FnMut(ConnectionStatus) -> std::ops::ControlFlow<()>) {}
}

#[test]
fn a_scrape_that_fails_does_not_look_complete() {
    let (address, _stop) = serve_in_background(Arc::new(Broken));
    let mut stream = connect(address);
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    // The last chunk of a complete answer has length 0.
    assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
}
