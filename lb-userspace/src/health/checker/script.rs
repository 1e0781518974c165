//! `script` and `external`: a program says it by its exit code (keepalived's `MISC_CHECK`, ldirectord's `external`).
//!
//! No shell is involved. The environment has `PATH`, `LVX_SERVICE_ADDRESS`, `LVX_SERVICE_PORT`, `LVX_SERVICE_PROTOCOL`
//! (`tcp` or `udp`), `LVX_REAL_SERVER_ADDRESS`, `LVX_REAL_SERVER_PORT`, `LVX_CHECK_ADDRESS`, `LVX_CHECK_PORT` (where the
//! check's target is) and `LVX_WEIGHT` (as configured), and nothing else. The program runs in a process group of its
//! own, with nothing on its standard input, under the configured user. The first bytes of its output go into the
//! failure's detail; the rest is read and forgotten.

mod account;
mod group;
mod security;

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use account::Account;
use group::Group;
use nix::sys::signal::Signal;

use super::quote::quote;
use crate::health::{Failure, FailureReason, Outcome, Pass, Probe, WeightChange};
use crate::model::{Protocol, ScriptCheck};

/// Bytes of the output that are kept.
const KEPT_OUTPUT: usize = 200;

/// How long the output is waited for once the program has ended.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Where the program finds others; the daemon's own path is not for it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs the program to its end. Dropped before that, its process group is ended.
pub(super) async fn check(check: &ScriptCheck, probe: &Probe) -> Outcome {
    let Some((program, arguments)) = check.command.split_first() else {
        return Err(Failure::new(FailureReason::Unsafe, "there is no program"));
    };
    let (file, user) = (program.clone(), check.user.clone());
    let account = in_background(move || {
        let account = user.as_deref().map(Account::find).transpose()?;
        security::examine(Path::new(&file), account.as_ref().map(Account::uid))?;
        Ok(account)
    })
    .await?;

    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(environment(probe)).current_dir("/");
    if check.ldirectord_arguments {
        command.args(ldirectord_arguments(probe));
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    if let Some(account) = account {
        account.apply(&mut command);
    }
    let mut child = command.spawn().map_err(|error| {
        Failure::new(FailureReason::Script, format!("cannot start {}: {error}", quote(program.as_bytes())))
    })?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let mut group = Group::new(child);
    let mut output = Vec::new();
    let status = {
        let mut errors = Vec::new();
        let status = {
            let mut listening =
                pin!(async { tokio::join!(drain(out, &mut output), drain(err, &mut errors)) });
            let mut heard = false;
            let status = loop {
                tokio::select! {
                    status = group.wait() => break status,
                    // It may go on with its outputs closed.
                    _ = &mut listening, if !heard => heard = true,
                }
            };
            if !heard {
                // Its last words may still be in the pipe, which something in the background may hold open.
                let _ = tokio::time::timeout(LAST_WORDS, listening).await;
            }
            status
        };
        output.append(&mut errors);
        status
    };
    let status = status.map_err(|error| Failure::from_io("wait for the script", &error))?;
    output.truncate(KEPT_OUTPUT);
    judge(status, check.dynamic, &output)
}

/// What the exit code says.
fn judge(status: ExitStatus, dynamic: bool, output: &[u8]) -> Outcome {
    let said = |what: String| {
        let output = output.trim_ascii();
        let detail = if output.is_empty() { what } else { format!("{what}: {}", quote(output)) };
        Failure::new(FailureReason::Script, detail)
    };
    match status.code() {
        Some(0) => Ok(Pass::default()),
        Some(code @ 2..=255) if dynamic => {
            let weight = code.unsigned_abs() - 2;
            Ok(Pass { weight: Some(WeightChange::Set(weight)), warning: None })
        }
        Some(code) => Err(said(format!("exit code {code}"))),
        None => {
            let number = status.signal().unwrap_or_default();
            let name = Signal::try_from(number).map_or("an unknown signal", Signal::as_str);
            Err(said(format!("ended by {name}")))
        }
    }
}

fn environment(probe: &Probe) -> Vec<(&'static str, String)> {
    let protocol = match probe.service.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    vec![
        ("PATH", PATH.to_owned()),
        ("LVX_SERVICE_ADDRESS", probe.service.address.to_string()),
        ("LVX_SERVICE_PORT", probe.service.port.to_string()),
        ("LVX_SERVICE_PROTOCOL", protocol.to_owned()),
        ("LVX_REAL_SERVER_ADDRESS", probe.real_server.ip().to_string()),
        ("LVX_REAL_SERVER_PORT", probe.real_server.port().to_string()),
        ("LVX_CHECK_ADDRESS", probe.endpoint.ip().to_string()),
        ("LVX_CHECK_PORT", probe.endpoint.port().to_string()),
        ("LVX_WEIGHT", probe.weight.to_string()),
    ]
}

fn ldirectord_arguments(probe: &Probe) -> [OsString; 4] {
    [
        probe.service.address.to_string(),
        probe.service.port.to_string(),
        probe.real_server.ip().to_string(),
        probe.real_server.port().to_string(),
    ]
    .map(OsString::from)
}

/// Reads to the end and keeps the beginning.
async fn drain(from: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut from) = from else { return };
    let mut buffer = [0; 4096];
    while let Ok(length) = from.read(&mut buffer).await {
        if length == 0 {
            return;
        }
        let room = KEPT_OUTPUT.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..length.min(room)]);
    }
}

async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Failure::new(FailureReason::Local, format!("script: {error}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_as_keepalived_reads_them() {
        let outcome = |status, dynamic| judge(ExitStatus::from_raw(status), dynamic, b" why\n");
        let exit = |code, dynamic| outcome(code << 8, dynamic);
        assert_eq!(exit(0, true), Ok(Pass::default()));
        assert_eq!(exit(0, false), Ok(Pass::default()));
        assert_eq!(exit(1, true).unwrap_err().detail, "exit code 1: \"why\"");
        for (code, weight) in [(2, 0), (3, 1), (255, 253)] {
            assert_eq!(exit(code, true).unwrap().weight, Some(WeightChange::Set(weight)));
            assert_eq!(exit(code, false).unwrap_err().reason, FailureReason::Script);
        }
        assert_eq!(outcome(9, true).unwrap_err().detail, "ended by SIGKILL: \"why\"");
    }
}
