//! LVX's own metrics.

use super::family::{Kind, Metric, Samples};
use crate::control::snapshot::{NamedCount, RealServerStatus, ServiceStatus, Snapshot, TableFill, Traffic};

pub(super) const SERVICE: &[&str] = &["service", "address", "protocol"];
const SERVICE_DIRECTION: &[&str] = &["service", "address", "protocol", "direction"];
const REAL_SERVER: &[&str] = &["service", "address", "protocol", "real_server"];
const REAL_SERVER_DIRECTION: &[&str] = &["service", "address", "protocol", "real_server", "direction"];
const REAL_SERVER_STATE: &[&str] = &["service", "address", "protocol", "real_server", "state"];

pub(super) static METRICS: &[Metric] = &[
    Metric {
        name: "lvx_build_info",
        help: "Always 1; the labels tell which LVX runs.",
        kind: Kind::Gauge,
        labels: &["version", "arch"],
        samples: |snapshot, out| out.push([&snapshot.version, std::env::consts::ARCH], 1),
    },
    Metric {
        name: "lvx_uptime_seconds",
        help: "Seconds since the start of the daemon.",
        kind: Kind::Gauge,
        labels: &[],
        samples: |snapshot, out| out.push([], snapshot.uptime),
    },
    Metric {
        name: "lvx_config_generation",
        help: "Number of successful configuration loads, the first included.",
        kind: Kind::Gauge,
        labels: &[],
        samples: |snapshot, out| out.push([], snapshot.generation),
    },
    Metric {
        name: "lvx_interface_attached",
        help: "1 for an interface whose packets LVX sees; the mode is native or generic.",
        kind: Kind::Gauge,
        labels: &["interface", "mode"],
        samples: |snapshot, out| {
            for interface in &snapshot.interfaces {
                out.push([&interface.name, &interface.mode], 1);
            }
        },
    },
    Metric {
        name: "lvx_service_connections_total",
        help: "Connections scheduled for a virtual service.",
        kind: Kind::Counter,
        labels: SERVICE,
        samples: |snapshot, out| {
            per_service(snapshot, |service, id| out.push(id, service.traffic.connections));
        },
    },
    Metric {
        name: "lvx_service_packets_total",
        help: "Packets of a virtual service: in is from clients, out are replies through the director (NAT only).",
        kind: Kind::Counter,
        labels: SERVICE_DIRECTION,
        samples: |snapshot, out| {
            per_service(snapshot, |service, [name, address, protocol]| {
                for (direction, packets) in packets(&service.traffic) {
                    out.push([name, address, protocol, direction], packets);
                }
            });
        },
    },
    Metric {
        name: "lvx_service_bytes_total",
        help: "Bytes of a virtual service from the IP header on; directions as for packets.",
        kind: Kind::Counter,
        labels: SERVICE_DIRECTION,
        samples: |snapshot, out| {
            per_service(snapshot, |service, [name, address, protocol]| {
                for (direction, bytes) in bytes(&service.traffic) {
                    out.push([name, address, protocol, direction], bytes);
                }
            });
        },
    },
    Metric {
        name: "lvx_real_server_connections_total",
        help: "Connections scheduled to a real server of a virtual service.",
        kind: Kind::Counter,
        labels: REAL_SERVER,
        samples: |snapshot, out| {
            per_real_server(snapshot, |real_server, id| out.push(id, real_server.traffic.connections));
        },
    },
    Metric {
        name: "lvx_real_server_packets_total",
        help: "Packets of a real server: in is from clients, out are replies through the director (NAT only).",
        kind: Kind::Counter,
        labels: REAL_SERVER_DIRECTION,
        samples: |snapshot, out| {
            per_real_server(snapshot, |real_server, [name, address, protocol, real]| {
                for (direction, packets) in packets(&real_server.traffic) {
                    out.push([name, address, protocol, real, direction], packets);
                }
            });
        },
    },
    Metric {
        name: "lvx_real_server_bytes_total",
        help: "Bytes of a real server from the IP header on; directions as for packets.",
        kind: Kind::Counter,
        labels: REAL_SERVER_DIRECTION,
        samples: |snapshot, out| {
            per_real_server(snapshot, |real_server, [name, address, protocol, real]| {
                for (direction, bytes) in bytes(&real_server.traffic) {
                    out.push([name, address, protocol, real, direction], bytes);
                }
            });
        },
    },
    Metric {
        name: "lvx_real_server_refused_total",
        help: "Connections that a real server refused with a reset; seen with NAT only, where replies pass.",
        kind: Kind::Counter,
        labels: REAL_SERVER,
        samples: |snapshot, out| {
            per_real_server(snapshot, |real_server, id| out.push(id, real_server.traffic.refused));
        },
    },
    Metric {
        name: "lvx_real_server_unanswered_total",
        help: "Half-open connections that expired: with NAT those that the real server never answered, else all of them.",
        kind: Kind::Counter,
        labels: REAL_SERVER,
        samples: |snapshot, out| {
            per_real_server(snapshot, |real_server, id| out.push(id, real_server.traffic.unanswered));
        },
    },
    Metric {
        name: "lvx_real_server_connections",
        help: "Connection entries of a real server: active from SYN_RECV to ESTABLISHED, inactive otherwise (UDP too).",
        kind: Kind::Gauge,
        labels: REAL_SERVER_STATE,
        samples: |snapshot, out| {
            per_real_server(snapshot, |real_server, [name, address, protocol, real]| {
                out.push([name, address, protocol, real, "active"], u64::from(real_server.active));
                out.push([name, address, protocol, real, "inactive"], u64::from(real_server.inactive));
            });
        },
    },
    Metric {
        name: "lvx_real_server_weight",
        help: "Weight of a real server; 0 means quiesced.",
        kind: Kind::Gauge,
        labels: REAL_SERVER,
        samples: |snapshot, out| {
            per_real_server(snapshot, |real_server, id| out.push(id, u64::from(real_server.weight)));
        },
    },
    Metric {
        name: "lvx_real_server_next_hop_resolved",
        help: "1 where interface and MAC address of the next hop are known, or the real server is the director itself.",
        kind: Kind::Gauge,
        labels: REAL_SERVER,
        samples: |snapshot, out| {
            per_real_server(snapshot, |real_server, id| {
                out.push(id, u64::from(real_server.local || real_server.next_hop.is_some()));
            });
        },
    },
    Metric {
        name: "lvx_drops_total",
        help: "Packets dropped, by reason.",
        kind: Kind::Counter,
        labels: &["reason"],
        samples: |snapshot, out| named(&snapshot.drops, out),
    },
    Metric {
        name: "lvx_passes_total",
        help: "Packets left to the director's own network stack, by reason.",
        kind: Kind::Counter,
        labels: &["reason"],
        samples: |snapshot, out| named(&snapshot.passes, out),
    },
    Metric {
        name: "lvx_events_total",
        help: "Events of the datapath that are neither drops nor passes, such as connection entries evicted.",
        kind: Kind::Counter,
        labels: &["event"],
        samples: |snapshot, out| named(&snapshot.events, out),
    },
    Metric {
        name: "lvx_table_entries",
        help: "Entries in use in a table of the datapath.",
        kind: Kind::Gauge,
        labels: &["table"],
        samples: |snapshot, out| per_table(snapshot, out, |table| table.used),
    },
    Metric {
        name: "lvx_table_capacity",
        help: "Entries that fit into a table of the datapath.",
        kind: Kind::Gauge,
        labels: &["table"],
        samples: |snapshot, out| per_table(snapshot, out, |table| table.capacity),
    },
    Metric {
        name: "lvx_table_bytes",
        help: "Memory a table of the datapath takes, used or not.",
        kind: Kind::Gauge,
        labels: &["table"],
        samples: |snapshot, out| per_table(snapshot, out, |table| table.bytes),
    },
];

fn packets(traffic: &Traffic) -> [(&'static str, u64); 2] {
    [("in", traffic.in_packets), ("out", traffic.out_packets)]
}

fn bytes(traffic: &Traffic) -> [(&'static str, u64); 2] {
    [("in", traffic.in_bytes), ("out", traffic.out_bytes)]
}

/// The address as `lvx list` and the configuration write it.
fn service_address(service: &ServiceStatus) -> String {
    std::net::SocketAddr::new(service.key.address, service.key.port).to_string()
}

pub(super) fn per_service(snapshot: &Snapshot, mut push: impl FnMut(&ServiceStatus, [&str; 3])) {
    for service in &snapshot.services {
        let protocol = service.key.protocol.to_string();
        push(service, [&service.name, &service_address(service), &protocol]);
    }
}

fn per_real_server(snapshot: &Snapshot, mut push: impl FnMut(&RealServerStatus, [&str; 4])) {
    per_service(snapshot, |service, [name, address, protocol]| {
        for real_server in &service.real_servers {
            push(real_server, [name, address, protocol, &real_server.address.to_string()]);
        }
    });
}

fn per_table(snapshot: &Snapshot, out: &mut Samples, value: fn(&TableFill) -> u64) {
    for table in &snapshot.tables {
        out.push([&table.name], value(table));
    }
}

fn named(counts: &[NamedCount], out: &mut Samples) {
    for named in counts {
        out.push([&named.name], named.count);
    }
}
