//! A real Prometheus scrapes the endpoint, and promtool judges the exposition.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod control_fake;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use control_fake::{FakeDaemon, snapshot};
use lb_userspace::metrics::{serve, write_all};
use serde_json::Value;

const PROMETHEUS: &str = "/usr/bin/prometheus";
const PROMTOOL: &str = "/usr/bin/promtool";
const PATIENCE: Duration = Duration::from_secs(30);

fn require(program: &str) {
    assert!(
        Path::new(program).exists(),
        "{program} is missing: run `cargo xtask setup` to install Debian's package prometheus"
    );
}

/// Ends the process also when the test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve_in_background() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            serve(listener, Arc::new(FakeDaemon::new(0)), std::future::pending()).await;
        });
    });
    address
}

/// Asks Prometheus's HTTP API; none while it does not answer.
fn query(prometheus: SocketAddr, expression: &str) -> Option<Value> {
    let mut stream = TcpStream::connect(prometheus).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let escaped: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
    stream.write_all(format!("GET /api/v1/query?query={escaped} HTTP/1.0\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let body = answer.split_once("\r\n\r\n")?.1;
    serde_json::from_str(body).ok()
}

#[test]
fn prometheus_scrapes_the_endpoint() {
    require(PROMETHEUS);
    let target = serve_in_background();
    let home = tempfile::tempdir().unwrap();
    let configuration = home.path().join("prometheus.yml");
    std::fs::write(
        &configuration,
        format!(
            "global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}\n\
             scrape_configs:\n  - job_name: lvx\n    static_configs: [{{targets: ['{target}']}}]\n"
        ),
    )
    .unwrap();
    // Prometheus cannot be told to pick a port: take one that is free now.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let log = std::fs::File::create(home.path().join("log")).unwrap();
    let child = Command::new(PROMETHEUS)
        .arg(format!("--config.file={}", configuration.display()))
        .arg(format!("--storage.tsdb.path={}", home.path().join("data").display()))
        .arg(format!("--web.listen-address={port}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut running = Running(child);

    let log = || std::fs::read_to_string(home.path().join("log")).unwrap_or_default();
    let deadline = Instant::now() + PATIENCE;
    let mut value_of = |expression: &str| loop {
        if let Some(answer) = query(port, expression)
            && let Some(value) = answer["data"]["result"][0]["value"][1].as_str()
        {
            return value.to_owned();
        }
        assert_eq!(running.0.try_wait().unwrap(), None, "prometheus ended:\n{}", log());
        assert!(Instant::now() < deadline, "no value of {expression}; prometheus says:\n{}", log());
        std::thread::sleep(Duration::from_millis(100));
    };
    assert_eq!(value_of(r#"up{job="lvx"} == 1"#), "1");
    let real_server =
        r#"lvx_real_server_connections{service="web \"shop\"",real_server="10.0.1.1:80",state="active"}"#;
    assert_eq!(value_of(real_server), "6");
    assert_eq!(value_of("sum by (direction) (lvx_service_bytes_total{direction='out'})"), "5000000000");
    assert_eq!(value_of("lvx_build_info{version='9.8.7'}"), "1");
    assert_eq!(value_of("node_ipvs_backend_weight{local_address='192.168.100.1',remote_port='8080'}"), "0");
    let samples = value_of(r#"scrape_samples_scraped{job="lvx"}"#).parse::<usize>().unwrap();
    let mut text = Vec::new();
    write_all(&snapshot(), &mut text).unwrap();
    let series = String::from_utf8(text).unwrap().lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(samples, series);
}

#[test]
fn promtool_finds_nothing_to_say() {
    require(PROMTOOL);
    let mut promtool = Command::new(PROMTOOL)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut text = Vec::new();
    write_all(&snapshot(), &mut text).unwrap();
    promtool.stdin.take().unwrap().write_all(&text).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{}: {said}", output.status);
}
