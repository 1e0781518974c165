//! Everything about LVX that is not `cargo build`: set-up, demo, tests, benchmarks.
//!
//! Run as `cargo xtask COMMAND` from anywhere in the workspace. This crate must not depend on `lb-userspace`, whose
//! build needs the BPF tool chain that `setup` installs.

mod apt;
mod bpf_linker;
mod bpf_object;
mod bpf_toolchain;
mod ci;
mod demo;
mod process;
mod setup;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use setup::Scope;

#[derive(Parser)]
#[command(
    bin_name = "cargo xtask",
    about = "Set-up, demo, tests and benchmarks of LVX",
    disable_help_subcommand = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what is missing: the BPF tool chain and the programs of the lab
    Setup,
    /// Build the `lvx` binary, optimised
    Build,
    /// Run every test, those in network namespaces included (needs root)
    Test {
        /// Arguments for `cargo test`, in place of the whole workspace
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        arguments: Vec<String>,
    },
    /// Balance real traffic between network namespaces and show it (needs root)
    Demo {
        /// Leave the lab standing at the end
        #[arg(long)]
        keep: bool,
        /// Only remove what an earlier --keep has left
        #[arg(long, conflicts_with = "keep")]
        remove: bool,
    },
    /// Run the benchmark harness
    Bench {
        /// Arguments for the harness
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        arguments: Vec<String>,
    },
    /// Run a fuzz target on inputs from a generator (see docs/fuzzing.md)
    Fuzz {
        /// Target or `all`, and arguments for the generator, such as `--executions N`
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            required = true,
            value_name = "ARGUMENTS"
        )]
        arguments: Vec<String>,
    },
    /// Run everything that a change must pass (needs root)
    Ci,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Setup => setup::ensure(Scope::Everything),
        Task::Build => {
            setup::ensure(Scope::Toolchain)?;
            build(Profile::Release)?;
            println!("built: {}", binary(Profile::Release).display());
            Ok(())
        }
        Task::Test { arguments } => {
            need_root("cargo xtask test", "its tests make network namespaces and load BPF programs")?;
            setup::ensure(Scope::Everything)?;
            test(&arguments)
        }
        Task::Demo { keep, remove } => {
            need_root("cargo xtask demo", "it makes network namespaces and loads BPF programs")?;
            if remove {
                return demo::remove();
            }
            setup::ensure(Scope::Everything)?;
            demo(keep)
        }
        Task::Bench { arguments } => {
            setup::ensure(Scope::Toolchain)?;
            // Not in the workspace's root, as everything else: `--json FILE` is relative to where the user is.
            let mut command = process::cargo();
            process::visibly(command.args(["run", "--release", "--package", "benches", "--"]).args(arguments))
        }
        Task::Fuzz { arguments } => {
            setup::ensure(Scope::Toolchain)?;
            // As with the benchmarks, files are named from where the user is.
            let mut command = process::cargo();
            command.args(["run", "--release", "--bin", "generate", "--manifest-path"]);
            process::visibly(command.arg(workspace().join("fuzz/Cargo.toml")).arg("--").args(arguments))
        }
        Task::Ci => {
            need_root("cargo xtask ci", "it runs every test and the demo")?;
            ci::run()
        }
    }
}

/// How the `lvx` binary is compiled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Profile {
    /// Fast to compile, and shared with the tests.
    Debug,
    /// Optimised.
    Release,
}

/// The target directory of the workspace.
fn target_dir() -> PathBuf {
    workspace().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// Where [`build`] leaves the `lvx` binary.
fn binary(profile: Profile) -> PathBuf {
    let folder = if profile == Profile::Release { "release" } else { "debug" };
    target_dir().join(folder).join("lvx")
}

/// Builds the `lvx` binary.
fn build(profile: Profile) -> Result<()> {
    let mut command = process::cargo_in_workspace();
    command.args(["build", "--package", "lb-userspace", "--bin", "lvx"]);
    if profile == Profile::Release {
        command.arg("--release");
    }
    process::visibly(&mut command)
}

/// Builds what the demo runs, and runs it.
///
/// The unoptimised binary: packets are forwarded by the XDP program, which is optimised in every profile, and a first
/// demo should not wait minutes for the controller's compilation.
fn demo(keep: bool) -> Result<()> {
    build(Profile::Debug)?;
    demo::run(&binary(Profile::Debug), keep)
}

/// Runs `cargo test`: with `arguments`, or for the whole workspace when there are none.
///
/// lb-ebpf stays out: on the host it is an empty program whose binary has the name of the real one.
fn test(arguments: &[String]) -> Result<()> {
    if !arguments.is_empty() {
        return process::visibly(process::cargo_in_workspace().arg("test").args(arguments));
    }
    // Examples in documentation first, for there are few: the last lines are to say how the tests went.
    for kinds in [["--doc"].as_slice(), ["--lib", "--bins", "--tests"].as_slice()] {
        let mut command = process::cargo_in_workspace();
        command.args(["test", "--workspace", "--exclude", "lb-ebpf", "--no-fail-fast"]).args(kinds);
        process::visibly(&mut command)?;
    }
    Ok(())
}

fn need_root(command: &str, because: &str) -> Result<()> {
    if !process::is_root() {
        bail!("`{command}` needs root because {because}: run it as root");
    }
    Ok(())
}

/// The workspace's directory.
fn workspace() -> PathBuf {
    // Cargo sets the variable when it runs xtask; the value at compile time serves a binary started by hand.
    let manifest =
        std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&manifest).parent().map_or_else(PathBuf::new, Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn bench_arguments_are_passed_through() {
        let parsed = Arguments::try_parse_from(["xtask", "bench", "datapath", "--json", "x.json"]).unwrap();
        let Task::Bench { arguments } = parsed.command else { panic!("not parsed as bench") };
        assert_eq!(arguments, ["datapath", "--json", "x.json"]);
    }

    #[test]
    fn fuzz_arguments_are_passed_through() {
        let parsed = Arguments::try_parse_from(["xtask", "fuzz", "hmac", "--executions", "9"]).unwrap();
        let Task::Fuzz { arguments } = parsed.command else { panic!("not parsed as fuzz") };
        assert_eq!(arguments, ["hmac", "--executions", "9"]);
        assert!(Arguments::try_parse_from(["xtask", "fuzz"]).is_err(), "which target?");
    }

    #[test]
    fn workspace_holds_the_lock_file() {
        assert!(workspace().join("Cargo.lock").is_file());
    }
}
