//! `cargo xtask setup`: finds out what is missing and installs that, by name, and nothing else.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};

use crate::bpf_toolchain::{self, Compiler, DATED_NIGHTLY, Missing};
use crate::{apt, bpf_linker, process};

/// What a command needs to be there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The BPF tool chain: enough to build.
    Toolchain,
    /// The tool chain and the programs that the lab runs.
    Everything,
}

/// A program and the packages that bring it; the first one that the distribution has is taken.
struct Program {
    name: &'static str,
    packages: &'static [&'static str],
}

/// What the demo and the tests run beside LVX.
const LAB: [Program; 21] = [
    Program { name: "ip", packages: &["iproute2"] },
    Program { name: "ethtool", packages: &["ethtool"] },
    Program { name: "nginx", packages: &["nginx-light", "nginx"] },
    Program { name: "curl", packages: &["curl"] },
    Program { name: "tcpdump", packages: &["tcpdump"] },
    Program { name: "prometheus", packages: &["prometheus"] },
    Program { name: "openssl", packages: &["openssl"] },
    Program { name: "aiosmtpd", packages: &["python3-aiosmtpd"] },
    Program { name: "dnsmasq", packages: &["dnsmasq-base"] },
    Program { name: "smtpd", packages: &["opensmtpd"] },
    Program { name: "socat", packages: &["socat"] },
    Program { name: "keepalived", packages: &["keepalived"] },
    Program { name: "redis-server", packages: &["redis-server"] },
    Program { name: "pg_lsclusters", packages: &["postgresql"] },
    Program { name: "mariadbd", packages: &["mariadb-server"] },
    Program { name: "slapd", packages: &["slapd"] },
    Program { name: "dovecot", packages: &["dovecot-imapd"] },
    Program { name: "/usr/lib/dovecot/pop3", packages: &["dovecot-pop3d"] },
    Program { name: "freeradius", packages: &["freeradius"] },
    Program { name: "vsftpd", packages: &["vsftpd"] },
    Program { name: "sipp", packages: &["sip-tester"] },
];

/// bpf-linker links LLVM's C++ code.
const CXX: Program = Program { name: "c++", packages: &["g++"] };

/// Debian's Rust compiler and its `core` for BPF.
const DEBIAN_COMPILER: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];

const BPF_FS: &str = "/sys/fs/bpf";

/// Makes sure that everything in `scope` is there.
///
/// # Errors
/// When something is missing and cannot be installed: without root, without apt, or because a step failed.
pub(crate) fn ensure(scope: Scope) -> Result<()> {
    if is_complete(scope) {
        println!("setup: complete");
        return Ok(());
    }
    let cache = bpf_toolchain::cache_dir();
    fs::create_dir_all(&cache).with_context(|| format!("cannot create {}", cache.display()))?;
    // Held until the end: two set-ups at once would build the same things and disturb each other's service hook.
    let lock = File::create(cache.join("setup.lock")).context("cannot create setup.lock in the cache")?;
    lock.lock().context("cannot lock setup.lock in the cache")?;

    let mut packages = Packages::default();
    ensure_programs_and_compiler(scope, &mut packages)?;
    ensure_linker(&mut packages)?;
    bpf_toolchain::Toolchain::find()?;
    if scope == Scope::Everything && !bpf_fs_is_mounted() {
        mount_bpf_fs()?;
    }
    println!("setup: complete");
    Ok(())
}

fn is_complete(scope: Scope) -> bool {
    let lab_is_there = || LAB.iter().all(Program::is_there) && bpf_fs_is_mounted();
    bpf_toolchain::Toolchain::find().is_ok() && (scope == Scope::Toolchain || lab_is_there())
}

impl Program {
    fn is_there(&self) -> bool {
        process::find_program(self.name).is_some()
    }
}

/// Installs packages, fetching the package lists before the first.
#[derive(Default)]
struct Packages {
    lists_are_fresh: bool,
}

impl Packages {
    /// Makes sure that packages can be installed; `wanted` is what for.
    fn prepare(&mut self, wanted: &str) -> Result<()> {
        if self.lists_are_fresh {
            return Ok(());
        }
        if !apt::is_there() {
            bail!(
                "{wanted} is missing and there is no apt-get here: install it with your distribution's tools"
            );
        }
        if !process::is_root() {
            bail!("{wanted} is missing and installing it needs root: run `cargo xtask setup` as root");
        }
        apt::update()?;
        self.lists_are_fresh = true;
        Ok(())
    }

    /// The first of `alternatives` that can be installed.
    fn choose(&mut self, wanted: &str, alternatives: &[&'static str]) -> Result<&'static str> {
        self.prepare(wanted)?;
        for package in alternatives {
            if apt::is_available(package)? {
                return Ok(package);
            }
        }
        bail!("{wanted} is missing and apt has no package {}: install it by hand", alternatives.join(" or "))
    }
}

/// Installs the lab's programs and the BPF compiler, in one go where both come from packages.
fn ensure_programs_and_compiler(scope: Scope, packages: &mut Packages) -> Result<()> {
    let mut wanted = Vec::new();
    if scope == Scope::Everything {
        for program in LAB.iter().filter(|program| !program.is_there()) {
            wanted.push(packages.choose(&format!("`{}`", program.name), program.packages)?);
        }
    }
    let compiler = Compiler::find();
    let has_linker = compiler.as_ref().is_ok_and(|compiler| bpf_toolchain::find_linker(compiler).is_ok());
    if !has_linker && !CXX.is_there() {
        wanted.push(packages.choose("a C++ compiler", CXX.packages)?);
    }
    let nightly = match compiler {
        Ok(_) => None,
        Err(missing @ Missing::Choice(_)) => return Err(anyhow!(missing)),
        Err(Missing::Nightly(name)) => Some(name),
        Err(missing) => match debian_compiler(packages) {
            Ok(found) => {
                wanted.extend(found);
                None
            }
            // The other compiler is for distributions that lack the packages, not for users who lack the rights.
            Err(error) if apt::is_there() && !process::is_root() => return Err(error),
            Err(error) if missing == Missing::Debian || process::find_program("rustup").is_none() => {
                return Err(error);
            }
            Err(error) => {
                println!("setup: {error:#}");
                println!("setup: taking rustup's {DATED_NIGHTLY} for BPF instead");
                Some(DATED_NIGHTLY.to_owned())
            }
        },
    };
    if !wanted.is_empty() {
        apt::install(&wanted)?;
    }
    if let Some(name) = nightly {
        let mut rustup = Command::new("rustup");
        rustup.args(["toolchain", "install", &name, "--profile", "minimal", "--component", "rust-src"]);
        process::quietly(&format!("rustup toolchain install {name} with rust-src"), &mut rustup)?;
    }
    Ok(())
}

fn debian_compiler(packages: &mut Packages) -> Result<Vec<&'static str>> {
    let choose = |package: &'static str| packages.choose("a Rust compiler with `core` for BPF", &[package]);
    DEBIAN_COMPILER.into_iter().map(choose).collect()
}

/// Builds bpf-linker when there is none that starts.
fn ensure_linker(packages: &mut Packages) -> Result<()> {
    let compiler = Compiler::find()?;
    if bpf_toolchain::find_linker(&compiler).is_ok() {
        return Ok(());
    }
    let major = bpf_linker::llvm_for(&compiler)?;
    let wanted = format!("LLVM {major} with headers");
    if bpf_linker::llvm_prefix(major).is_none() {
        let package = format!("llvm-{major}-dev");
        packages.prepare(&wanted)?;
        if !apt::is_available(&package)? {
            bail!("{wanted} is missing and apt has no package {package}; {}", bpf_linker::advice(&compiler));
        }
        apt::install(&[&package])?;
    }
    let prefix = bpf_linker::llvm_prefix(major)
        .with_context(|| format!("{wanted} is missing although it was installed"))?;
    bpf_linker::install(major, &prefix)
}

/// Whether the BPF file system is where the daemon pins its maps (or the kernel has no such place).
fn bpf_fs_is_mounted() -> bool {
    let Ok(path) = CString::new(BPF_FS) else { return false };
    let mut found = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: `path` is a NUL-terminated string and `found` is large enough for the structure; both outlive the call.
    let result = unsafe { libc::statfs(path.as_ptr(), found.as_mut_ptr()) };
    if result != 0 {
        return !Path::new(BPF_FS).exists();
    }
    // SAFETY: statfs succeeded, so it has filled the structure.
    let kind = unsafe { found.assume_init() }.f_type;
    kind == libc::BPF_FS_MAGIC
}

fn mount_bpf_fs() -> Result<()> {
    if !process::is_root() {
        bail!("{BPF_FS} is not mounted and mounting it needs root: run `cargo xtask setup` as root");
    }
    let (kind, target) = (CString::new("bpf")?, CString::new(BPF_FS)?);
    // SAFETY: the three strings are NUL-terminated and outlive the call; no data is passed.
    let result = unsafe { libc::mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, std::ptr::null()) };
    if result != 0 {
        return Err(io::Error::last_os_error())
            .with_context(|| format!("cannot mount the BPF file system at {BPF_FS}"));
    }
    println!("setup: mounted the BPF file system at {BPF_FS}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_exists_is_there_and_an_invented_one_is_not() {
        assert!(Program { name: "sh", packages: &[] }.is_there());
        assert!(!Program { name: "lvx-no-such-program", packages: &[] }.is_there());
    }
}
