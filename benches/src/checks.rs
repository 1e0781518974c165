//! What health checks cost the director: thousands of real servers, each connected to every two seconds.
//!
//! Between two network namespaces, so that the accepting side's work is not the checks'. The figure is the CPU time of the
//! thread that runs the checks, system calls and the softirqs they cause included.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use lab::Lab;
use lb_userspace::config;
use lb_userspace::health::{CheckId, Runner, Supervisor, server_key};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::cpu_time::cpu_time;

/// Name of the thread that is measured.
const THREAD: &str = "lvx-health";
const SERVICES: usize = 5;
const SERVERS: usize = 1_000;
const INTERVAL: Duration = Duration::from_secs(2);
const MEASURED: Duration = Duration::from_secs(20);

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    real_servers: usize,
    interval_s: f64,
    checks_per_second: f64,
    failed: u64,
    cpu_percent: f64,
    microseconds_per_check: f64,
}

/// Measures with TCP checks.
///
/// # Errors
///
/// Without root or nginx, which the lab needs.
pub(crate) fn run() -> Result<Figures> {
    let lab = Lab::builder().real_servers(1).build()?;
    let server = lab.rs(1);
    server.host.output(&["ip", "route", "add", "local", "10.77.0.0/16", "dev", "lo"])?;
    let via = server.v4.to_string();
    lab.client().output(&["ip", "route", "add", "10.77.0.0/16", "via", &via, "onlink", "dev", "eth0"])?;
    let listener = server.host.enter(|| TcpListener::bind("0.0.0.0:7777"))??;
    // Ends with the process; a check only wants its connection accepted.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            drop(stream);
        }
    });

    let model = config::parse("bench.toml", &configuration()).context("the generated configuration")?;
    let supervisor = Supervisor::new(model, Instant::now(), SystemTime::now());
    let (told, _changes) = mpsc::unbounded_channel();
    let runner = lab.client().enter(|| Runner::start(told))??;
    runner.follow(&supervisor, None);
    std::thread::sleep(INTERVAL * 2);
    let before = (totals(&runner, &supervisor), cpu_time("self", THREAD)?, Instant::now());
    std::thread::sleep(MEASURED);
    let after = (totals(&runner, &supervisor), cpu_time("self", THREAD)?, Instant::now());

    let elapsed = (after.2 - before.2).as_secs_f64();
    let checks = (after.0.0 + after.0.1 - before.0.0 - before.0.1) as f64;
    ensure!(checks > 0.0, "no check ran");
    let cpu = (after.1 - before.1).as_secs_f64();
    let figures = Figures {
        real_servers: SERVICES * SERVERS,
        interval_s: INTERVAL.as_secs_f64(),
        checks_per_second: checks / elapsed,
        failed: after.0.1 - before.0.1,
        cpu_percent: cpu / elapsed * 100.0,
        microseconds_per_check: cpu / checks * 1e6,
    };
    println!(
        "{} real servers, a TCP check each every {} s: {:.0} checks/s, {} failed, {:.1} % of one core, {:.1} us of CPU time per check",
        figures.real_servers,
        figures.interval_s,
        figures.checks_per_second,
        figures.failed,
        figures.cpu_percent,
        figures.microseconds_per_check
    );
    Ok(figures)
}

/// Good and bad runs of all checks.
fn totals(runner: &Runner, supervisor: &Supervisor) -> (u64, u64) {
    let mut sum = (0, 0);
    for service in &supervisor.model().services {
        for server in &service.real_servers {
            let record =
                runner.record(&CheckId { service: service.key, server: server_key(server), index: 0 });
            sum.0 += record.passes;
            sum.1 += record.failures.values().sum::<u64>();
        }
    }
    sum
}

fn configuration() -> String {
    let mut text = String::from("[[interface]]\nname = \"eth0\"\n");
    for service in 0..SERVICES {
        let _ = write!(
            text,
            "\n[[service]]\naddress = \"198.18.0.{}:7777\"\nscheduler = \"rr\"\n[[service.check]]\ntype = \"tcp\"\ninterval = \"2s\"\n",
            service + 1
        );
        for server in 0..SERVERS {
            let number = service * SERVERS + server;
            let _ = write!(
                text,
                "[[service.real_server]]\naddress = \"10.77.{}.{}:7777\"\n",
                number / 250,
                number % 250 + 1
            );
        }
    }
    text
}
