//! Starting a program and waiting for it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

use super::{Finished, GRACE, Leftovers, RunError, Spec, account, safety};

/// Where programs find the tools they call.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Tries while the file is open for writing, which may be over in a moment.
const BUSY_TRIES: u32 = 5;
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// Runs a program to its end. Dropping the future kills it and its process group.
///
/// # Errors
///
/// See [`RunError`]; never [`RunError::Timeout`].
pub async fn run(spec: Spec<'_>) -> Result<Finished, RunError> {
    let mut running = start(&spec).await?;
    running.finish().await.map_err(|source| failed(&spec, source))
}

/// As [`run`], with a bound: then the group gets SIGTERM, and SIGKILL after [`GRACE`].
///
/// # Errors
///
/// See [`RunError`].
pub async fn run_within(spec: Spec<'_>, limit: Duration) -> Result<Finished, RunError> {
    let mut running = start(&spec).await?;
    if let Ok(finished) = tokio::time::timeout(limit, running.finish()).await {
        return finished.map_err(|source| failed(&spec, source));
    }
    running.leftovers = Leftovers::Kill;
    running.signal(Signal::TERM);
    // How it ends no longer matters; what is left of the group is killed by then, or by the drop.
    let _ = tokio::time::timeout(GRACE, running.finish()).await;
    Err(RunError::Timeout { limit, output: std::mem::take(&mut running.output) })
}

fn failed(spec: &Spec<'_>, source: io::Error) -> RunError {
    RunError::Spawn { path: spec.command.first().cloned().unwrap_or_default(), source }
}

async fn start(spec: &Spec<'_>) -> Result<Running, RunError> {
    let [path, arguments @ ..] = spec.command else { return Err(safety::Unsafe::Empty.into()) };
    // Looking at files and users may wait for a disk or a directory server.
    let (program, user) = (PathBuf::from(path), spec.user.map(str::to_owned));
    let looked = tokio::task::spawn_blocking(move || {
        let account = user.as_deref().map(account::find).transpose()?;
        safety::check(&program, account.as_ref().map(|account| account.uid))?;
        Ok::<_, RunError>(account)
    });
    let account = looked.await.map_err(|error| failed(spec, io::Error::other(error)))??;

    let mut tries = 1;
    loop {
        match spawn(spec, path, arguments, account.as_ref()) {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && tries < BUSY_TRIES => {
                tries += 1;
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            other => return other.map_err(|source| failed(spec, source)),
        }
    }
}

fn spawn(
    spec: &Spec<'_>,
    path: &str,
    arguments: &[String],
    account: Option<&account::Account>,
) -> io::Result<Running> {
    let (reader, writer) = io::pipe()?;
    let mut command = std::process::Command::new(path);
    command.args(arguments).current_dir("/").env_clear().env("PATH", PATH).process_group(0);
    if let Some(account) = account {
        // The standard library drops the supplementary groups with the user.
        command.uid(account.uid).gid(account.gid);
        command.env("HOME", &account.home).env("USER", &account.name).env("LOGNAME", &account.name);
    }
    command.envs(spec.environment.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut command = Command::from(command);
    command.kill_on_drop(true);

    let child = command.spawn()?;
    // The pipe's end of file needs this end closed.
    drop(command);
    let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let group = group.ok_or_else(|| io::Error::other("no process id"))?;
    let mut running = Running {
        child,
        group,
        pidfd: None,
        reader: None,
        output: Vec::new(),
        output_limit: spec.output_limit,
        leftovers: spec.leftovers,
    };
    // From here on a failure drops `running`, which kills the group.
    let pidfd = pidfd_open(group, PidfdFlags::empty())?;
    // SAFETY: an `OwnedFd` is one and the same open descriptor until the `AsyncFd`, which owns it, is dropped.
    running.pidfd = Some(unsafe { AsyncFd::register(pidfd) }?);
    running.reader = Some(pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?);
    Ok(running)
}

/// A program under way, killed with its group when this is dropped.
struct Running {
    child: Child,
    /// The group's id, which is that of the child.
    group: Pid,
    /// Readable when the child has ended.
    pidfd: Option<AsyncFd<OwnedFd>>,
    reader: Option<pipe::Receiver>,
    output: Vec<u8>,
    output_limit: usize,
    leftovers: Leftovers,
}

impl Running {
    /// Waits for the end, and reads meanwhile. May be dropped and called again.
    async fn finish(&mut self) -> io::Result<Finished> {
        while let Some(pidfd) = &self.pidfd {
            let Some(reader) = &self.reader else {
                let _ = pidfd.readable().await?;
                break;
            };
            tokio::select! {
                ended = pidfd.readable() => {
                    let _ = ended?;
                    break;
                }
                ready = reader.readable() => {
                    ready?;
                    self.read()?;
                }
            }
        }
        // What the program itself wrote is in the pipe by now. Its end of file is not waited for: a process in the
        // background may hold it open for ever.
        self.read()?;
        let status = self.reap().await?;
        Ok(Finished { status, output: std::mem::take(&mut self.output) })
    }

    /// Reads what is there, at most one pipe full, so that a program that never stops writing holds up nothing else.
    fn read(&mut self) -> io::Result<()> {
        let mut block = [0; 4096];
        for _ in 0..16 {
            let Some(reader) = &self.reader else { return Ok(()) };
            match reader.try_read(&mut block) {
                Ok(0) => self.reader = None,
                Ok(length) => {
                    let room = self.output_limit.saturating_sub(self.output.len());
                    self.output.extend_from_slice(&block[..length.min(room)]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes the status of a child that has ended.
    async fn reap(&mut self) -> io::Result<ExitStatus> {
        // Before the child is reaped: its id cannot belong to another process or group until then.
        if self.leftovers == Leftovers::Kill {
            self.signal(Signal::KILL);
        }
        self.child.wait().await
    }

    fn signal(&self, signal: Signal) {
        // A child that was reaped has no id any more.
        if self.child.id().is_some() {
            // A group that is empty by now, or has become another user's, is not an error.
            let _ = kill_process_group(self.group, signal);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Instant;

    use super::*;

    fn words(text: &str) -> Vec<String> {
        ["/bin/sh", "-c", text].map(str::to_owned).to_vec()
    }

    fn spec(command: &[String]) -> Spec<'_> {
        Spec { command, user: None, environment: Vec::new(), output_limit: 1024, leftovers: Leftovers::Kill }
    }

    fn text(finished: &Finished) -> String {
        String::from_utf8_lossy(&finished.output).into_owned()
    }

    /// Waits until the process in the file has ended.
    async fn gone(pid_file: &std::path::Path) {
        let pid = fs::read_to_string(pid_file).unwrap();
        let stat = format!("/proc/{}/stat", pid.trim());
        let deadline = Instant::now() + Duration::from_secs(20);
        while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z")) {
            assert!(Instant::now() < deadline, "process {pid} is still there");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn written(path: &std::path::Path) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while fs::read_to_string(path).unwrap_or_default().is_empty() {
            assert!(Instant::now() < deadline, "{} stays empty", path.display());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn status_and_both_outputs_are_given() {
        let command = words("echo out; echo err >&2; exit 7");
        let finished = run(spec(&command)).await.unwrap();
        assert_eq!(finished.status.code(), Some(7));
        assert_eq!(text(&finished), "out\nerr\n");
    }

    #[tokio::test]
    async fn arguments_are_not_interpreted() {
        let command = ["/bin/echo", "$HOME; *", "a  b"].map(str::to_owned);
        assert_eq!(text(&run(spec(&command)).await.unwrap()), "$HOME; * a  b\n");
    }

    #[tokio::test]
    async fn environment_is_what_was_asked_for_and_no_more() {
        let command = ["/usr/bin/env".to_owned()];
        let mut wanted = spec(&command);
        wanted.environment.push(("LVX_STATE".to_owned(), "up".to_owned()));
        let said = text(&run(wanted).await.unwrap());
        let mut lines: Vec<_> = said.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["LVX_STATE=up", &format!("PATH={PATH}")]);
    }

    #[tokio::test]
    async fn runs_as_another_user_without_groups() {
        let command = words("id -u; id -G; echo $USER");
        let mut wanted = spec(&command);
        wanted.user = Some("nobody");
        assert_eq!(text(&run(wanted.clone()).await.unwrap()), "65534\n65534\nnobody\n");
        wanted.user = Some("lvx-nobody-has-this-name");
        assert!(matches!(run(wanted).await, Err(RunError::UnknownUser(_))));
    }

    #[tokio::test]
    async fn output_beyond_the_limit_is_read_and_thrown_away() {
        let command = words("head -c 3000000 /dev/zero; exit 3");
        let finished = run(spec(&command)).await.unwrap();
        assert_eq!(finished.status.code(), Some(3));
        assert_eq!(finished.output.len(), 1024);
    }

    #[tokio::test]
    async fn closed_output_does_not_end_the_wait() {
        let command = words("exec >&- 2>&-; sleep 0.2; exit 4");
        assert_eq!(run(spec(&command)).await.unwrap().status.code(), Some(4));
    }

    #[tokio::test]
    async fn leftovers_are_killed_or_left() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let command = words(&format!("sleep 1000 & echo $! > {}", file.display()));
        run(spec(&command)).await.unwrap();
        gone(&file).await;

        let mut wanted = spec(&command);
        wanted.leftovers = Leftovers::Leave;
        run(wanted).await.unwrap();
        let pid: i32 = fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        assert!(fs::exists(format!("/proc/{pid}")).unwrap());
        rustix::process::kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    }

    #[tokio::test]
    async fn dropping_kills_the_whole_group() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let command = words(&format!("trap '' TERM; sleep 1000 & echo $! > {}; wait", file.display()));
        tokio::select! {
            result = run(spec(&command)) => panic!("{result:?}"),
            () = written(&file) => {}
        }
        gone(&file).await;
    }

    #[tokio::test]
    async fn time_out_is_bounded_even_where_sigterm_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let command = words(&format!(
            "trap '' TERM; echo here; echo $$ > {}; while :; do sleep 1; done",
            file.display()
        ));
        let limit = Duration::from_secs(1);
        match run_within(spec(&command), limit).await {
            Err(RunError::Timeout { limit: said, output }) => {
                assert_eq!(said, limit);
                assert_eq!(output, b"here\n");
            }
            other => panic!("{other:?}"),
        }
        gone(&file).await;
    }

    #[tokio::test]
    async fn unsafe_programs_are_not_started() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("script");
        fs::write(&path, "#!/bin/sh\necho started > $0.ran\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        let command = [path.display().to_string()];
        let error = run(spec(&command)).await.unwrap_err();
        assert!(matches!(error, RunError::Unsafe(_)), "{error:?}");
        assert!(!folder.path().join("script.ran").exists());
        assert!(matches!(run(spec(&[])).await, Err(RunError::Unsafe(safety::Unsafe::Empty))));
    }

    #[tokio::test]
    async fn a_program_that_cannot_be_executed_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("script");
        fs::write(&path, "#!/no/such/interpreter\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let command = [path.display().to_string()];
        let said = run(spec(&command)).await.unwrap_err().to_string();
        assert!(said.contains(&command[0]) && said.contains("No such file"), "{said}");
    }
}
