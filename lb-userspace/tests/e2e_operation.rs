//! What an administrator does with a running director: watch it, stop it, generic mode, expiry. Needs root.

mod director;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use director::{Director, SOON, configuration, url};
use lab::Lab;

#[test]
fn metrics_count_and_a_terminated_director_leaves_nothing_attached() {
    let lab = Lab::builder().real_servers(2).build().expect("lab");
    let director = Director::start(&lab, &configuration(&lab, "", &[(1, 1), (2, 1)]));
    for _ in 0..6 {
        lab.client().fetch(&url(&lab, "/whoami")).expect("an answer");
    }
    let metrics = lab.director().fetch("http://127.0.0.1:9464/metrics").expect("metrics");
    let metrics = String::from_utf8(metrics).expect("text");
    for series in ["lvx_service_connections_total{", "node_ipvs_connections_total "] {
        let line =
            metrics.lines().find(|line| line.starts_with(series)).unwrap_or_else(|| panic!("no {series}"));
        assert!(line.ends_with(" 6"), "{line}");
    }
    let snapshot = director.snapshot().expect("the daemon answers");
    let connections: Vec<u64> =
        snapshot.services[0].real_servers.iter().map(|server| server.traffic.connections).collect();
    assert_eq!(connections, [3, 3]);
    assert_eq!(snapshot.services[0].traffic.out_packets, 0, "replies bypass a director with direct routing");

    let interface = lab.director_interfaces()[0];
    let link = || {
        let bytes = lab.director().output(&["ip", "link", "show", "dev", interface]).expect("ip");
        String::from_utf8_lossy(&bytes).into_owned()
    };
    assert!(link().contains("xdp"), "the program is attached: {}", link());
    assert!(director.daemon.end(), "lvx ends by itself when it is told to");
    assert!(!link().contains("xdp"), "the program is still attached: {}", link());
}

#[test]
fn udp_entries_expire_and_generic_mode_forwards() {
    let lab = Lab::builder().real_servers(1).build().expect("lab");
    let text = configuration(&lab, "[timeouts]\nudp = \"2s\"", &[(1, 1)])
        .replace("[[service]]", "mode = \"generic\"\n[[service]]")
        + &format!(
            "[[service]]\naddress = \"{}:5300\"\nprotocol = \"udp\"\nforwarding = \"dr\"\n[[service.real_server]]\naddress = \"{}:5300\"\n",
            lab.vip4(),
            lab.rs(1).v4
        );
    let director = Director::start(&lab, &text);
    assert_eq!(director.snapshot().expect("the daemon answers").interfaces[0].mode, "generic");
    assert_eq!(lab.client().fetch(&url(&lab, "/1MiB")).expect("a download"), lab.download());
    let answer = lab.client().ask(SocketAddr::from((lab.vip4(), 5300)), "hello").expect("an answer");
    assert!(answer.contains("hello"), "{answer}");
    let entries = director.list(&["--connections"]).expect("connections");
    assert!(entries.lines().any(|line| line.starts_with("UDP")), "{entries}");
    director.wait("end of the UDP entry", |snapshot| snapshot.services[1].real_servers[0].inactive == 0);
}

#[test]
fn a_prometheus_beside_the_director_scrapes_it() {
    let lab = Lab::builder().real_servers(2).build().expect("lab");
    let director = Director::start(&lab, &configuration(&lab, "", &[(1, 1), (2, 1)]));
    let file = lab.folder().join("prometheus.yml");
    let scrape = "global: {scrape_interval: 500ms, scrape_timeout: 500ms}\n\
                  scrape_configs:\n  - job_name: lvx\n    static_configs: [{targets: ['127.0.0.1:9464']}]\n";
    std::fs::write(&file, scrape).expect("Prometheus's configuration");
    let words = [
        "prometheus".to_owned(),
        format!("--config.file={}", file.display()),
        format!("--storage.tsdb.path={}", lab.folder().join("data").display()),
        "--web.listen-address=127.0.0.1:9090".to_owned(),
    ];
    let log = lab.folder().join("prometheus.log");
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let prometheus = lab.director().spawn(&words, &log).expect("prometheus starts");
    for _ in 0..6 {
        lab.client().fetch(&url(&lab, "/whoami")).expect("an answer");
    }
    let value_of = |expression: &str| -> Option<String> {
        let address = format!("http://127.0.0.1:9090/api/v1/query?query={expression}");
        let answer: serde_json::Value = serde_json::from_slice(&lab.director().fetch(&address).ok()?).ok()?;
        answer["data"]["result"][0]["value"][1].as_str().map(str::to_owned)
    };
    let started = Instant::now();
    let query = format!("lvx_real_server_connections_total%7Breal_server=%22{}:80%22%7D", lab.rs(2).v4);
    while value_of(&query).as_deref() != Some("3") {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        assert!(prometheus.is_running() && started.elapsed() < SOON * 2, "Prometheus says:\n{said}");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(value_of("up").as_deref(), Some("1"));
    drop(director);
}
