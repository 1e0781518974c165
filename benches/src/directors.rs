//! Directors on a segment, as processes of this program.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::{Process, Segment};
use lb_userspace::control::client::Client;

/// How often a director is asked for its state.
const STEP: Duration = Duration::from_millis(5);

/// The beginning of a director's configuration.
pub(crate) fn head(segment: &Segment, host: u8) -> String {
    format!(
        "[global]\ncontrol_socket = \"{}\"\nmetrics = \"off\"\nlog = \"warn\"\n[limits]\nconnections = \"64Ki\"\n\
         [[interface]]\nname = \"eth0\"\n",
        segment.folder().join(format!("{host}.sock")).display()
    )
}

/// Starts a director with a configuration file.
///
/// # Errors
///
/// When it cannot be started.
pub(crate) fn start(segment: &Segment, host: u8, file: &Path) -> Result<Process> {
    let program = std::env::current_exe()?;
    let words = [&*program.to_string_lossy(), "director", &*file.to_string_lossy()];
    segment.spawn(host, &words, &log(host))
}

fn log(host: u8) -> String {
    format!("{host}.log")
}

/// Connects to a director.
///
/// # Errors
///
/// When it does not answer.
pub(crate) fn client(segment: &Segment, host: u8) -> Result<Client> {
    Ok(Client::connect(&segment.folder().join(format!("{host}.sock")))?)
}

/// Waits until all virtual routers of a director are in a state.
///
/// # Errors
///
/// When they are not within `bound`; the error repeats its log.
pub(crate) fn wait(segment: &Segment, host: u8, state: &str, bound: Duration) -> Result<()> {
    let started = Instant::now();
    loop {
        let snapshot = client(segment, host).ok().and_then(|mut client| client.snapshot().ok());
        let vrrp = snapshot.and_then(|snapshot| snapshot.vrrp);
        if vrrp.is_some_and(|vrrp| vrrp.instances.iter().all(|instance| instance.state == state)) {
            return Ok(());
        }
        let said = || std::fs::read_to_string(segment.folder().join(log(host))).unwrap_or_default();
        ensure!(started.elapsed() < bound, "director {host} does not become {state}:\n{}", said());
        std::thread::sleep(STEP);
    }
}
