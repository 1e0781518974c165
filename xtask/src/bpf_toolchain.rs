//! Finding the BPF tool chain and compiling the `lb-ebpf` crate with it.
//!
//! This file depends on nothing but `std`: xtask has it as a module, and the build scripts that embed a BPF object
//! include it by path, so that both agree on what is complete and on every flag.
//!
//! Two compilers can do it. Debian's `/usr/bin/rustc` brings `core` precompiled for the BPF targets
//! (package `libstd-rust-web-dev-bpf`); rustup's nightly compiles `core` itself when it has `rust-src`. Both need
//! `bpf-linker`, which turns LLVM bitcode into one BPF object with BTF.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// The compile target of every program in `lb-ebpf`: little-endian BPF.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// Environment variable that forces one of the two compilers (`debian` or `nightly`).
pub(crate) const CHOICE: &str = "LVX_BPF_TOOLCHAIN";

/// Environment variable that names LVX's cache directory.
pub(crate) const CACHE: &str = "LVX_CACHE";

/// Where Debian's packages put their compiler.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// Variables that Cargo reads as its user's configuration and that the inner build has to see too.
const KEPT: [&str; 6] =
    ["CARGO_HOME", "CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTRIES_", "CARGO_REGISTRY_", "CARGO_TERM_"];

/// Variables that an outer cargo, clippy or rustup sets for *its* compiler and that would misdirect the inner build.
const STRIPPED: [&str; 13] = [
    "CLIPPY_ARGS",
    "CLIPPY_CONF_DIR",
    "LD_LIBRARY_PATH",
    "MAKEFLAGS",
    "MFLAGS",
    "RUSTC",
    "RUSTC_LINKER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTDOC",
    "RUSTDOCFLAGS",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
];

/// A piece of the tool chain that is not there. Displayed as one sentence that names the command which mends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Neither compiler can build for BPF.
    Compiler,
    /// `LVX_BPF_TOOLCHAIN=debian`, but Debian's compiler or its `core` for BPF is not installed.
    Debian,
    /// `LVX_BPF_TOOLCHAIN=nightly`, but rustup's nightly or its `rust-src` is not installed.
    Nightly,
    /// No `bpf-linker`, neither in the cache nor on the `PATH`.
    Linker,
    /// A `bpf-linker` that does not start, usually because its LLVM library was removed.
    BrokenLinker(PathBuf),
    /// `LVX_BPF_TOOLCHAIN` has a value that is neither `debian` nor `nightly`.
    Choice(String),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let piece = match self {
            Self::Compiler => "a Rust compiler with `core` for BPF is missing".to_owned(),
            Self::Debian => format!("{DEBIAN_RUSTC} with `core` for BPF is missing ({CHOICE}=debian)"),
            Self::Nightly => format!("rustup's nightly with rust-src is missing ({CHOICE}=nightly)"),
            Self::Linker => "bpf-linker is missing".to_owned(),
            Self::BrokenLinker(path) => format!("{} does not start", path.display()),
            Self::Choice(value) => {
                return write!(
                    f,
                    "the BPF tool chain is unknown: {CHOICE} is `{value}`, expected `debian` or `nightly`; \
                     run `unset {CHOICE}`"
                );
            }
        };
        write!(f, "the BPF tool chain is incomplete: {piece}; run `cargo xtask setup`")
    }
}

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

impl std::error::Error for Missing {}

impl std::error::Error for CompileError {}

/// Which compiler builds the BPF crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compiler {
    /// `/usr/bin/rustc` with precompiled `core`.
    Debian,
    /// `rustup run nightly`, which compiles `core` from `rust-src`.
    Nightly,
}

impl Compiler {
    /// The compiler that `LVX_BPF_TOOLCHAIN` asks for; `None` when it is not set or empty.
    pub(crate) fn forced() -> Result<Option<Self>, Missing> {
        parse_choice(env::var_os(CHOICE).as_deref())
    }

    /// The compiler to use: the forced one, else Debian's, else nightly.
    ///
    /// Debian's comes first because it has nothing to compile beyond the program and because its version moves only
    /// with the distribution.
    pub(crate) fn find() -> Result<Self, Missing> {
        match Self::forced()? {
            Some(Self::Debian) if !debian_works() => Err(Missing::Debian),
            Some(Self::Nightly) if !nightly_works() => Err(Missing::Nightly),
            Some(forced) => Ok(forced),
            None if debian_works() => Ok(Self::Debian),
            None if nightly_works() => Ok(Self::Nightly),
            None => Err(Missing::Compiler),
        }
    }

    /// A command that runs this compiler's `rustc`.
    pub(crate) fn rustc(self) -> Command {
        let mut command = match self {
            Self::Debian => Command::new(DEBIAN_RUSTC),
            Self::Nightly => rustup_nightly("rustc"),
        };
        strip_environment(&mut command);
        command
    }
}

fn parse_choice(value: Option<&OsStr>) -> Result<Option<Compiler>, Missing> {
    match value.map(OsStr::to_string_lossy).as_deref() {
        None | Some("") => Ok(None),
        Some("debian") => Ok(Some(Compiler::Debian)),
        Some("nightly") => Ok(Some(Compiler::Nightly)),
        Some(other) => Err(Missing::Choice(other.to_owned())),
    }
}

fn debian_works() -> bool {
    // Asked of the compiler rather than of dpkg: the question is what works, not which package brought it.
    let dir = printed(Compiler::Debian.rustc().args(["--print", "target-libdir", "--target", TARGET]));
    let Some(entries) = dir.and_then(|dir| fs::read_dir(dir).ok()) else { return false };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
}

fn nightly_works() -> bool {
    let sysroot = printed(Compiler::Nightly.rustc().args(["--print", "sysroot"]));
    sysroot
        .is_some_and(|root| Path::new(&root).join("lib/rustlib/src/rust/library/core/src/lib.rs").is_file())
}

fn rustup_nightly(tool: &str) -> Command {
    let mut command = Command::new("rustup");
    // Looking must not download: installing is the job of `cargo xtask setup`, which says so.
    command.env("RUSTUP_AUTO_INSTALL", "0").args(["run", "nightly", tool]);
    command
}

/// The first line of a command's output, or `None` when it fails or cannot be started.
fn printed(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.lines().next().unwrap_or_default().to_owned())
}

/// LVX's cache directory: `$LVX_CACHE`, else `$XDG_CACHE_HOME/lvx`, else `$HOME/.cache/lvx`.
pub(crate) fn cache_dir() -> PathBuf {
    cache_dir_from(|name| env::var_os(name).filter(|value| !value.is_empty()))
}

fn cache_dir_from(get: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    if let Some(dir) = get(CACHE) {
        return dir.into();
    }
    let caches = get("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .unwrap_or_else(|| get("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from).join(".cache"));
    caches.join("lvx")
}

/// The directory `cargo install --root` is given for bpf-linker.
pub(crate) fn linker_root() -> PathBuf {
    cache_dir().join("bpf-linker")
}

/// Finds a `bpf-linker` that starts: in the cache first, because that one was built for this tool chain.
pub(crate) fn find_linker() -> Result<PathBuf, Missing> {
    let path = env::var_os("PATH").unwrap_or_default();
    find_linker_in(std::iter::once(linker_root().join("bin")).chain(env::split_paths(&path)))
}

fn find_linker_in(dirs: impl Iterator<Item = PathBuf>) -> Result<PathBuf, Missing> {
    let mut missing = Missing::Linker;
    for candidate in dirs.map(|dir| dir.join("bpf-linker")).filter(|file| is_executable(file)) {
        if printed(Command::new(&candidate).arg("--version")).is_some() {
            return Ok(candidate);
        }
        missing = Missing::BrokenLinker(candidate);
    }
    Err(missing)
}

fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// A complete tool chain.
#[derive(Debug)]
pub(crate) struct Toolchain {
    compiler: Compiler,
    linker: PathBuf,
}

/// A compiled program.
#[derive(Debug)]
pub(crate) struct Object {
    /// The ELF object, with BTF and debug information.
    pub(crate) path: PathBuf,
    /// Compiler warnings about the workspace's own crates, one line each.
    pub(crate) warnings: Vec<String>,
}

impl Toolchain {
    /// Finds the compiler and the linker.
    pub(crate) fn find() -> Result<Self, Missing> {
        Ok(Self { compiler: Compiler::find()?, linker: find_linker()? })
    }

    /// Compiles the binary `bin` of `lb-ebpf` in the workspace at `workspace`.
    ///
    /// `target_dir` must not be the target directory of a cargo that is waiting for this call: the inner cargo would
    /// wait for the outer one's lock for ever. [`target_dir_for`] gives a safe one.
    pub(crate) fn compile(
        &self,
        workspace: &Path,
        bin: &str,
        target_dir: &Path,
    ) -> Result<Object, CompileError> {
        let mut command = self.cargo();
        command
            .current_dir(workspace)
            .args(["--package", "lb-ebpf", "--bin", bin, "--release", "--target", TARGET])
            .arg("--target-dir")
            .arg(target_dir)
            .env("CARGO_ENCODED_RUSTFLAGS", rustflags(workspace))
            .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &self.linker)
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

    /// `cargo build` with an environment that names this compiler and nothing of an outer build.
    fn cargo(&self) -> Command {
        let mut command = match self.compiler {
            Compiler::Debian => Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into())),
            Compiler::Nightly => rustup_nightly("cargo"),
        };
        strip_environment(&mut command);
        // The BPF crates use unstable features; Debian's compiler is a stable release and has to be told to accept
        // them. The empty wrappers switch off those of the user's cargo configuration.
        command.env("RUSTC_BOOTSTRAP", "1").env("RUSTC_WRAPPER", "").env("RUSTC_WORKSPACE_WRAPPER", "");
        command.args(["build", "--quiet", "--color", "never"]);
        match self.compiler {
            Compiler::Debian => command.env("RUSTC", DEBIAN_RUSTC),
            Compiler::Nightly => command.args(["-Z", "build-std=core"]),
        };
        command
    }
}

/// Finds the tool chain and compiles; see [`Toolchain::compile`].
pub(crate) fn compile(workspace: &Path, bin: &str, target_dir: &Path) -> Result<Object, CompileError> {
    Toolchain::find().map_err(CompileError::Missing)?.compile(workspace, bin, target_dir)
}

/// The directory for BPF builds that belongs to a build script's `OUT_DIR`.
///
/// It is `bpf/` in the target directory, which cargo marks with `CACHEDIR.TAG`: debug and release builds share it, and
/// no cargo but the inner one locks it.
pub(crate) fn target_dir_for(out_dir: &Path) -> PathBuf {
    let target = out_dir.ancestors().find(|dir| dir.join("CACHEDIR.TAG").is_file());
    target.unwrap_or(out_dir).join("bpf")
}

/// Removes everything an outer build may have set for its own compiler, keeping the user's cargo configuration.
pub(crate) fn strip_environment(command: &mut Command) {
    for (name, _) in env::vars_os() {
        if is_stripped(&name.to_string_lossy()) {
            command.env_remove(name);
        }
    }
}

fn is_stripped(name: &str) -> bool {
    let kept =
        KEPT.iter().any(|kept| if kept.ends_with('_') { name.starts_with(kept) } else { name == *kept });
    STRIPPED.contains(&name) || (name.starts_with("CARGO") && !kept)
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
    fn each_missing_piece_is_one_sentence_with_its_command() {
        for missing in [
            Missing::Compiler,
            Missing::Debian,
            Missing::Nightly,
            Missing::Linker,
            Missing::BrokenLinker("/x/bpf-linker".into()),
        ] {
            let text = missing.to_string();
            assert!(text.starts_with("the BPF tool chain is incomplete: "), "{text}");
            assert!(text.ends_with("; run `cargo xtask setup`"), "{text}");
            assert!(!text.contains('\n') && !text.contains(". "), "{text}");
        }
        assert_eq!(
            Missing::Linker.to_string(),
            "the BPF tool chain is incomplete: bpf-linker is missing; run `cargo xtask setup`"
        );
    }

    #[test]
    fn the_forced_compiler_is_parsed() {
        assert_eq!(parse_choice(None), Ok(None));
        assert_eq!(parse_choice(Some(OsStr::new(""))), Ok(None));
        assert_eq!(parse_choice(Some(OsStr::new("debian"))), Ok(Some(Compiler::Debian)));
        assert_eq!(parse_choice(Some(OsStr::new("nightly"))), Ok(Some(Compiler::Nightly)));
        let error = parse_choice(Some(OsStr::new("stable"))).expect_err("stable is no choice");
        assert!(error.to_string().contains("`stable`, expected `debian` or `nightly`"), "{error}");
    }

    #[test]
    fn cache_directory_follows_the_variables_in_order() {
        let with = |set: &'static [(&str, &str)]| {
            cache_dir_from(move |name| {
                set.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into())
            })
        };
        assert_eq!(
            with(&[("LVX_CACHE", "/c"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")]),
            PathBuf::from("/c")
        );
        assert_eq!(with(&[("XDG_CACHE_HOME", "/x"), ("HOME", "/h")]), PathBuf::from("/x/lvx"));
        assert_eq!(with(&[("HOME", "/h")]), PathBuf::from("/h/.cache/lvx"));
    }

    #[test]
    fn the_outer_build_is_stripped_and_the_users_configuration_kept() {
        for name in
            ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "CARGO_PKG_NAME", "CARGO"]
        {
            assert!(is_stripped(name), "{name}");
        }
        for name in ["CARGO_HOME", "CARGO_REGISTRIES_X_INDEX", "CARGO_NET_OFFLINE", "PATH", "HOME"] {
            assert!(!is_stripped(name), "{name}");
        }
        assert!(is_stripped("CARGO_HOMEPAGE"), "only the exact name is kept");
    }

    #[test]
    fn a_linker_that_does_not_start_is_passed_over_but_named_when_alone() {
        let dir = env::temp_dir().join(format!("lvx-linker-{}", std::process::id()));
        let linker = |name: &str, program: &str| {
            let bin = dir.join(name);
            fs::create_dir_all(&bin).unwrap();
            std::os::unix::fs::symlink(program, bin.join("bpf-linker")).unwrap();
            bin
        };
        let broken = linker("broken", "/bin/false");
        let good = linker("good", "/bin/true");
        let empty = dir.join("empty");
        let found = find_linker_in([broken.clone(), good.clone()].into_iter());
        let alone = find_linker_in([empty.clone(), broken.clone()].into_iter());
        let none = find_linker_in([empty].into_iter());
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(found, Ok(good.join("bpf-linker")));
        assert_eq!(alone, Err(Missing::BrokenLinker(broken.join("bpf-linker"))));
        assert_eq!(none, Err(Missing::Linker));
    }

    #[test]
    fn warnings_are_one_line_each() {
        let stderr = "warning: unused variable: `x`\n  --> lb-ebpf/src/main.rs:3:9\n   |\n\n\
                      warning: `lb-ebpf` (bin \"lvx\") generated 1 warning\nwarning: odd linker\n";
        assert_eq!(warnings_in(stderr), ["lb-ebpf/src/main.rs:3:9: unused variable: `x`", "odd linker"]);
    }
}
