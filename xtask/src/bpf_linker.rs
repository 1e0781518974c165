//! Building bpf-linker into the cache.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::bpf_toolchain::{self, CHOICE, Compiler, DATED_NIGHTLY};
use crate::process;

/// The release of bpf-linker that is built.
const VERSION: &str = "0.13.0";

/// Major versions of LLVM that this release can be built against.
const LLVM: std::ops::RangeInclusive<u32> = 21..=23;

/// The major version of LLVM to build against: the one whose bitcode `compiler` writes.
pub(crate) fn llvm_for(compiler: &Compiler) -> Result<u32> {
    let major = compiler.llvm().context("the BPF compiler does not say which LLVM it writes")?;
    if !LLVM.contains(&major) {
        bail!(
            "the BPF compiler writes LLVM {major}, which bpf-linker {VERSION} does not read; set \
             {CHOICE}={DATED_NIGHTLY} and run `cargo xtask setup` again"
        );
    }
    Ok(major)
}

/// What the user can do when the LLVM of `compiler` cannot be had.
pub(crate) fn advice(compiler: &Compiler) -> String {
    match compiler {
        Compiler::Nightly(name) if name != DATED_NIGHTLY => {
            format!("set {CHOICE}={DATED_NIGHTLY} and run `cargo xtask setup` again")
        }
        _ => "install it by hand and run `cargo xtask setup` again".to_owned(),
    }
}

/// Where LLVM of this major version is installed with its headers and library.
pub(crate) fn llvm_prefix(major: u32) -> Option<PathBuf> {
    let asked = [format!("llvm-config-{major}"), "llvm-config".to_owned()].into_iter().filter_map(|config| {
        let ask = |question: &str| {
            let output = Command::new(&config).arg(question).stdin(Stdio::null()).output().ok()?;
            Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        ask("--version").filter(|version| version.starts_with(&format!("{major}.")))?;
        ask("--prefix").map(PathBuf::from)
    });
    std::iter::once(PathBuf::from(format!("/usr/lib/llvm-{major}"))).chain(asked).find(|prefix| {
        prefix.join("bin/llvm-config").is_file() && prefix.join("include/llvm-c/Core.h").is_file()
    })
}

/// Builds bpf-linker against LLVM `major`, which lies at `prefix`.
pub(crate) fn install(major: u32, prefix: &Path) -> Result<()> {
    let mut command = process::cargo();
    bpf_toolchain::strip_environment(&mut command);
    if let Some(toolchain) = env::var_os("RUSTUP_TOOLCHAIN") {
        command.env("RUSTUP_TOOLCHAIN", toolchain);
    }
    command
        // bpf-linker's build script reads the first, llvm-sys the second.
        .env("LLVM_PREFIX", prefix)
        .env(format!("LLVM_SYS_{major}1_PREFIX"), prefix)
        .args(["install", "bpf-linker", "--locked", "--force", "--version", VERSION])
        .args(["--no-default-features", "--features", &format!("llvm-{major}"), "--root"])
        .arg(bpf_toolchain::linker_root())
        // The workspace's own cargo configuration has no say in it.
        .current_dir("/");
    process::quietly(&format!("cargo install bpf-linker {VERSION} (LLVM {major})"), &mut command)
}
