//! `lvx switchover`: hands virtual routers over to another director, without a gap, and takes them back.

use std::path::Path;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use crate::control::client::{Client, ClientError};
use crate::control::vrrp::VrrpInstanceStatus;

/// How long the outcome is waited for; a backup takes over after a second at most.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked for.
const STEP: Duration = Duration::from_millis(10);

/// Where the addresses are to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum To {
    /// On this director.
    Active,
    /// On another one.
    Backup,
}

/// Arguments of `lvx switchover`.
#[derive(Debug, Clone, Args)]
pub struct SwitchoverArgs {
    /// The instance; its sync group goes with it. All of them where none is named.
    pub instance: Option<String>,
    /// Where to: `backup` hands over to another director, `active` takes back; without it, whichever it is not.
    #[arg(long, value_enum)]
    pub to: Option<To>,
}

/// Orders the switchover on the daemon at `socket`, waits for it and says what came of it.
#[must_use]
pub fn run(args: &SwitchoverArgs, socket: &Path) -> ExitCode {
    match order(args, socket) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(text) => {
            eprintln!("lvx switchover: {text}");
            ExitCode::FAILURE
        }
    }
}

fn order(args: &SwitchoverArgs, socket: &Path) -> Result<String, String> {
    let said = |error: ClientError| error.to_string();
    let mut client = Client::connect(socket).map_err(said)?;
    let to_backup = args.to.map(|to| to == To::Backup);
    let moved = client.switchover(args.instance.clone(), to_backup).map_err(said)?;
    let Some(names) = moved.instances else { return Ok(moved.text) };
    let started = Instant::now();
    loop {
        let all = client.snapshot().map_err(said)?.vrrp.unwrap_or_default().instances;
        let chosen: Vec<&VrrpInstanceStatus> =
            all.iter().filter(|instance| names.contains(&instance.name)).collect();
        if let Some(outcome) = outcome(&chosen, moved.to_backup) {
            return outcome;
        }
        if started.elapsed() > PATIENCE {
            return Err("not done after ten seconds; `lvx vrrp` tells more".to_owned());
        }
        sleep(STEP);
    }
}

/// What came of it; none while it is under way.
fn outcome(instances: &[&VrrpInstanceStatus], to_backup: bool) -> Option<Result<String, String>> {
    let names: Vec<&str> = instances.iter().map(|instance| instance.name.as_str()).collect();
    let names = names.join(", ");
    let mut active = instances.iter().filter(|instance| instance.state == "active");
    if !to_backup {
        let all = active.count() == instances.len();
        return all.then(|| Ok(format!("{names}: active here")));
    }
    // While it hands over, a router stays active and held.
    if active.clone().any(|instance| instance.held) {
        return None;
    }
    Some(match active.next() {
        None => Ok(format!("{names}: handed over")),
        Some(instance) => {
            Err(format!("{}: no other director took over; it stays active here", instance.name))
        }
    })
}
