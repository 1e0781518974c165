//! A named network namespace, and the ways to be inside it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::process::{Process, program};

/// Where iproute2 keeps the names of network namespaces.
pub(crate) const NAMED: &str = "/run/netns";

/// How long [`Namespace::fetch`] and [`Namespace::ask`] wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A network namespace with a name that `ip netns` knows.
///
/// Only the network differs inside: the file system, `/sys/fs/bpf` included, is that of the caller. (`ip netns exec`
/// mounts a new `/sys` and thereby hides it.)
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    pub(crate) fn named(name: String) -> Self {
        Self { name }
    }

    /// The name for `ip netns exec NAME`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for the namespace.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(NAMED).join(&self.name)
    }

    fn open(&self) -> Result<File> {
        File::open(self.path()).with_context(|| format!("cannot open network namespace {}", self.name))
    }

    /// Runs `work` in a thread that lives in the namespace, and waits for it. Sockets made there stay there.
    ///
    /// # Errors
    /// When the namespace is gone or may not be entered.
    ///
    /// # Panics
    /// When `work` does.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let file = self.open()?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                set_namespace(&file).map(|()| {
                    drop(file);
                    work()
                })
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
        .with_context(|| format!("cannot enter network namespace {}", self.name))
    }

    /// A command that will run in the namespace. `name` is looked up on the `PATH` and among the system's programs.
    ///
    /// # Errors
    /// When the namespace is gone.
    pub fn command(&self, name: impl AsRef<Path>) -> Result<Command> {
        let file = self.open()?;
        let mut command = Command::new(program(name.as_ref()));
        // SAFETY: between fork and exec the closure only calls setns on a descriptor it owns: async-signal-safe, no
        // allocation.
        unsafe { command.pre_exec(move || set_namespace(&file)) };
        Ok(command)
    }

    /// Runs a program with its arguments to its end, and gives what it printed, however it ended.
    ///
    /// # Errors
    /// When `words` is empty or the program cannot be started.
    pub fn run(&self, words: &[&str]) -> Result<Output> {
        let [name, arguments @ ..] = words else { bail!("no program to run in {}", self.name) };
        let mut command = self.command(name)?;
        command.args(arguments).stdin(Stdio::null());
        command.output().with_context(|| format!("cannot start `{}` in {}", words.join(" "), self.name))
    }

    /// As [`run`](Self::run), for a program that has to succeed; gives its standard output.
    ///
    /// # Errors
    /// Also when it fails: the error repeats what it said.
    pub fn output(&self, words: &[&str]) -> Result<Vec<u8>> {
        let output = self.run(words)?;
        ensure!(
            output.status.success(),
            "`{}` in {} failed ({}): {}",
            words.join(" "),
            self.name,
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(output.stdout)
    }

    /// Starts a program that goes on in the background, in a session of its own (a key press in the terminal does not
    /// reach it), with both outputs appended to `log`.
    ///
    /// # Errors
    /// When `words` is empty, the program cannot be started, or `log` cannot be written.
    pub fn spawn(&self, words: &[&str], log: &Path) -> Result<Process> {
        let [name, arguments @ ..] = words else { bail!("no program to start in {}", self.name) };
        let out = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = self.command(name)?;
        command.args(arguments).stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        // SAFETY: setsid is async-signal-safe and touches no memory; a fresh child can always lead a new session.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                Ok(())
            })
        };
        let child = command
            .spawn()
            .with_context(|| format!("cannot start `{}` in {}", words.join(" "), self.name))?;
        Ok(Process::leader(child.id().cast_signed()))
    }

    /// Fetches `url` with curl and gives the body.
    ///
    /// # Errors
    /// When no complete answer with a status below 400 comes within five seconds.
    pub fn fetch(&self, url: &str) -> Result<Vec<u8>> {
        let patience = PATIENCE.as_secs().to_string();
        self.output(&[
            "curl",
            "--silent",
            "--show-error",
            "--fail",
            "--globoff",
            "--max-time",
            &patience,
            url,
        ])
    }

    /// Sends one UDP datagram from a fresh port and gives the first reply from that very address and port.
    ///
    /// # Errors
    /// When none comes within five seconds.
    pub fn ask(&self, to: SocketAddr, question: &str) -> Result<String> {
        self.enter(|| -> io::Result<String> {
            let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            // A connected socket refuses replies from any other address, as real clients do.
            socket.connect(to)?;
            socket.send(question.as_bytes())?;
            let mut answer = [0; 2048];
            let length = socket.recv(&mut answer)?;
            Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
        })?
        .with_context(|| format!("no UDP answer from {to} to {}", self.name))
    }

    /// Writes kernel settings: paths below `/proc/sys/net`, and values.
    pub(crate) fn sysctl(&self, settings: &[(&str, &str)]) -> Result<()> {
        self.enter(|| {
            settings.iter().try_for_each(|(key, value)| {
                let path = Path::new("/proc/sys/net").join(key);
                fs::write(&path, value).with_context(|| format!("cannot write {value} to {}", path.display()))
            })
        })?
    }

    /// Runs `ip` once for many commands, one per line. `options` come before the commands, such as `-6`.
    pub(crate) fn ip_batch(&self, options: &[&str], lines: &str) -> Result<()> {
        let mut ip = self.command("ip")?;
        ip.args(options);
        batch(ip, lines).with_context(|| format!("in network namespace {}", self.name))
    }

    /// The processes (not threads) that live in the namespace, this one excepted.
    ///
    /// # Errors
    /// When `/proc` cannot be read. A namespace that is gone has no processes.
    pub fn processes(&self) -> Result<Vec<Process>> {
        let Ok(own) = fs::metadata(self.path()) else { return Ok(Vec::new()) };
        let inside = |pid: &u32| {
            fs::metadata(format!("/proc/{pid}/ns/net"))
                .is_ok_and(|found| (found.dev(), found.ino()) == (own.dev(), own.ino()))
        };
        let entries = fs::read_dir("/proc").context("cannot read /proc")?;
        Ok(entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
            .filter(|pid| *pid != std::process::id())
            .filter(inside)
            .map(|pid| Process::observed(pid.cast_signed()))
            .collect())
    }

    /// Takes the name away; the namespace ends with its last process.
    pub(crate) fn delete(&self) -> io::Result<()> {
        let path = self.path();
        let text = std::ffi::CString::new(path.as_os_str().as_bytes())?;
        // SAFETY: `text` is a NUL-terminated path that outlives the call. Failure (nothing mounted there, after a
        // creation that was cut short) needs no care: the file is removed next.
        unsafe { libc::umount2(text.as_ptr(), libc::MNT_DETACH) };
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Makes all `namespaces`, with their loopback device up.
pub(crate) fn create(namespaces: &[&Namespace]) -> Result<()> {
    let lines: String = namespaces.iter().map(|each| format!("netns add {}\n", each.name)).collect();
    batch(Command::new(program("ip".as_ref())), &lines)
}

/// Moves the calling thread into the network namespace behind `file`.
fn set_namespace(file: &File) -> io::Result<()> {
    // SAFETY: setns takes an open descriptor and a flag; it changes only the calling thread.
    match unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn batch(mut ip: Command, lines: &str) -> Result<()> {
    ip.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = ip.spawn().context("cannot start `ip`: is the package iproute2 installed?")?;
    if let Some(mut stdin) = child.stdin.take() {
        // A broken pipe means that `ip` gave up; its own words are told below.
        let _ = stdin.write_all(lines.as_bytes());
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let line = said
            .rsplit_once("-:")
            .and_then(|(_, number)| number.trim().parse::<usize>().ok())
            .and_then(|number| lines.lines().nth(number.checked_sub(1)?));
        bail!("`ip {}` failed: {}", line.unwrap_or("-batch"), said.trim());
    }
    Ok(())
}
