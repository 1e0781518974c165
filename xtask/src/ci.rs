//! `cargo xtask ci`: everything that a change must pass.

use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::bpf_object::{self, CompileError};
use crate::process::{cargo_in_workspace, visibly};
use crate::setup::{self, Scope};

type Step = (&'static str, fn() -> Result<()>);

/// The cheapest first; the tests last, so that cargo's summary is the last thing printed.
const STEPS: [Step; 7] = [
    ("format", format),
    ("set-up", || setup::ensure(Scope::Everything)),
    ("BPF program", bpf_program),
    ("lints", lints),
    ("documentation", documentation),
    ("demo", || crate::demo(false)),
    ("tests", || crate::test(&[])),
];

/// Runs all steps and stops at the first that fails.
pub(crate) fn run() -> Result<()> {
    let count = STEPS.len();
    let mut previous = String::new();
    for (index, (name, step)) in STEPS.into_iter().enumerate() {
        println!("ci: {}/{count} {name}{previous}", index + 1);
        let began = Instant::now();
        step().with_context(|| format!("ci: {name}"))?;
        previous = format!(" ({} took {:.1} s)", name, began.elapsed().as_secs_f32());
    }
    Ok(())
}

fn format() -> Result<()> {
    visibly(cargo_in_workspace().args(["fmt", "--all", "--check"]))
}

/// The code that only the BPF target sees passes no clippy: its compiler's warnings have to do.
fn bpf_program() -> Result<()> {
    let workspace = crate::workspace();
    let target_dir = bpf_object::target_dir_for(&crate::target_dir());
    let object = match bpf_object::compile(&workspace, "lvx", &target_dir) {
        Err(CompileError::Refused { bin, stderr, .. }) => {
            eprint!("{stderr}");
            bail!("lb-ebpf's `{bin}` does not compile for BPF");
        }
        other => other?,
    };
    for warning in &object.warnings {
        eprintln!("{warning}");
    }
    if !object.warnings.is_empty() {
        bail!("the BPF program compiles with {} warnings", object.warnings.len());
    }
    println!("{}: {} bytes", object.path.display(), std::fs::metadata(&object.path)?.len());
    Ok(())
}

fn lints() -> Result<()> {
    visibly(cargo_in_workspace().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    // A workspace of its own, which shares what is compiled already.
    let mut fuzz = cargo_in_workspace();
    fuzz.args(["clippy", "--manifest-path", "fuzz/Cargo.toml", "--target-dir"]).arg(crate::target_dir());
    visibly(fuzz.args(["--", "-D", "warnings"]))
}

fn documentation() -> Result<()> {
    // lb-ebpf's stub has the name of lb-userspace's binary and would overwrite its pages.
    let arguments = ["doc", "--workspace", "--exclude", "lb-ebpf", "--no-deps"];
    visibly(cargo_in_workspace().env("RUSTDOCFLAGS", "-D warnings").args(arguments))
}
