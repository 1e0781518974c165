//! How long the controller takes to load a large configuration, and to change one real server of it.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lb_userspace::config;
use lb_userspace::daemon::Engine;
use lb_userspace::datapath::Sizes;
use serde::Serialize;

const SERVICES: usize = 1_000;
const SERVERS: usize = 100;
const ROUNDS: usize = 11;

/// Figures in milliseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    services: usize,
    real_servers: usize,
    scheduler: &'static str,
    parse_ms: f64,
    load_program_ms: f64,
    install_ms: f64,
    change_one_ms_median: f64,
    change_one_ms_max: f64,
}

/// Measures with every scheduler family; nothing is attached to an interface.
///
/// # Errors
///
/// What the kernel refuses, as without root.
pub(crate) fn run() -> Result<Vec<Figures>> {
    let mut all = Vec::new();
    println!("{SERVICES} services x {SERVERS} real servers, times in ms");
    println!(
        "{:<10} {:>9} {:>9} {:>9} {:>12} {:>9}",
        "scheduler", "parse", "program", "install", "change one", "max"
    );
    for scheduler in ["rr", "wrr", "sh", "wlc"] {
        let figures = measure(scheduler)?;
        println!(
            "{:<10} {:>9.1} {:>9.1} {:>9.1} {:>12.1} {:>9.1}",
            scheduler,
            figures.parse_ms,
            figures.load_program_ms,
            figures.install_ms,
            figures.change_one_ms_median,
            figures.change_one_ms_max
        );
        all.push(figures);
    }
    Ok(all)
}

fn measure(scheduler: &'static str) -> Result<Figures> {
    let text = configuration(scheduler);
    let (parse, model) = timed(|| config::parse("bench.toml", &text));
    let mut model = model.context("the generated configuration")?;
    model.interfaces.clear();
    let targets = model.targets();
    let (load, engine) = timed(|| Engine::load(&Sizes::new(&model.settings.limits, 1)));
    let mut engine = engine?;
    let (install, installed) = timed(|| engine.install(&model, &targets));
    installed?;
    let mut changes = Vec::new();
    for round in 0..ROUNDS {
        let service = &mut model.services[round * 7 % SERVICES];
        service.real_servers[round].weight += 1;
        let (change, changed) = timed(|| engine.install(&model, &targets));
        changed?;
        changes.push(change);
    }
    changes.sort_by(f64::total_cmp);
    Ok(Figures {
        services: SERVICES,
        real_servers: SERVICES * SERVERS,
        scheduler,
        parse_ms: parse,
        load_program_ms: load,
        install_ms: install,
        change_one_ms_median: changes[ROUNDS / 2],
        change_one_ms_max: changes[ROUNDS - 1],
    })
}

fn timed<V>(work: impl FnOnce() -> V) -> (f64, V) {
    let started = Instant::now();
    let value = work();
    (milliseconds(started.elapsed()), value)
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn configuration(scheduler: &str) -> String {
    let mut text = String::from(
        "[limits]\nconnections = \"64k\"\nembryonic = \"8k\"\nservices = 1024\nreal_servers = 131072\n\n[[interface]]\nname = \"bench0\"\n",
    );
    for service in 0..SERVICES {
        let (high, low) = (service / 250, service % 250 + 1);
        let _ = write!(
            text,
            "\n[[service]]\naddress = \"198.18.{high}.{low}:80\"\nscheduler = \"{scheduler}\"\n"
        );
        for server in 0..SERVERS {
            let number = service * SERVERS + server;
            let (a, b, c) = (number >> 16 & 0xff, number >> 8 & 0xff, number & 0xff);
            let _ = write!(text, "[[service.real_server]]\naddress = \"10.{a}.{b}.{c}:80\"\n");
        }
    }
    text
}
