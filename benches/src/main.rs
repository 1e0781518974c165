//! Benchmark harness of LVX.

mod apply;
mod checks;
mod datapath;
mod frames;
mod harness;

use std::path::{Path, PathBuf};

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
    /// CPU time of health checks of 5,000 real servers.
    Checks {
        /// Write the figures to this file as well.
        #[arg(long)]
        json: Option<PathBuf>,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().what {
        What::Datapath { json, quick } => write(json.as_deref(), &datapath::run(quick)?),
        What::Checks { json } => write(json.as_deref(), &checks::run()?),
        What::Apply { json } => write(json.as_deref(), &apply::run()?),
    }
}

fn write(path: Option<&Path>, figures: &impl Serialize) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    std::fs::write(path, serde_json::to_string_pretty(figures)?)
        .with_context(|| format!("cannot write {}", path.display()))
}
