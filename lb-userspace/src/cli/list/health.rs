//! The table of `lvx list --health`: every configured real server, with what its checks say.

use std::fmt::Write;
use std::time::Duration;

use crate::control::health::{CheckStatus, RealServerHealthStatus, ServiceHealthStatus};
use crate::control::snapshot::{ServiceStatus, Snapshot};

const HEADER: &str = "Prot LocalAddress:Port             Quorum  Live\n  \
     -> RemoteAddress:Port           State Since  Weight Check    Result Took    Ago    Reason\n";

/// The table; services that are not checked are left out.
#[must_use]
pub fn health_table(snapshot: &Snapshot) -> String {
    let mut text = HEADER.to_owned();
    for service in &snapshot.services {
        if let Some(health) = &service.health {
            write_service(&mut text, service, health);
        }
    }
    text
}

// Writing to a string cannot fail.
fn write_service(text: &mut String, service: &ServiceStatus, health: &ServiceHealthStatus) {
    let protocol = service.key.protocol.to_string().to_uppercase();
    let address = std::net::SocketAddr::new(service.key.address, service.key.port).to_string();
    let _ = write!(
        text,
        "{protocol:<4} {address:<29} {:<7} {}/{} (weight {} of {})",
        if health.quorum { "yes" } else { "NO" },
        health.live,
        health.configured,
        health.live_weight,
        health.quorum_weight,
    );
    for (applies, remark) in [
        (health.panic, ", PANIC: failures are disbelieved"),
        (health.suspended, ", checks rest: the address is not here"),
        (health.sorry_server_active, ", sorry server serves"),
    ] {
        if applies {
            text.push_str(remark);
        }
    }
    text.push('\n');
    for server in &health.real_servers {
        write_server(text, server);
    }
}

fn write_server(text: &mut String, server: &RealServerHealthStatus) {
    let weight = match server.share {
        16.. => server.weight.to_string(),
        share => format!("{}*{share}/16", server.weight),
    };
    let _ = write!(
        text,
        "  -> {:<28} {:<5} {:<6} {weight:<6} ",
        server.address.to_string(),
        if server.up { "up" } else { "DOWN" },
        age(Duration::from_secs(server.since)),
    );
    for (index, check) in server.checks.iter().enumerate() {
        if index > 0 {
            let _ = write!(text, "{:<54}", "");
        }
        write_check(text, check);
    }
    if server.checks.is_empty() {
        text.push_str("-\n");
    }
}

fn write_check(text: &mut String, check: &CheckStatus) {
    let verdict = if check.passing { "pass" } else { "FAIL" };
    let Some(last) = &check.last else {
        let _ = writeln!(text, "{:<8} {verdict:<6} -       -      not run yet", check.kind);
        return;
    };
    let remark = last.failure.as_ref().or(last.warning.as_ref()).map_or("", String::as_str);
    let line = format!(
        "{:<8} {verdict:<6} {:<7} {:<6} {remark}",
        check.kind,
        format!("{:.1}ms", last.duration_us as f64 / 1000.0),
        age(Duration::from_millis(last.ago_ms)),
    );
    let _ = writeln!(text, "{}", line.trim_end());
}

/// A duration in the two largest units that matter at a glance.
pub(in crate::cli) fn age(duration: Duration) -> String {
    match duration.as_secs() {
        0..=9 => format!("{:.1}s", duration.as_secs_f64()),
        seconds @ 10..=119 => format!("{seconds}s"),
        seconds @ 120..=7199 => format!("{}m", seconds / 60),
        seconds @ 7200..=172_799 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}
