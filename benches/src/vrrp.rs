//! What 200 virtual routers cost, and whether their advertisements are in time while a large change is applied.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::Segment;
use lb_userspace::control::vrrp::VrrpStatus;
use serde::Serialize;

use crate::cpu_time::cpu_time;
use crate::directors::{self, client};

/// Name of the thread that is measured.
const THREAD: &str = "lvx-vrrp";
const ROUTERS: u32 = 200;
const REAL_SERVERS: u32 = 10_000;
const MEASURED: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_secs(60);

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    instances: u32,
    interval_ms: u32,
    active_cpu_percent: f64,
    backup_cpu_percent: f64,
    realtime: bool,
    changed_real_servers: u32,
    sent_during_change: u64,
    late: u64,
    takeovers_of_the_backup: u64,
}

/// Measures.
///
/// # Errors
///
/// Without root, or where a director does not do what it should.
pub(crate) fn run() -> Result<Figures> {
    let segment = Segment::new(2, 1)?;
    let start = |host: u8, priority: u8| {
        let file = write(&segment, host, priority, 0)?;
        directors::start(&segment, host, &file)
    };
    let first = start(1, 150)?;
    directors::wait(&segment, 1, "active", SOON)?;
    let second = start(2, 100)?;
    directors::wait(&segment, 2, "backup", SOON)?;
    std::thread::sleep(Duration::from_secs(1));

    let (active, backup) =
        (cpu_time(&first.pid().to_string(), THREAD)?, cpu_time(&second.pid().to_string(), THREAD)?);
    let started = Instant::now();
    std::thread::sleep(MEASURED);
    let elapsed = started.elapsed().as_secs_f64();
    let percent = |before: Duration, after: Duration| (after - before).as_secs_f64() / elapsed * 100.0;
    let active_cpu_percent = percent(active, cpu_time(&first.pid().to_string(), THREAD)?);
    let backup_cpu_percent = percent(backup, cpu_time(&second.pid().to_string(), THREAD)?);

    let before = status(&segment, 1)?;
    for weight in [1, 2, 3] {
        write(&segment, 1, 150, weight)?;
        let generation = snapshot(&segment, 1)?.generation;
        first.signal(libc::SIGHUP);
        let started = Instant::now();
        while snapshot(&segment, 1)?.generation == generation {
            ensure!(started.elapsed() < SOON, "the change was not applied");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let after = status(&segment, 1)?;
    let sum = |status: &VrrpStatus, of: fn(&lb_userspace::control::vrrp::VrrpInstanceStatus) -> u64| {
        status.instances.iter().map(of).sum::<u64>()
    };
    let takeovers = status(&segment, 2)?
        .instances
        .iter()
        .flat_map(|instance| &instance.transitions)
        .filter(|state| state.name == "active")
        .map(|state| state.count)
        .sum();
    let figures = Figures {
        instances: ROUTERS,
        interval_ms: 100,
        active_cpu_percent,
        backup_cpu_percent,
        realtime: after.realtime,
        changed_real_servers: REAL_SERVERS,
        sent_during_change: sum(&after, |instance| instance.sent) - sum(&before, |instance| instance.sent),
        late: sum(&after, |instance| instance.late),
        takeovers_of_the_backup: takeovers,
    };
    println!(
        "{ROUTERS} virtual routers at 100 ms: {:.1} % of one core active, {:.1} % backup; real-time priority: {}",
        figures.active_cpu_percent,
        figures.backup_cpu_percent,
        if figures.realtime { "yes" } else { "no" }
    );
    println!(
        "during three changes of {REAL_SERVERS} real servers: {} advertisements sent, {} late by more than half an interval, \
         {} takeovers by the backup",
        figures.sent_during_change, figures.late, figures.takeovers_of_the_backup
    );
    Ok(figures)
}

/// Writes a director's configuration; with a weight it has the real servers.
fn write(segment: &Segment, host: u8, priority: u8, weight: u32) -> Result<std::path::PathBuf> {
    let mut text = directors::head(segment, host);
    for id in 1..=ROUTERS {
        let _ = write!(
            text,
            "[[vrrp]]\nname = \"r{id}\"\ninterface = \"eth0\"\nrouter_id = {id}\npriority = {priority}\n\
             interval = \"100ms\"\naddress = [\"198.18.0.{id}/32\"]\n"
        );
    }
    if weight > 0 {
        for service in 0..REAL_SERVERS / 100 {
            let _ = write!(
                text,
                "[[service]]\naddress = \"198.18.0.{}:{}\"\nscheduler = \"wrr\"\n",
                service % ROUTERS + 1,
                8000 + service / ROUTERS
            );
            for server in 0..100 {
                let _ = write!(
                    text,
                    "[[service.real_server]]\naddress = \"10.77.{service}.{}\"\nweight = {weight}\n",
                    server + 1
                );
            }
        }
    }
    segment.write(&format!("{host}.toml"), text)
}

fn snapshot(segment: &Segment, host: u8) -> Result<lb_userspace::control::snapshot::Snapshot> {
    Ok(client(segment, host)?.snapshot()?)
}

fn status(segment: &Segment, host: u8) -> Result<VrrpStatus> {
    snapshot(segment, host)?.vrrp.context("no virtual routers")
}
