//! Finding the BPF tool chain.
//!
//! This file and `bpf_object.rs` depend on nothing but `std`: xtask has them as modules, and the build scripts that
//! embed a BPF object include them by path, so that both agree on what is complete and on every flag.
//!
//! Two compilers can do it. Debian's `/usr/bin/rustc` brings `core` precompiled for the BPF targets
//! (package `libstd-rust-web-dev-bpf`); rustup's nightly compiles `core` itself when it has `rust-src`. Both need
//! `bpf-linker`, which turns LLVM bitcode into one BPF object with BTF.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The compile target of every program in `lb-ebpf`: little-endian BPF.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// Environment variable that forces one of the two compilers: `debian`, `nightly` or a dated `nightly-YYYY-MM-DD`.
pub(crate) const CHOICE: &str = "LVX_BPF_TOOLCHAIN";

/// Environment variable that names LVX's cache directory.
pub(crate) const CACHE: &str = "LVX_CACHE";

/// The nightly that set-up installs: its LLVM is one that distributions have, which the newest nightly's often is not.
pub(crate) const DATED_NIGHTLY: &str = "nightly-2026-05-20";

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
    /// `LVX_BPF_TOOLCHAIN` names this nightly, but rustup does not have it, or not its `rust-src`.
    Nightly(String),
    /// No `bpf-linker`, neither in the cache nor on the `PATH`.
    Linker,
    /// A `bpf-linker` that does not start, usually because its LLVM library was removed.
    BrokenLinker(PathBuf),
    /// A `bpf-linker` in the cache that was built against an LLVM too old for what the compiler writes.
    OldLinker {
        /// Major version of LLVM that the linker reads.
        linker: u32,
        /// Major version of LLVM that the compiler writes.
        compiler: u32,
    },
    /// `LVX_BPF_TOOLCHAIN` has a value that is neither `debian` nor `nightly`.
    Choice(String),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let piece = match self {
            Self::Compiler => "a Rust compiler with `core` for BPF is missing".to_owned(),
            Self::Debian => format!("{DEBIAN_RUSTC} with `core` for BPF is missing ({CHOICE}=debian)"),
            Self::Nightly(name) => format!("rustup's {name} with rust-src is missing ({CHOICE}={name})"),
            Self::Linker => "bpf-linker is missing".to_owned(),
            Self::BrokenLinker(path) => format!("{} does not start", path.display()),
            Self::OldLinker { linker, compiler } => {
                format!("bpf-linker reads LLVM {linker}, but the compiler writes LLVM {compiler}")
            }
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

impl std::error::Error for Missing {}

/// Which compiler builds the BPF crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Compiler {
    /// `/usr/bin/rustc` with precompiled `core`.
    Debian,
    /// `rustup run` with the nightly of this name, which compiles `core` from `rust-src`.
    Nightly(String),
}

impl Compiler {
    /// The compiler that `LVX_BPF_TOOLCHAIN` asks for; `None` when it is not set or empty.
    pub(crate) fn forced() -> Result<Option<Self>, Missing> {
        parse_choice(env::var_os(CHOICE).as_deref())
    }

    /// The compiler to use: the forced one, else Debian's, else the user's nightly, else [`DATED_NIGHTLY`].
    ///
    /// Debian's comes first because it has nothing to compile beyond the program and because its version moves only
    /// with the distribution.
    pub(crate) fn find() -> Result<Self, Missing> {
        let nightly = |name: &str| Self::Nightly(name.to_owned());
        match Self::forced()? {
            Some(forced) if forced.works() => Ok(forced),
            Some(Self::Debian) => Err(Missing::Debian),
            Some(Self::Nightly(name)) => Err(Missing::Nightly(name)),
            None => [Self::Debian, nightly("nightly"), nightly(DATED_NIGHTLY)]
                .into_iter()
                .find(Self::works)
                .ok_or(Missing::Compiler),
        }
    }

    /// Whether the compiler is installed together with what it needs for BPF.
    fn works(&self) -> bool {
        // Asked of the compiler rather than of dpkg or rustup: the question is what works, not what brought it.
        match self {
            Self::Debian => printed(self.rustc().args(["--print", "target-libdir", "--target", TARGET]))
                .and_then(|dir| fs::read_dir(dir).ok())
                .is_some_and(|entries| {
                    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
                }),
            Self::Nightly(_) => printed(self.rustc().args(["--print", "sysroot"])).is_some_and(|root| {
                Path::new(&root).join("lib/rustlib/src/rust/library/core/src/lib.rs").is_file()
            }),
        }
    }

    /// The major version of LLVM whose bitcode this compiler writes; `None` when it does not say.
    pub(crate) fn llvm(&self) -> Option<u32> {
        let output = self.rustc().arg("-vV").stdin(Stdio::null()).output().ok()?;
        llvm_major(&String::from_utf8_lossy(&output.stdout))
    }

    /// A command that runs this compiler's `rustc`.
    fn rustc(&self) -> Command {
        let mut command = match self {
            Self::Debian => Command::new(DEBIAN_RUSTC),
            Self::Nightly(name) => rustup_run(name, "rustc"),
        };
        strip_environment(&mut command);
        command
    }
}

fn parse_choice(value: Option<&OsStr>) -> Result<Option<Compiler>, Missing> {
    match value.map(OsStr::to_string_lossy).as_deref() {
        None | Some("") => Ok(None),
        Some("debian") => Ok(Some(Compiler::Debian)),
        Some(name) if name == "nightly" || name.starts_with("nightly-") => {
            Ok(Some(Compiler::Nightly(name.to_owned())))
        }
        Some(other) => Err(Missing::Choice(other.to_owned())),
    }
}

fn llvm_major(version: &str) -> Option<u32> {
    let line = version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    line.split('.').next()?.parse().ok()
}

fn rustup_run(toolchain: &str, tool: &str) -> Command {
    let mut command = Command::new("rustup");
    // Looking must not download: installing is the job of `cargo xtask setup`, which says so.
    command.env("RUSTUP_AUTO_INSTALL", "0").args(["run", toolchain, tool]);
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

/// Finds a `bpf-linker` that starts and, if it is the cache's, reads what `compiler` writes.
///
/// The cache comes first, because its linker was built for this tool chain; one on the `PATH` is the user's choice.
pub(crate) fn find_linker(compiler: &Compiler) -> Result<PathBuf, Missing> {
    let path = env::var_os("PATH").unwrap_or_default();
    let root = linker_root();
    let linker = find_linker_in(std::iter::once(root.join("bin")).chain(env::split_paths(&path)))?;
    if linker.starts_with(&root)
        && let Some(reads) =
            fs::read_to_string(root.join(".crates2.json")).ok().as_deref().and_then(built_against)
        && let Some(writes) = compiler.llvm()
        && writes > reads
    {
        return Err(Missing::OldLinker { linker: reads, compiler: writes });
    }
    Ok(linker)
}

/// The LLVM feature of bpf-linker in what `cargo install` notes down about its installations.
fn built_against(installed: &str) -> Option<u32> {
    let (_, feature) = installed.split_once("\"llvm-")?;
    feature.split_once('"')?.0.parse().ok()
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

impl Toolchain {
    /// Finds the compiler and the linker.
    pub(crate) fn find() -> Result<Self, Missing> {
        let compiler = Compiler::find()?;
        let linker = find_linker(&compiler)?;
        Ok(Self { compiler, linker })
    }

    /// The `bpf-linker` to link with.
    pub(crate) fn linker(&self) -> &Path {
        &self.linker
    }

    /// `cargo build` with an environment that names this compiler and nothing of an outer build.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = match &self.compiler {
            Compiler::Debian => Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into())),
            Compiler::Nightly(name) => rustup_run(name, "cargo"),
        };
        strip_environment(&mut command);
        // The BPF crates use unstable features; Debian's compiler is a stable release and has to be told to accept
        // them. The empty wrappers switch off those of the user's cargo configuration.
        command.env("RUSTC_BOOTSTRAP", "1").env("RUSTC_WRAPPER", "").env("RUSTC_WORKSPACE_WRAPPER", "");
        command.args(["build", "--quiet", "--color", "never"]);
        match &self.compiler {
            Compiler::Debian => command.env("RUSTC", DEBIAN_RUSTC),
            Compiler::Nightly(_) => command.args(["-Z", "build-std=core"]),
        };
        command
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_piece_is_one_sentence_with_its_command() {
        for missing in [
            Missing::Compiler,
            Missing::Debian,
            Missing::Nightly("nightly".to_owned()),
            Missing::OldLinker { linker: 22, compiler: 23 },
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
        for name in ["nightly", "nightly-2026-05-20"] {
            assert_eq!(parse_choice(Some(OsStr::new(name))), Ok(Some(Compiler::Nightly(name.to_owned()))));
        }
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
    fn llvm_of_compiler_and_linker_is_read() {
        assert_eq!(llvm_major("rustc 1.96.0\nrelease: 1.96.0\nLLVM version: 22.1.8\n"), Some(22));
        assert_eq!(llvm_major("rustc 1.96.0\n"), None);
        let installed = r#"{"installs":{"bpf-linker 0.13.0":{"features":["llvm-22"],"profile":"release"}}}"#;
        assert_eq!(built_against(installed), Some(22));
        assert_eq!(built_against(r#"{"installs":{"bpf-linker 0.13.0":{"features":[]}}}"#), None);
    }
}
