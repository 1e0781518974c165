//! Runs fuzz targets on any compiler: `cargo xtask fuzz`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Parser;
use lvx_fuzz::{TARGETS, Target, generator};

#[derive(Parser)]
#[command(about = "Fuzz targets of LVX", disable_help_subcommand = true)]
struct Arguments {
    /// Target, or `all` of them
    target: String,
    /// How many inputs to run, for each target
    #[arg(long, default_value_t = 1_000_000)]
    executions: u64,
    /// Where the sequence of inputs begins
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run the input in this file, and nothing else
    #[arg(long)]
    replay: Option<PathBuf>,
    /// Write the seeds into this directory, for cargo fuzz, and run nothing
    #[arg(long, conflicts_with = "replay")]
    write_seeds: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let chosen: Vec<&Target> = TARGETS
        .iter()
        .filter(|target| arguments.target == "all" || arguments.target == target.name)
        .collect();
    if chosen.is_empty() {
        let names = TARGETS.map(|target| target.name).join(", ");
        bail!("there is no target `{}`; there are {names}", arguments.target);
    }
    for target in chosen {
        if let Some(file) = &arguments.replay {
            let input = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            println!("{}: {} pairs of events, no failure", target.name, (target.run)(&input).count());
        } else if let Some(folder) = &arguments.write_seeds {
            write_seeds(target, &folder.join(target.name))?;
        } else {
            fuzz(target, arguments)?;
        }
    }
    Ok(())
}

fn fuzz(target: &Target, arguments: &Arguments) -> Result<()> {
    let began = Instant::now();
    let report = generator::generate(target, arguments.executions, arguments.seed, |_| {});
    let seconds = began.elapsed().as_secs_f64();
    match report {
        Ok(report) => {
            println!(
                "{}: {} executions in {seconds:.1} s ({:.0} per second), {} pairs of events, {} inputs kept, no failure",
                target.name,
                report.executions,
                report.executions as f64 / seconds,
                report.pairs,
                report.kept
            );
            Ok(())
        }
        Err(input) => {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("artifacts").join(target.name);
            fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
            let file = folder.join(format!("failure-{}-{}", arguments.seed, input.len()));
            fs::write(&file, &input).with_context(|| format!("cannot write {}", file.display()))?;
            bail!("{} failed on {} bytes: {}", target.name, input.len(), file.display());
        }
    }
}

fn write_seeds(target: &Target, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (number, seed) in (target.seeds)().iter().enumerate() {
        let file = folder.join(format!("seed-{number:03}"));
        fs::write(&file, seed).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}
