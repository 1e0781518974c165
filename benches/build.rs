//! Compiles the XDP program and hands its object to the crate as `BENCH_BPF_OBJECT` (a path, for `include_bytes!`).

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[path = "../xtask/src/bpf_object.rs"]
mod bpf_object;
#[allow(dead_code, reason = "xtask uses the rest of this module")]
#[path = "../xtask/src/bpf_toolchain.rs"]
mod bpf_toolchain;

use bpf_object::CompileError;
use bpf_toolchain::{CACHE, CHOICE};

/// What the object is made from, seen from this crate's directory.
const SOURCES: [&str; 7] = [
    "../lb-ebpf/Cargo.toml",
    "../lb-ebpf/src",
    "../lb-common/Cargo.toml",
    "../lb-common/src",
    "../Cargo.toml",
    "../xtask/src/bpf_object.rs",
    "../xtask/src/bpf_toolchain.rs",
];

fn main() -> ExitCode {
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
    }
    for variable in [CACHE, CHOICE] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    match embed("bench") {
        Ok(object) => {
            println!("cargo::rustc-env=BENCH_BPF_OBJECT={}", object.display());
            ExitCode::SUCCESS
        }
        Err(CompileError::Refused { bin, status, stderr }) => {
            eprint!("{stderr}");
            println!("cargo::error=lb-ebpf's `{bin}` does not compile for BPF ({status})");
            ExitCode::FAILURE
        }
        // Success as an exit code: cargo fails because of the error line, and prints that line and nothing else.
        Err(error) => {
            println!("cargo::error={error}");
            ExitCode::SUCCESS
        }
    }
}

/// Compiles `bin` and copies the object into `OUT_DIR`, where only this crate's build changes it.
fn embed(bin: &str) -> Result<PathBuf, CompileError> {
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let crate_dir = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let workspace = crate_dir.parent().unwrap_or(Path::new("/"));
    let object = bpf_object::compile(workspace, bin, &bpf_object::target_dir_for(&out_dir))?;
    for warning in &object.warnings {
        println!("cargo::warning={warning}");
    }
    let copy = out_dir.join(bin);
    std::fs::copy(&object.path, &copy).map_err(|source| CompileError::Io { what: copy.clone(), source })?;
    Ok(copy)
}
