//! `lvx vrrp`: the virtual routers and why they are in their states.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use super::list::{ListError, age};
use crate::control::client::Client;
use crate::control::vrrp::{VrrpInstanceStatus, VrrpStatus};

/// Transitions that are shown.
const TRANSITIONS: usize = 5;

/// Asks the daemon on `socket` and prints.
///
/// # Errors
/// As [`super::list::run`].
pub fn run(json: bool, socket: &Path) -> Result<(), ListError> {
    let vrrp = Client::connect(socket)?.snapshot()?.vrrp.unwrap_or_default();
    let text = if json { format!("{}\n", serde_json::to_string_pretty(&vrrp)?) } else { vrrp_table(&vrrp) };
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

/// The listing.
#[must_use]
pub fn vrrp_table(vrrp: &VrrpStatus) -> String {
    if vrrp.instances.is_empty() {
        return "no [[vrrp]] instance is configured\n".to_owned();
    }
    let mut text = String::new();
    for instance in &vrrp.instances {
        // Writing to a string cannot fail.
        let _ = write_instance(&mut text, instance);
    }
    for stray in vrrp.strays.iter().filter(|stray| stray.count > 0) {
        let _ = writeln!(text, "{} messages for no instance ({})", stray.count, stray.name);
    }
    if !vrrp.realtime {
        text.push_str("without real-time priority\n");
    }
    text
}

fn write_instance(text: &mut String, instance: &VrrpInstanceStatus) -> std::fmt::Result {
    let since = age(Duration::from_millis(instance.since_ms));
    writeln!(
        text,
        "{} {} on {}, router {}, version {}, since {since}: {}",
        instance.name,
        instance.state.to_uppercase(),
        instance.interface,
        instance.router_id,
        instance.version,
        instance.reason
    )?;
    if instance.rival {
        writeln!(text, "  ANOTHER ROUTER IS ACTIVE AT THE SAME TIME")?;
    }
    if instance.held {
        writeln!(text, "  handed over by an operator; `lvx switchover --to active` takes it back")?;
    }
    let priority = match instance.configured_priority {
        same if same == instance.priority => same.to_string(),
        configured => format!("{} (configured {configured})", instance.priority),
    };
    let timer = instance.timer_ms.map_or("none".to_owned(), |timer| format!("{timer} ms"));
    writeln!(
        text,
        "  priority {priority}, interval {} ms (active router's {} ms), dead after {} ms, timer {timer}",
        instance.interval_ms, instance.active_interval_ms, instance.active_down_ms
    )?;
    let source = instance.source.map_or("none".to_owned(), |source| source.to_string());
    write!(text, "  addresses {} from {source}", instance.addresses.join(" "))?;
    if let Some(group) = &instance.group {
        write!(text, ", sync group {group}")?;
    }
    writeln!(text)?;
    for peer in &instance.peers {
        let ago = age(Duration::from_millis(peer.ago_ms));
        let (address, interface, priority) = (peer.address, &peer.interface, peer.priority);
        writeln!(text, "  heard {address} on {interface} with priority {priority}, {ago} ago")?;
    }
    for track in &instance.tracks {
        let state = if track.up { "well" } else { "FAILED" };
        let number = if track.number == 0 { String::new() } else { format!(", number {}", track.number) };
        writeln!(text, "  track {}: {state}, weight {}{number}", track.name, track.weight)?;
    }
    writeln!(
        text,
        "  sent {} ({} failed, {} late), received {} ({} of priority 0, {} with other addresses)",
        instance.sent,
        instance.send_errors,
        instance.late,
        instance.received,
        instance.received_zero,
        instance.other_addresses
    )?;
    let rejects: Vec<String> = instance
        .rejects
        .iter()
        .filter(|reject| reject.count > 0)
        .map(|reject| format!("{} {}", reject.name, reject.count))
        .collect();
    if !rejects.is_empty() {
        writeln!(text, "  rejected {}", rejects.join(", "))?;
    }
    for transition in instance.history.iter().rev().take(TRANSITIONS) {
        let (time, from, to) = (&transition.time, &transition.from, &transition.to);
        writeln!(text, "  {time} {from} -> {to}: {}", transition.reason)?;
    }
    Ok(())
}
