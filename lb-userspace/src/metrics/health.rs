//! Metrics of health checks.

use super::declared::{SERVICE, per_service};
use super::family::{Kind, Metric};
use crate::control::health::{CheckStatus, RealServerHealthStatus, ServiceHealthStatus};
use crate::control::snapshot::Snapshot;

const SERVER: &[&str] = &["service", "address", "protocol", "real_server"];
const CHECK: &[&str] = &["service", "address", "protocol", "real_server", "check"];
const CHECK_RESULT: &[&str] = &["service", "address", "protocol", "real_server", "check", "result"];

pub(super) static METRICS: &[Metric] = &[
    Metric {
        name: "lvx_service_quorum",
        help: "1 where a checked virtual service has its quorum.",
        kind: Kind::Gauge,
        labels: SERVICE,
        samples: |snapshot, out| per_checked(snapshot, |health, id| out.push(id, u64::from(health.quorum))),
    },
    Metric {
        name: "lvx_service_live_weight",
        help: "Sum of the weights of the live real servers of a checked virtual service.",
        kind: Kind::Gauge,
        labels: SERVICE,
        samples: |snapshot, out| per_checked(snapshot, |health, id| out.push(id, health.live_weight)),
    },
    Metric {
        name: "lvx_service_live_real_servers",
        help: "Real servers of a checked virtual service that are up.",
        kind: Kind::Gauge,
        labels: SERVICE,
        samples: |snapshot, out| per_checked(snapshot, |health, id| out.push(id, health.live)),
    },
    Metric {
        name: "lvx_service_configured_real_servers",
        help: "Real servers of a checked virtual service, up or down.",
        kind: Kind::Gauge,
        labels: SERVICE,
        samples: |snapshot, out| per_checked(snapshot, |health, id| out.push(id, health.configured)),
    },
    Metric {
        name: "lvx_service_panic",
        help: "1 where so many real servers failed that the failures are disbelieved (panic_threshold).",
        kind: Kind::Gauge,
        labels: SERVICE,
        samples: |snapshot, out| per_checked(snapshot, |health, id| out.push(id, u64::from(health.panic))),
    },
    Metric {
        name: "lvx_service_checks_suspended",
        help: "1 where the checks rest because the virtual address is not here (ha_suspend).",
        kind: Kind::Gauge,
        labels: SERVICE,
        samples: |snapshot, out| {
            per_checked(snapshot, |health, id| out.push(id, u64::from(health.suspended)));
        },
    },
    Metric {
        name: "lvx_service_sorry_server_active",
        help: "1 where the sorry server serves.",
        kind: Kind::Gauge,
        labels: SERVICE,
        samples: |snapshot, out| {
            per_checked(snapshot, |health, id| out.push(id, u64::from(health.sorry_server_active)));
        },
    },
    Metric {
        name: "lvx_real_server_up",
        help: "1 where a configured real server of a checked virtual service is up; failed ones stay in this family.",
        kind: Kind::Gauge,
        labels: SERVER,
        samples: |snapshot, out| per_server(snapshot, |server, id| out.push(id, u64::from(server.up))),
    },
    Metric {
        name: "lvx_real_server_checked_weight",
        help: "Weight that a real server's checks give it while it is up, without slow start.",
        kind: Kind::Gauge,
        labels: SERVER,
        samples: |snapshot, out| per_server(snapshot, |server, id| out.push(id, u64::from(server.weight))),
    },
    Metric {
        name: "lvx_check_passing",
        help: "1 where a check passes; the label check is its place in the configuration and its type, such as 0-http.",
        kind: Kind::Gauge,
        labels: CHECK,
        samples: |snapshot, out| per_check(snapshot, |check, id| out.push(id, u64::from(check.passing))),
    },
    Metric {
        name: "lvx_check_runs_total",
        help: "Runs of a check by result: pass, or the reason of the failure.",
        kind: Kind::Counter,
        labels: CHECK_RESULT,
        samples: |snapshot, out| {
            per_check(snapshot, |check, [name, address, protocol, real, id]| {
                out.push([name, address, protocol, real, id, "pass"], check.passes);
                for failure in &check.failures {
                    out.push([name, address, protocol, real, id, &failure.name], failure.count);
                }
            });
        },
    },
    Metric {
        name: "lvx_check_duration_seconds",
        help: "How long the last run of a check took.",
        kind: Kind::Gauge,
        labels: CHECK,
        samples: |snapshot, out| {
            per_check(snapshot, |check, id| {
                if let Some(last) = &check.last {
                    out.push_fraction(id, last.duration_us as f64 / 1e6);
                }
            });
        },
    },
    Metric {
        name: "lvx_check_warning",
        help: "1 where a good check has a warning, such as a certificate that soon expires; `lvx list --health` tells it.",
        kind: Kind::Gauge,
        labels: CHECK,
        samples: |snapshot, out| {
            per_check(snapshot, |check, id| {
                let warning = check.last.as_ref().is_some_and(|last| last.warning.is_some());
                out.push(id, u64::from(warning));
            });
        },
    },
    Metric {
        name: "lvx_notifications_total",
        help: "Notifications by channel (fifo, email, webhook, program) and what became of them.",
        kind: Kind::Counter,
        labels: &["channel", "result"],
        samples: |snapshot, out| {
            for counts in &snapshot.notifications {
                out.push([&counts.channel, "sent"], counts.sent);
                out.push([&counts.channel, "failed"], counts.failed);
                out.push([&counts.channel, "dropped"], counts.dropped);
            }
        },
    },
];

fn per_checked(snapshot: &Snapshot, mut push: impl FnMut(&ServiceHealthStatus, [&str; 3])) {
    per_service(snapshot, |service, id| {
        if let Some(health) = &service.health {
            push(health, id);
        }
    });
}

fn per_server(snapshot: &Snapshot, mut push: impl FnMut(&RealServerHealthStatus, [&str; 4])) {
    per_checked(snapshot, |health, [name, address, protocol]| {
        for server in &health.real_servers {
            push(server, [name, address, protocol, &server.address.to_string()]);
        }
    });
}

fn per_check(snapshot: &Snapshot, mut push: impl FnMut(&CheckStatus, [&str; 5])) {
    per_server(snapshot, |server, [name, address, protocol, real]| {
        for (index, check) in server.checks.iter().enumerate() {
            push(check, [name, address, protocol, real, &format!("{index}-{}", check.kind)]);
        }
    });
}
