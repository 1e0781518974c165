//! Running other programs: in the open, or quietly with one line of progress.

use std::env;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::bpf_toolchain;

/// How many lines of a failed program's output are shown.
const TAIL: usize = 20;

/// Whether this process may install packages and make network namespaces.
pub(crate) fn is_root() -> bool {
    // SAFETY: geteuid has no arguments, cannot fail and touches no memory of ours.
    unsafe { libc::geteuid() == 0 }
}

/// The cargo that runs this xtask.
pub(crate) fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// [`cargo`], started in the workspace's directory.
pub(crate) fn cargo_in_workspace() -> Command {
    let mut command = cargo();
    command.current_dir(crate::workspace());
    command
}

/// The executable file that `program` names on the `PATH` or among the system's programs.
///
/// The two `sbin` directories are not on every user's `PATH`, but hold programs such as `ip` and `nginx`.
pub(crate) fn find_program(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(system).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// Runs `command` with this process's terminal.
///
/// # Errors
/// When it cannot be started or does not succeed; the error names the command line and how it ended.
pub(crate) fn visibly(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start `{}`", line(command)))?;
    judge(command, status)
}

/// Runs `command` without its output: one line says what happens and how long it took.
///
/// The output is appended to `setup.log` in the cache directory, and its end is shown when the command fails.
///
/// # Errors
/// As [`visibly`], and when the log cannot be written.
pub(crate) fn quietly(what: &str, command: &mut Command) -> Result<()> {
    let log_path = bpf_toolchain::cache_dir().join("setup.log");
    let (mut log, start) =
        open_log(&log_path).with_context(|| format!("cannot write {}", log_path.display()))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
    let began = Instant::now();
    print!("setup: {what} ... ");
    io::stdout().flush()?;
    let status = progress(what, began, command);
    let outcome = if status.as_ref().is_ok_and(ExitStatus::success) { "" } else { "failed after " };
    let begin = if io::stdout().is_terminal() { format!("\rsetup: {what} ... ") } else { String::new() };
    println!("{begin}{outcome}{:.1} s", began.elapsed().as_secs_f32());
    let status = status.with_context(|| format!("cannot start `{}`", line(command)))?;
    if !status.success() {
        log.seek(SeekFrom::Start(start))?;
        let mut output = Vec::new();
        log.read_to_end(&mut output)?;
        let output = String::from_utf8_lossy(&output);
        let lines: Vec<&str> = output.lines().collect();
        for text in &lines[lines.len().saturating_sub(TAIL)..] {
            eprintln!("  | {text}");
        }
        eprintln!("  (all of its output is in {})", log_path.display());
    }
    judge(command, status)
}

/// Waits for `command`; on a terminal the line counts the seconds.
fn progress(what: &str, began: Instant, command: &mut Command) -> io::Result<ExitStatus> {
    let terminal = io::stdout().is_terminal();
    let mut child = command.spawn()?;
    let mut shown = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        let seconds = began.elapsed().as_secs();
        if terminal && shown != Some(seconds) {
            print!("\rsetup: {what} ... {seconds} s");
            io::stdout().flush()?;
            shown = Some(seconds);
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Opens the log for appending and gives the position where new output will begin.
fn open_log(path: &Path) -> io::Result<(File, u64)> {
    std::fs::create_dir_all(path.parent().unwrap_or(path))?;
    let mut log = OpenOptions::new().create(true).append(true).read(true).open(path)?;
    let end = log.seek(SeekFrom::End(0))?;
    Ok((log, end))
}

fn judge(command: &Command, status: ExitStatus) -> Result<()> {
    match status.code() {
        Some(0) => Ok(()),
        Some(code) => bail!("`{}` failed with exit code {code}", line(command)),
        None => bail!("`{}` was ended by a signal ({status})", line(command)),
    }
}

/// The command as one would type it, without the directory of the program.
fn line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    let words = std::iter::once(name).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_names_the_command_and_its_exit_code() {
        let error = visibly(Command::new("/bin/sh").args(["-c", "exit 7"])).expect_err("exit 7 is a failure");
        assert_eq!(error.to_string(), "`sh -c exit 7` failed with exit code 7");
        let error = visibly(Command::new("/bin/sh").args(["-c", "kill -9 $$"])).expect_err("killed");
        assert!(error.to_string().contains("was ended by a signal (signal: 9"), "{error}");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = visibly(&mut Command::new("/nonexistent/lvx-program")).expect_err("cannot start");
        assert_eq!(error.to_string(), "cannot start `lvx-program`");
    }

    #[test]
    fn programs_are_found_by_name() {
        assert!(find_program("sh").is_some());
        assert_eq!(find_program("lvx-no-such-program"), None);
    }
}
