//! The series of node_exporter's `ipvs` collector, under its names and labels, so that dashboards and alerts made for
//! IPVS go on working. node_exporter itself exports them only where the kernel's IPVS is loaded.

use std::net::SocketAddr;

use super::family::{Kind, Metric};
use crate::control::snapshot::{RealServerStatus, Snapshot};
use crate::model::Protocol;

const BACKEND: &[&str] =
    &["local_address", "local_port", "remote_address", "remote_port", "proto", "local_mark"];

pub(super) static METRICS: &[Metric] = &[
    Metric {
        name: "node_ipvs_connections_total",
        help: "Connections scheduled, over all services.",
        kind: Kind::Counter,
        labels: &[],
        samples: |snapshot, out| out.push([], snapshot.traffic.connections),
    },
    Metric {
        name: "node_ipvs_incoming_packets_total",
        help: "Packets from clients, over all services.",
        kind: Kind::Counter,
        labels: &[],
        samples: |snapshot, out| out.push([], snapshot.traffic.in_packets),
    },
    Metric {
        name: "node_ipvs_outgoing_packets_total",
        help: "Packets to clients through the director, over all services.",
        kind: Kind::Counter,
        labels: &[],
        samples: |snapshot, out| out.push([], snapshot.traffic.out_packets),
    },
    Metric {
        name: "node_ipvs_incoming_bytes_total",
        help: "Bytes from clients, over all services.",
        kind: Kind::Counter,
        labels: &[],
        samples: |snapshot, out| out.push([], snapshot.traffic.in_bytes),
    },
    Metric {
        name: "node_ipvs_outgoing_bytes_total",
        help: "Bytes to clients through the director, over all services.",
        kind: Kind::Counter,
        labels: &[],
        samples: |snapshot, out| out.push([], snapshot.traffic.out_bytes),
    },
    Metric {
        name: "node_ipvs_backend_connections_active",
        help: "Active connections of a real server of a virtual service.",
        kind: Kind::Gauge,
        labels: BACKEND,
        samples: |snapshot, out| {
            per_backend(snapshot, |real_server, id| out.push(id, u64::from(real_server.active)));
        },
    },
    Metric {
        name: "node_ipvs_backend_connections_inactive",
        help: "Inactive connections of a real server of a virtual service.",
        kind: Kind::Gauge,
        labels: BACKEND,
        samples: |snapshot, out| {
            per_backend(snapshot, |real_server, id| out.push(id, u64::from(real_server.inactive)));
        },
    },
    Metric {
        name: "node_ipvs_backend_weight",
        help: "Weight of a real server of a virtual service.",
        kind: Kind::Gauge,
        labels: BACKEND,
        samples: |snapshot, out| {
            per_backend(snapshot, |real_server, id| out.push(id, u64::from(real_server.weight)));
        },
    },
];

fn per_backend(snapshot: &Snapshot, mut push: impl FnMut(&RealServerStatus, [&str; 6])) {
    for service in &snapshot.services {
        let (local_address, local_port) = texts(SocketAddr::new(service.key.address, service.key.port));
        let protocol = match service.key.protocol {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
        };
        for real_server in &service.real_servers {
            let (address, port) = texts(real_server.address);
            // The last label is the firewall mark of a service without an address; LVX has none.
            push(real_server, [&local_address, &local_port, &address, &port, protocol, ""]);
        }
    }
}

fn texts(address: SocketAddr) -> (String, String) {
    (address.ip().to_string(), address.port().to_string())
}
