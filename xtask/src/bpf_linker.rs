//! Building bpf-linker into the cache.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::bpf_toolchain::{self, Compiler};
use crate::process;

/// The release of bpf-linker that is built.
const VERSION: &str = "0.13.0";

/// Major versions of LLVM that this release can be built against.
const LLVM: std::ops::RangeInclusive<u32> = 21..=23;

/// The major version of LLVM whose bitcode `compiler` writes: bpf-linker must read it, so it needs the same.
pub(crate) fn llvm_of(compiler: Compiler) -> Result<u32> {
    let output = compiler.rustc().arg("-vV").stdin(Stdio::null()).output().context("cannot start rustc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let Some(major) = llvm_major(&text) else {
        bail!("`rustc -vV` of the BPF compiler names no LLVM version");
    };
    if !LLVM.contains(&major) {
        bail!(
            "the BPF compiler writes LLVM {major}, but bpf-linker {VERSION} supports {} to {}; set {} to the other \
             compiler",
            LLVM.start(),
            LLVM.end(),
            bpf_toolchain::CHOICE
        );
    }
    Ok(major)
}

fn llvm_major(version: &str) -> Option<u32> {
    let line = version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    line.split('.').next()?.parse().ok()
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
pub(crate) fn install(major: u32, prefix: &PathBuf) -> Result<()> {
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
    process::quietly(&format!("cargo install bpf-linker {VERSION} (LLVM {major})"), &mut command)?;
    bpf_toolchain::find_linker()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llvm_major_is_read_from_the_compilers_version() {
        assert_eq!(llvm_major("rustc 1.96.0\nrelease: 1.96.0\nLLVM version: 22.1.8\n"), Some(22));
        assert_eq!(llvm_major("rustc 1.96.0\n"), None);
    }
}
