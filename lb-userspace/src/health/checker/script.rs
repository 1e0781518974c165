//! `script` and `external`: a program says it by its exit code (keepalived's `MISC_CHECK`, ldirectord's `external`).
//!
//! No shell is involved. The environment has `PATH`, `LVX_SERVICE_ADDRESS`, `LVX_SERVICE_PORT`, `LVX_SERVICE_PROTOCOL`
//! (`tcp` or `udp`), `LVX_REAL_SERVER_ADDRESS`, `LVX_REAL_SERVER_PORT`, `LVX_CHECK_ADDRESS`, `LVX_CHECK_PORT` (where the
//! check's target is) and `LVX_WEIGHT` (as configured). The program runs in a process group of its
//! own, with nothing on its standard input, under the configured user. The first bytes of its output go into the
//! failure's detail; the rest is read and forgotten.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::sys::signal::Signal;

use super::quote::quote;
use crate::health::{Failure, FailureReason, Outcome, Pass, Probe, WeightChange};
use crate::model::{Protocol, ScriptCheck};
use crate::process::{self, Finished, Leftovers, RunError, Spec};

/// Bytes of the output that are kept.
const KEPT_OUTPUT: usize = 200;

/// Runs the program to its end, or until the time of the check is up: then its group gets SIGTERM, and SIGKILL after
/// [`process::GRACE`]. Dropped before that, it is killed at once.
pub(super) async fn check(check: &ScriptCheck, probe: &Probe) -> Outcome {
    let mut command = check.command.clone();
    if check.ldirectord_arguments {
        command.extend(ldirectord_arguments(probe));
    }
    let spec = Spec {
        command: &command,
        user: check.user.as_deref(),
        environment: environment(probe),
        output_limit: KEPT_OUTPUT,
        leftovers: Leftovers::Kill,
    };
    match process::run_within(spec, probe.timeout).await {
        Ok(Finished { status, output }) => judge(status, check.dynamic, &output),
        Err(error) => {
            let reason = match &error {
                RunError::Unsafe(_) => FailureReason::Unsafe,
                RunError::UnknownUser(_) => FailureReason::Local,
                RunError::Spawn { .. } => FailureReason::Script,
                RunError::Timeout { .. } => FailureReason::Timeout,
            };
            Err(Failure::new(reason, error.to_string()))
        }
    }
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

fn environment(probe: &Probe) -> Vec<(String, String)> {
    let protocol = match probe.service.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    let variables = [
        ("LVX_SERVICE_ADDRESS", probe.service.address.to_string()),
        ("LVX_SERVICE_PORT", probe.service.port.to_string()),
        ("LVX_SERVICE_PROTOCOL", protocol.to_owned()),
        ("LVX_REAL_SERVER_ADDRESS", probe.real_server.ip().to_string()),
        ("LVX_REAL_SERVER_PORT", probe.real_server.port().to_string()),
        ("LVX_CHECK_ADDRESS", probe.endpoint.ip().to_string()),
        ("LVX_CHECK_PORT", probe.endpoint.port().to_string()),
        ("LVX_WEIGHT", probe.weight.to_string()),
    ];
    variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn ldirectord_arguments(probe: &Probe) -> [String; 4] {
    [
        probe.service.address.to_string(),
        probe.service.port.to_string(),
        probe.real_server.ip().to_string(),
        probe.real_server.port().to_string(),
    ]
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
