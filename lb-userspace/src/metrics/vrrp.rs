//! Metrics of VRRP.

use super::family::{Kind, Metric};
use crate::control::snapshot::Snapshot;
use crate::control::vrrp::VrrpInstanceStatus;
use crate::vrrp::State;

const INSTANCE: &[&str] = &["instance", "interface", "router_id"];

pub(super) static METRICS: &[Metric] = &[
    Metric {
        name: "lvx_vrrp_state",
        help: "1 for the state that a virtual router is in: initialize, backup, active, fault.",
        kind: Kind::Gauge,
        labels: &["instance", "interface", "router_id", "state"],
        samples: |snapshot, out| {
            per_instance(snapshot, |instance, [name, interface, id]| {
                for state in State::ALL {
                    let here = instance.state == state.name();
                    out.push([name, interface, id, state.name()], u64::from(here));
                }
            });
        },
    },
    Metric {
        name: "lvx_vrrp_priority",
        help: "Priority of a virtual router at the moment, with what it tracks.",
        kind: Kind::Gauge,
        labels: INSTANCE,
        samples: |snapshot, out| {
            per_instance(snapshot, |instance, id| out.push(id, u64::from(instance.priority)));
        },
    },
    Metric {
        name: "lvx_vrrp_rival",
        help: "1 while another router is active at the same time: the addresses are on both (split brain).",
        kind: Kind::Gauge,
        labels: INSTANCE,
        samples: |snapshot, out| {
            per_instance(snapshot, |instance, id| out.push(id, u64::from(instance.rival)));
        },
    },
    Metric {
        name: "lvx_vrrp_held",
        help: "1 while a virtual router stays a backup because an operator handed it over.",
        kind: Kind::Gauge,
        labels: INSTANCE,
        samples: |snapshot, out| {
            per_instance(snapshot, |instance, id| out.push(id, u64::from(instance.held)));
        },
    },
    Metric {
        name: "lvx_vrrp_transitions_total",
        help: "Entries into a state.",
        kind: Kind::Counter,
        labels: &["instance", "interface", "router_id", "state"],
        samples: |snapshot, out| {
            per_instance(snapshot, |instance, [name, interface, id]| {
                for state in &instance.transitions {
                    out.push([name, interface, id, &state.name], state.count);
                }
            });
        },
    },
    Metric {
        name: "lvx_vrrp_advertisements_sent_total",
        help: "Advertisements sent, each path and peer counted.",
        kind: Kind::Counter,
        labels: INSTANCE,
        samples: |snapshot, out| per_instance(snapshot, |instance, id| out.push(id, instance.sent)),
    },
    Metric {
        name: "lvx_vrrp_advertisements_unsent_total",
        help: "Advertisements that could not be sent.",
        kind: Kind::Counter,
        labels: INSTANCE,
        samples: |snapshot, out| per_instance(snapshot, |instance, id| out.push(id, instance.send_errors)),
    },
    Metric {
        name: "lvx_vrrp_advertisements_late_total",
        help: "Advertisements that went out more than half an interval after their time.",
        kind: Kind::Counter,
        labels: INSTANCE,
        samples: |snapshot, out| per_instance(snapshot, |instance, id| out.push(id, instance.late)),
    },
    Metric {
        name: "lvx_vrrp_advertisements_received_total",
        help: "Good advertisements received.",
        kind: Kind::Counter,
        labels: INSTANCE,
        samples: |snapshot, out| per_instance(snapshot, |instance, id| out.push(id, instance.received)),
    },
    Metric {
        name: "lvx_vrrp_priority_zero_received_total",
        help: "Good advertisements received by which an active router gave the addresses up.",
        kind: Kind::Counter,
        labels: INSTANCE,
        samples: |snapshot, out| per_instance(snapshot, |instance, id| out.push(id, instance.received_zero)),
    },
    Metric {
        name: "lvx_vrrp_other_addresses_total",
        help: "Good advertisements received that list other addresses than the virtual router has here.",
        kind: Kind::Counter,
        labels: INSTANCE,
        samples: |snapshot, out| {
            per_instance(snapshot, |instance, id| out.push(id, instance.other_addresses));
        },
    },
    Metric {
        name: "lvx_vrrp_rejected_total",
        help: "Messages for a virtual router that changed nothing, by reason.",
        kind: Kind::Counter,
        labels: &["instance", "interface", "router_id", "reason"],
        samples: |snapshot, out| {
            per_instance(snapshot, |instance, [name, interface, id]| {
                for reject in &instance.rejects {
                    out.push([name, interface, id, &reject.name], reject.count);
                }
            });
        },
    },
    Metric {
        name: "lvx_vrrp_strays_total",
        help: "Messages on the interfaces of virtual routers that are for none of them, by reason.",
        kind: Kind::Counter,
        labels: &["reason"],
        samples: |snapshot, out| {
            for stray in snapshot.vrrp.iter().flat_map(|vrrp| &vrrp.strays) {
                out.push([&stray.name], stray.count);
            }
        },
    },
    Metric {
        name: "lvx_vrrp_realtime",
        help: "1 where the thread of VRRP has real-time priority and locked memory.",
        kind: Kind::Gauge,
        labels: &[],
        samples: |snapshot, out| {
            if let Some(vrrp) = &snapshot.vrrp {
                out.push([], u64::from(vrrp.realtime));
            }
        },
    },
];

fn per_instance(snapshot: &Snapshot, mut push: impl FnMut(&VrrpInstanceStatus, [&str; 3])) {
    for instance in snapshot.vrrp.iter().flat_map(|vrrp| &vrrp.instances) {
        push(instance, [&instance.name, &instance.interface, &instance.router_id.to_string()]);
    }
}
