//! Compiling a program of the `lb-ebpf` crate.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use crate::bpf_toolchain::{Missing, TARGET, Toolchain};

/// Why there is no BPF object.
#[derive(Debug)]
pub(crate) enum CompileError {
    /// A piece of the tool chain is not installed.
    Missing(Missing),
    /// The compiler refused the program; `stderr` is what it said.
    Refused {
        /// Name of the binary in `lb-ebpf`.
        bin: String,
        /// How cargo ended.
        status: ExitStatus,
        /// Cargo's diagnostics, unchanged.
        stderr: String,
    },
    /// A program could not be started or a file not be written.
    Io {
        /// The program or file.
        what: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(missing) => missing.fmt(f),
            Self::Refused { bin, status, .. } => {
                write!(f, "cargo could not compile lb-ebpf's `{bin}` ({status})")
            }
            Self::Io { what, source } => write!(f, "{}: {source}", what.display()),
        }
    }
}

impl std::error::Error for CompileError {}

/// A compiled program.
#[derive(Debug)]
pub(crate) struct Object {
    /// The ELF object, with BTF and debug information.
    pub(crate) path: PathBuf,
    /// Compiler warnings about the workspace's own crates, one line each.
    pub(crate) warnings: Vec<String>,
}

/// Compiles the binary `bin` of `lb-ebpf` in the workspace at `workspace`.
///
/// `target_dir` must not be the target directory of a cargo that is waiting for this call: the inner cargo would
/// wait for the outer one's lock for ever. [`target_dir_for`] gives a safe one.
pub(crate) fn compile(workspace: &Path, bin: &str, target_dir: &Path) -> Result<Object, CompileError> {
    let toolchain = Toolchain::find().map_err(CompileError::Missing)?;
    let mut command = toolchain.cargo();
    command
        .current_dir(workspace)
        .args(["--package", "lb-ebpf", "--bin", bin, "--release", "--target", TARGET])
        .arg("--target-dir")
        .arg(target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(workspace))
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", toolchain.linker())
        .stdin(Stdio::null());
    let output = command
        .output()
        .map_err(|source| CompileError::Io { what: PathBuf::from(command.get_program()), source })?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        return Err(CompileError::Refused { bin: bin.to_owned(), status: output.status, stderr });
    }
    Ok(Object { path: target_dir.join(TARGET).join("release").join(bin), warnings: warnings_in(&stderr) })
}

/// The directory for BPF builds that belongs to a build script's `OUT_DIR`.
///
/// It is `bpf/` in the target directory, which cargo marks with `CACHEDIR.TAG`: debug and release builds share it, and
/// no cargo but the inner one locks it.
pub(crate) fn target_dir_for(out_dir: &Path) -> PathBuf {
    let target = out_dir.ancestors().find(|dir| dir.join("CACHEDIR.TAG").is_file());
    target.unwrap_or(out_dir).join("bpf")
}

/// The compiler flags, in cargo's encoding (separated by 0x1f, so that paths may contain spaces).
fn rustflags(workspace: &Path) -> OsString {
    let mut flags: Vec<OsString> = [
        // Atomic operations that return the old value exist from v3 on.
        "-Ctarget-cpu=v3",
        // The kernel and aya take map definitions and line information from BTF, which is made from debug information.
        "-Cdebuginfo=2",
        "-Clink-arg=--btf",
        // One load instead of four for a packet field at an odd offset; the kernel's JIT allows it on every
        // architecture that has efficient unaligned access.
        "-Clink-arg=--cpu-features=+allows-misaligned-mem-access",
    ]
    .map(OsString::from)
    .into();
    // Debug information and panic locations hold source paths: with these two the object is the same, byte for byte,
    // wherever the workspace and the registry lie.
    flags.push(remap(workspace, "/lvx"));
    flags.extend(registry_sources().iter().map(|dir| remap(dir, "/registry")));
    flags.join(OsStr::new("\x1f"))
}

fn remap(from: &Path, to: &str) -> OsString {
    let mut flag = OsString::from("--remap-path-prefix=");
    flag.push(from);
    flag.push("=");
    flag.push(to);
    flag
}

/// The unpacked registries: their names contain a hash of the registry's address, which must not reach the object.
fn registry_sources() -> Vec<PathBuf> {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let Some(entries) = home.and_then(|home| fs::read_dir(home.join("registry/src")).ok()) else {
        return Vec::new();
    };
    let mut dirs: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    dirs.sort();
    dirs
}

/// Shortens each warning in cargo's output to one line: what, and where.
fn warnings_in(stderr: &str) -> Vec<String> {
    let mut lines = stderr.lines().peekable();
    let mut warnings = Vec::new();
    while let Some(line) = lines.next() {
        if !line.starts_with("warning: ") || line.contains(" generated ") {
            continue;
        }
        let place = lines.peek().and_then(|next| next.trim_start().strip_prefix("--> "));
        let text = line.trim_start_matches("warning: ");
        warnings.push(place.map_or_else(|| text.to_owned(), |place| format!("{place}: {text}")));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_one_line_each() {
        let stderr = "warning: unused variable: `x`\n  --> lb-ebpf/src/main.rs:3:9\n   |\n\n\
                      warning: `lb-ebpf` (bin \"lvx\") generated 1 warning\nwarning: odd linker\n";
        assert_eq!(warnings_in(stderr), ["lb-ebpf/src/main.rs:3:9: unused variable: `x`", "odd linker"]);
    }
}
