//! A daemon that exists only as what it tells about itself.

#![allow(dead_code, reason = "every test file takes what it needs")]

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

use lb_userspace::control::StatusSource;
use lb_userspace::control::health::{
    CheckRunStatus, CheckStatus, RealServerHealthStatus, ServiceHealthStatus,
};
use lb_userspace::control::snapshot::{
    ConnectionStatus, InterfaceStatus, NamedCount, NextHopStatus, NotificationCounts, Rates,
    RealServerStatus, ServiceStatus, Snapshot, TableFill, Traffic,
};
use lb_userspace::control::vrrp::{
    VrrpInstanceStatus, VrrpPeerStatus, VrrpStatus, VrrpTrackStatus, VrrpTransition,
};
use lb_userspace::model::{ForwardingMethod, Protocol, ServiceKey};
use lb_userspace::vrrp::routers::Switchover;

pub(crate) struct FakeDaemon {
    pub(crate) snapshot: Snapshot,
    /// Connection entries it makes up.
    pub(crate) connections: u64,
    /// How many of them have been visited, over all clients.
    pub(crate) visited: AtomicU64,
}

impl FakeDaemon {
    pub(crate) fn new(connections: u64) -> Self {
        Self { snapshot: snapshot(), connections, visited: AtomicU64::new(0) }
    }
}

impl StatusSource for FakeDaemon {
    fn snapshot(&self) -> Snapshot {
        self.snapshot.clone()
    }

    fn switchover(&self, instance: Option<String>, _: Option<bool>) -> Switchover {
        match instance {
            Some(name) => Switchover::Begun { instances: vec![name], to_backup: true },
            None => Switchover::Refused("there is no [[vrrp]] instance".to_owned()),
        }
    }

    fn connections(&self, visit: &mut dyn FnMut(ConnectionStatus) -> ControlFlow<()>) {
        for number in 0..self.connections {
            self.visited.fetch_add(1, Ordering::Relaxed);
            if visit(connection(number)).is_break() {
                return;
            }
        }
    }
}

pub(crate) fn connection(number: u64) -> ConnectionStatus {
    let port = u16::try_from(number % 65536).unwrap();
    let client = u32::try_from(0x0a40_0000 + number / 65536).unwrap();
    ConnectionStatus {
        protocol: Protocol::Tcp,
        client: SocketAddr::new(std::net::Ipv4Addr::from(client).into(), port),
        virtual_address: "192.168.100.1:80".parse().unwrap(),
        real_server: "10.0.1.1:80".parse().unwrap(),
        state: "ESTABLISHED".to_owned(),
        expires_in: 891,
    }
}

pub(crate) fn real_server(address: &str, forwarding: ForwardingMethod, weight: u32) -> RealServerStatus {
    RealServerStatus {
        address: address.parse().unwrap(),
        forwarding,
        local: false,
        weight,
        active: 0,
        inactive: 0,
        next_hop: None,
        traffic: Traffic::default(),
        rates: Rates::default(),
    }
}

pub(crate) fn service(name: &str, protocol: Protocol, address: &str) -> ServiceStatus {
    let address: SocketAddr = address.parse().unwrap();
    ServiceStatus {
        name: name.to_owned(),
        key: ServiceKey { protocol, address: address.ip(), port: address.port() },
        scheduler: "wlc".to_owned(),
        flags: Vec::new(),
        traffic: Traffic::default(),
        rates: Rates::default(),
        real_servers: Vec::new(),
        health: None,
    }
}

fn check(kind: &str, last: Result<Option<&str>, &str>, failures: &[NamedCount]) -> CheckStatus {
    CheckStatus {
        kind: kind.to_owned(),
        passing: last.is_ok(),
        last: Some(CheckRunStatus {
            ago_ms: 1500,
            duration_us: 2345,
            failure: last.err().map(str::to_owned),
            warning: last.ok().flatten().map(str::to_owned),
        }),
        passes: 12,
        failures: failures.to_vec(),
    }
}

fn checked(address: &str, since: u64, check: CheckStatus) -> RealServerHealthStatus {
    RealServerHealthStatus {
        address: address.parse().unwrap(),
        up: check.passing,
        since,
        weight: 100,
        share: if check.passing { 4 } else { 16 },
        checks: vec![check],
    }
}

/// Two services, one of them IPv6 without real servers.
pub(crate) fn snapshot() -> Snapshot {
    let mut web = service("web \"shop\"", Protocol::Tcp, "192.168.100.1:80");
    web.traffic = Traffic {
        connections: 20,
        in_packets: 80,
        out_packets: 7,
        in_bytes: 4320,
        out_bytes: 5_000_000_000,
        ..Traffic::default()
    };
    let mut first = real_server("10.0.1.1:80", ForwardingMethod::Dr, 100);
    first.traffic = Traffic {
        connections: 13,
        in_packets: 53,
        out_packets: 0,
        in_bytes: 2860,
        out_bytes: 0,
        refused: 2,
        unanswered: 3,
    };
    first.active = 6;
    first.inactive = 7;
    first.next_hop = Some(NextHopStatus {
        interface: "eth0".to_owned(),
        gateway: "10.0.1.1".parse().unwrap(),
        mac: "02:00:00:00:01:01".to_owned(),
    });
    let mut own = real_server("10.0.0.254:80", ForwardingMethod::Dr, 1);
    own.local = true;
    web.real_servers = vec![first, real_server("10.0.1.2:8080", ForwardingMethod::Nat, 0), own];
    let count = |name: &str, count| NamedCount { name: name.to_owned(), count };
    web.health = Some(ServiceHealthStatus {
        quorum: true,
        live_weight: 100,
        quorum_weight: 1,
        live: 1,
        configured: 2,
        panic: false,
        suspended: false,
        sorry_server: Some("10.0.9.9:80".parse().unwrap()),
        sorry_server_active: false,
        real_servers: vec![
            checked("10.0.1.1:80", 3725, check("http", Ok(None), &[])),
            checked(
                "10.0.1.3:80",
                4,
                check("https", Err("status: status 503, expected 200-299"), &[count("status", 7)]),
            ),
        ],
    });
    Snapshot {
        version: "9.8.7".to_owned(),
        uptime: 61,
        generation: 3,
        interfaces: vec![InterfaceStatus { name: "eth0".to_owned(), mode: "native".to_owned() }],
        services: vec![web, service("dns", Protocol::Udp, "[fd00:100::1]:53")],
        traffic: Traffic {
            connections: 23,
            in_packets: 90,
            out_packets: 8,
            in_bytes: 5000,
            out_bytes: 5_000_000_001,
            ..Traffic::default()
        },
        tables: vec![TableFill { name: "connections".to_owned(), used: 13, capacity: 4096, bytes: 65536 }],
        drops: vec![count("short_packet", 2), count("no_real_server", 0)],
        passes: vec![count("no_service", 12)],
        events: vec![count("entry_evicted", 1)],
        notifications: vec![NotificationCounts {
            channel: "fifo".to_owned(),
            sent: 5,
            failed: 0,
            dropped: 1,
        }],
        vrrp: Some(vrrp()),
    }
}

fn vrrp() -> VrrpStatus {
    let count = |name: &str, count| NamedCount { name: name.to_owned(), count };
    VrrpStatus {
        instances: vec![VrrpInstanceStatus {
            name: "web".to_owned(),
            interface: "eth0".to_owned(),
            router_id: 51,
            version: 3,
            state: "active".to_owned(),
            since_ms: 61_000,
            reason: "no advertisement of an active router".to_owned(),
            priority: 90,
            configured_priority: 100,
            interval_ms: 100,
            active_interval_ms: 100,
            active_down_ms: 364,
            timer_ms: Some(58),
            held: false,
            rival: true,
            group: Some("pair".to_owned()),
            addresses: vec!["192.168.100.1/24".to_owned()],
            source: Some("192.168.100.2".parse().unwrap()),
            peers: vec![VrrpPeerStatus {
                address: "192.168.100.3".parse().unwrap(),
                interface: "eth0".to_owned(),
                priority: 80,
                ago_ms: 40,
            }],
            tracks: vec![VrrpTrackStatus {
                name: "ping 192.168.100.254".to_owned(),
                up: false,
                number: 0,
                weight: -10,
            }],
            history: vec![VrrpTransition {
                time: "2026-11-21T04:00:00.000Z".to_owned(),
                from: "backup".to_owned(),
                to: "active".to_owned(),
                reason: "no advertisement of an active router".to_owned(),
            }],
            sent: 610,
            send_errors: 1,
            late: 2,
            received: 30,
            received_zero: 1,
            other_addresses: 3,
            rejects: vec![count("ttl", 4), count("checksum", 0)],
            transitions: vec![count("active", 1), count("backup", 1)],
        }],
        strays: vec![count("vrid", 7)],
        realtime: true,
    }
}
