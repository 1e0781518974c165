//! Benchmark harness of LVX.

mod apply;
mod checks;
mod cpu_time;
mod datapath;
mod directors;
mod failover;
mod frames;
mod harness;
mod vrrp;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use serde::Serialize;

/// Measures LVX; see docs/benchmarks.md.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Cost of one packet through the XDP program, for every path, by BPF_PROG_TEST_RUN.
    Datapath {
        /// Write the figures to this file as well.
        #[arg(long)]
        json: Option<PathBuf>,
        /// Fewer rounds and flows.
        #[arg(long)]
        quick: bool,
    },
    /// Time to load a large configuration and to change one real server of it.
    Apply {
        /// Write the figures to this file as well.
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// The longest gap of HTTP requests through a virtual address while one of two directors is killed, or hands over.
    Failover {
        /// Write the figures to this file as well.
        #[arg(long)]
        json: Option<PathBuf>,
        /// Repetitions of each.
        #[arg(long, default_value_t = 20)]
        repetitions: u32,
    },
    /// CPU time of 200 virtual routers, and whether their advertisements are in time while a large change is applied.
    Vrrp {
        /// Write the figures to this file as well.
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// The director, for the benchmarks that need one.
    #[command(hide = true)]
    Director {
        /// Configuration file.
        config: PathBuf,
    },
    /// What the director starts beside itself.
    #[command(name = lb_userspace::vrrp::io::guard::COMMAND, hide = true)]
    Guard,
    /// CPU time of health checks of 5,000 real servers.
    Checks {
        /// Write the figures to this file as well.
        #[arg(long)]
        json: Option<PathBuf>,
    },
}

fn main() -> Result<ExitCode> {
    match Arguments::parse().what {
        What::Director { config } => return Ok(lb_userspace::cli::run::run(&config)),
        What::Guard => lb_userspace::vrrp::io::guard::run()?,
        What::Failover { json, repetitions } => write(json.as_deref(), &failover::run(repetitions)?)?,
        What::Vrrp { json } => write(json.as_deref(), &vrrp::run()?)?,
        What::Datapath { json, quick } => write(json.as_deref(), &datapath::run(quick)?)?,
        What::Checks { json } => write(json.as_deref(), &checks::run()?)?,
        What::Apply { json } => write(json.as_deref(), &apply::run()?)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn write(path: Option<&Path>, figures: &impl Serialize) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    std::fs::write(path, serde_json::to_string_pretty(figures)?)
        .with_context(|| format!("cannot write {}", path.display()))
}
