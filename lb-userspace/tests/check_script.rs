//! Scripts as checks.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod check_support;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use check_support::{probe, reason, run};
use lb_userspace::health::{FailureReason, Outcome, Pass, WeightChange, checker};
use lb_userspace::model::{CheckKind, ScriptCheck};

/// A folder that only root can write to, as scripts need it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(format!("/run/lvx-check-{}-{name}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// A shell script with this body.
    fn script(&self, name: &str, body: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        mode(&path, 0o755);
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn script(path: &Path) -> ScriptCheck {
    ScriptCheck {
        command: vec![path.to_str().unwrap().to_owned()],
        user: None,
        dynamic: false,
        ldirectord_arguments: false,
    }
}

async fn outcome(check: ScriptCheck) -> Outcome {
    run(&CheckKind::Script(check), &probe("192.0.2.7:8080".parse().unwrap())).await
}

/// What a script leaves behind is there soon, or never.
async fn soon(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn exit_codes_and_output() {
    let folder = Folder::new("exit");
    let path = folder.script("exit", "echo \"because $1\" >&2; exit $1");
    let exit = |code: &str, dynamic| {
        let mut check = ScriptCheck { dynamic, ..script(&path) };
        check.command.push(code.to_owned());
        outcome(check)
    };
    assert_eq!(exit("0", false).await, Ok(Pass::default()));
    assert_eq!(exit("0", true).await, Ok(Pass::default()));
    assert_eq!(exit("2", true).await.unwrap().weight, Some(WeightChange::Set(0)));
    assert_eq!(exit("12", true).await.unwrap().weight, Some(WeightChange::Set(10)));
    for (code, dynamic) in [("1", true), ("1", false), ("12", false)] {
        let failure = exit(code, dynamic).await.unwrap_err();
        assert_eq!(failure.detail, format!("exit code {code}: \"because {code}\""));
        assert_eq!(failure.reason, FailureReason::Script);
    }
    let killed = folder.script("killed", "kill -9 $$");
    let failure = outcome(script(&killed)).await.unwrap_err();
    assert_eq!(failure.detail, "ended by SIGKILL");
    let loud = folder.script("loud", "head -c 10000000 /dev/zero; exit 1");
    assert_eq!(reason(outcome(script(&loud)).await), FailureReason::Script);
    // Its standard output is inherited by something that goes on.
    let daemon = folder.script("daemon", "sleep 20 & echo $! > ${0%/*}/pid; exit 0");
    let started = Instant::now();
    assert_eq!(outcome(script(&daemon)).await, Ok(Pass::default()));
    assert!(started.elapsed() < Duration::from_secs(10));
    // And is killed with its group: a check runs every few seconds.
    let pid = fs::read_to_string(folder.0.join("pid")).unwrap();
    let process = Path::new("/proc").join(pid.trim());
    let gone = || {
        fs::read_to_string(process.join("stat"))
            .map_or(true, |stat| stat.contains(") Z ") || stat.contains(") X "))
    };
    soon("what it left is gone", gone).await;
}

#[tokio::test]
async fn arguments_and_environment() {
    let folder = Folder::new("arguments");
    let tell = folder.script("tell", "(echo \"$*\"; env | sort; cat) > ${0%/*}/told");
    let check = ScriptCheck { ldirectord_arguments: true, ..script(&tell) };
    assert_eq!(outcome(check).await, Ok(Pass::default()));
    let told = fs::read_to_string(folder.0.join("told")).unwrap();
    let mut lines = told.lines();
    assert_eq!(lines.next(), Some("198.51.100.9 80 192.0.2.7 8080"));
    let names: Vec<_> = lines.map(|line| line.split('=').next().unwrap()).collect();
    assert!(names.contains(&"PATH") && !names.contains(&"HOME"), "{told}");
    for expected in ["LVX_SERVICE_ADDRESS=198.51.100.9", "LVX_REAL_SERVER_PORT=8080", "LVX_WEIGHT=10"] {
        assert!(told.lines().any(|line| line == expected), "{told}");
    }
    // Nothing is read by a shell.
    let check = ScriptCheck {
        command: vec![tell.to_str().unwrap().to_owned(), "$(reboot); `x` *".to_owned()],
        ..script(&tell)
    };
    assert_eq!(outcome(check).await, Ok(Pass::default()));
    let told = fs::read_to_string(folder.0.join("told")).unwrap();
    assert!(told.starts_with("$(reboot); `x` *\n"), "{told}");
}

#[tokio::test]
async fn another_user() {
    let folder = Folder::new("user");
    let who = folder.script("who", "id -un; id -gn; id -Gn; exit 1");
    let failure = outcome(ScriptCheck { user: Some("nobody".to_owned()), ..script(&who) }).await.unwrap_err();
    assert_eq!(failure.detail, r#"exit code 1: "nobody\nnogroup\nnogroup""#);
    let failure = outcome(ScriptCheck { user: Some("nosuchuser".to_owned()), ..script(&who) }).await;
    assert_eq!(reason(failure), FailureReason::Local);
}

#[tokio::test]
async fn dropped_runs_leave_no_process() {
    let folder = Folder::new("group");
    // One that ends by SIGTERM, and one that does not care, each with a child.
    for (name, trap) in [("polite", ""), ("stubborn", "trap '' TERM;")] {
        let path = folder.script(name, &format!("{trap} sleep 300 & echo $$ $! > $0.pids; wait; sleep 300"));
        let pids = folder.0.join(format!("{name}.pids"));
        let kind = CheckKind::Script(script(&path));
        let probe = probe("192.0.2.7:80".parse().unwrap());
        {
            let run = checker::run(&kind, &probe);
            let written = soon("the script has started", || {
                fs::read_to_string(&pids).is_ok_and(|text| text.ends_with('\n'))
            });
            tokio::select! {
                outcome = run => panic!("{outcome:?}"),
                () = written => {}
            }
        }
        let text = fs::read_to_string(&pids).unwrap();
        let processes: Vec<_> = text.split_whitespace().map(|pid| Path::new("/proc").join(pid)).collect();
        assert_eq!(processes.len(), 2);
        // A zombie would still be listed there; the child belongs to init, which reaps it.
        let zombie_of_init = |process: &PathBuf| {
            fs::read_to_string(process.join("stat"))
                .is_ok_and(|stat| stat.contains(") Z ") || stat.contains(") X "))
        };
        soon("the script is gone", || !processes[0].exists()).await;
        soon("its child is gone", || !processes[1].exists() || zombie_of_init(&processes[1])).await;
    }
}

#[tokio::test]
async fn unsafe_programs() {
    let folder = Folder::new("unsafe");
    let good = folder.script("good", "exit 0");
    assert_eq!(outcome(script(&good)).await, Ok(Pass::default()));
    let refused = |path: PathBuf, why: &'static str| async move {
        let failure = outcome(script(&path)).await.unwrap_err();
        assert_eq!(failure.reason, FailureReason::Unsafe, "{failure}");
        assert!(failure.detail.contains(why), "{failure}");
    };
    refused(folder.0.join("missing"), "No such file").await;
    refused(folder.0.clone(), "not a regular file").await;
    refused("good".into(), "not an absolute path").await;

    let plain = folder.script("plain", "exit 0");
    mode(&plain, 0o644);
    refused(plain, "not executable").await;
    for bits in [0o757, 0o777] {
        let writable = folder.script("writable", "exit 0");
        mode(&writable, bits);
        refused(writable, "writable by everyone").await;
    }
    let grouped = folder.script("grouped", "exit 0");
    mode(&grouped, 0o775);
    refused(grouped, "writable by its group").await;
    let owned = folder.script("owned", "exit 0");
    std::os::unix::fs::chown(&owned, Some(65534), None).unwrap();
    refused(owned.clone(), "belongs to user 65534").await;
    let own = ScriptCheck { user: Some("nobody".to_owned()), ..script(&owned) };
    assert_eq!(outcome(own).await, Ok(Pass::default()));

    // Directories above it, also those of a link; the sticky bit keeps others from exchanging files.
    let open = folder.0.join("open");
    fs::create_dir(&open).unwrap();
    fs::copy(&good, open.join("good")).unwrap();
    symlink(&good, open.join("link")).unwrap();
    mode(&open, 0o1777);
    assert_eq!(outcome(script(&open.join("good"))).await, Ok(Pass::default()));
    mode(&open, 0o777);
    refused(open.join("good"), "writable by everyone").await;
    refused(open.join("link"), "writable by everyone").await;
    let link = folder.0.join("link");
    symlink(open.join("link"), &link).unwrap();
    refused(link, "writable by everyone").await;
    let fine = folder.0.join("fine");
    symlink(&good, &fine).unwrap();
    assert_eq!(outcome(script(&fine)).await, Ok(Pass::default()));
    // No program that the kernel knows.
    let text = folder.0.join("text");
    fs::write(&text, "no program").unwrap();
    mode(&text, 0o755);
    assert_eq!(reason(outcome(script(&text)).await), FailureReason::Script);
}
