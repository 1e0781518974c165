//! The daemon's answers to `lvx list` and to Prometheus.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lb_common::atomic;
use lb_common::datapath::{ConnectionTables, TimeoutTable, tcp_state};
use lb_common::layout::{
    BUCKET_WAYS, CHECK_SERVICE, ConnectionMeta, Counter, DropReason, Event, HotWord, PassReason,
    TrafficCounts,
};

use super::engine::Engine;
use super::health::Health;
use super::sweeper::Fill;
use crate::apply::InstalledService;
use crate::control::StatusSource;
use crate::control::rates::RateMeter;
use crate::control::snapshot::{
    ConnectionStatus, InterfaceStatus, NamedCount, NextHopStatus, NotificationCounts, Rates,
    RealServerStatus, ServiceStatus, Snapshot, TableFill, Traffic,
};
use crate::datapath::MappedTables;
use crate::datapath::clock;
use crate::health::{ServerKey, server_key};
use crate::model::{ForwardingMethod, Protocol, Scheduler, ServiceKey};
use crate::nexthop::Resolution;
use crate::notify::{Channel, Notifier};
use crate::vrrp::io::Speaker;
use crate::vrrp::routers::Switchover;

/// How often rates are measured.
pub(super) const RATE_INTERVAL: Duration = Duration::from_secs(2);

/// Everything that listings are made from.
pub(super) struct Status {
    pub(super) engine: Mutex<Engine>,
    pub(super) health: Health,
    pub(super) notifier: Notifier,
    pub(super) speaker: Arc<Speaker>,
    pub(super) tables: Arc<MappedTables>,
    pub(super) fill: Fill,
    pub(super) timeouts: Mutex<TimeoutTable>,
    pub(super) rates: Mutex<RateMeter<u32>>,
    /// Traffic of removed real servers, by service and in total.
    pub(super) past: Mutex<Past>,
    pub(super) started: Instant,
}

/// Traffic whose counters are given up, because their real server was removed.
#[derive(Debug, Default)]
pub(super) struct Past {
    services: BTreeMap<ServiceKey, Traffic>,
    total: Traffic,
}

impl Past {
    /// Keeps the traffic of real servers that `before` has and `after` has not.
    pub(super) fn keep(
        &mut self,
        tables: &MappedTables,
        before: &BTreeMap<ServiceKey, InstalledService>,
        after: &BTreeMap<ServiceKey, InstalledService>,
    ) {
        for (key, service) in before {
            let now = after.get(key);
            for installed in &service.servers {
                if now.is_some_and(|now| now.server(installed.slot).is_some()) {
                    continue;
                }
                let traffic = traffic_of(tables.traffic(installed.slot));
                add(self.services.entry(*key).or_default(), &traffic);
                add(&mut self.total, &traffic);
            }
        }
        self.services.retain(|key, _| after.contains_key(key));
    }
}

/// A lock whose holder panicked guards data that is still consistent enough to be told: only listings read it.
pub(super) fn lock<V>(mutex: &Mutex<V>) -> MutexGuard<'_, V> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Status {
    /// Feeds the rate meter.
    pub(super) fn measure_rates(&self) {
        let counters: Vec<(u32, Traffic)> = lock(&self.engine)
            .installed
            .services
            .values()
            .flat_map(|service| &service.servers)
            .map(|installed| (installed.slot, traffic_of(self.tables.traffic(installed.slot))))
            .collect();
        lock(&self.rates).feed(Instant::now(), &counters);
    }

    /// Connections that each real server of a service with `passive_fall` has refused or not answered so far.
    pub(super) fn failed_connections(&self) -> BTreeMap<(ServiceKey, ServerKey), u64> {
        let engine = lock(&self.engine);
        let supervisor = lock(&self.health.supervisor);
        let watched = |key: &ServiceKey| {
            supervisor.configured(key).is_some_and(|service| service.health.passive_fall.is_some())
        };
        let services = engine.installed.services.iter().filter(|(key, _)| watched(key));
        services
            .flat_map(|(key, service)| service.servers.iter().map(|installed| (*key, installed)))
            .filter(|(_, installed)| installed.server.forwarding == ForwardingMethod::Nat)
            .map(|(key, installed)| {
                let counts = self.tables.traffic(installed.slot);
                ((key, server_key(&installed.server)), counts.refused + counts.unanswered)
            })
            .collect()
    }

    fn real_server(
        &self,
        engine: &Engine,
        rates: &RateMeter<u32>,
        service: &InstalledService,
        slot: u32,
    ) -> Option<RealServerStatus> {
        let installed = service.server(slot)?;
        let server = &installed.server;
        let (active, inactive) = self.tables.connections(slot);
        let resolution = engine.resolutions.get(&server.address);
        Some(RealServerStatus {
            address: SocketAddr::new(server.address, server.port),
            forwarding: server.forwarding,
            local: matches!(resolution, Some(Resolution::Local)),
            weight: server.weight,
            active,
            inactive,
            next_hop: match resolution {
                Some(Resolution::Via(hop)) => Some(NextHopStatus {
                    interface: hop.interface.clone(),
                    gateway: hop.gateway,
                    mac: mac(hop.mac),
                }),
                _ => None,
            },
            traffic: traffic_of(self.tables.traffic(slot)),
            rates: rates.rates(&slot),
        })
    }

    fn service(&self, engine: &Engine, rates: &RateMeter<u32>, key: ServiceKey) -> Option<ServiceStatus> {
        let service = engine.installed.services.get(&key)?;
        let real_servers: Vec<RealServerStatus> =
            service.order.iter().filter_map(|slot| self.real_server(engine, rates, service, *slot)).collect();
        let mut traffic = lock(&self.past).services.get(&key).copied().unwrap_or_default();
        let mut sum = Rates::default();
        for server in &real_servers {
            add(&mut traffic, &server.traffic);
            sum.connections += server.rates.connections;
            sum.in_packets += server.rates.in_packets;
            sum.out_packets += server.rates.out_packets;
            sum.in_bytes += server.rates.in_bytes;
            sum.out_bytes += server.rates.out_bytes;
        }
        Some(ServiceStatus {
            name: service.name.clone(),
            key,
            scheduler: service.scheduler.name().to_owned(),
            flags: flags(service.scheduler),
            traffic,
            rates: sum,
            real_servers,
            health: self.health.status(&key),
        })
    }

    fn notifications(&self, channel: Channel) -> NotificationCounts {
        let counts = self.notifier.counts(channel);
        NotificationCounts {
            channel: channel.name().to_owned(),
            sent: counts.sent,
            failed: counts.failed,
            dropped: counts.dropped,
        }
    }

    fn table_fills(&self, engine: &Engine) -> Vec<TableFill> {
        let sizes = self.tables.sizes();
        let geometry = sizes.geometry;
        let memory: BTreeMap<&str, u64> = self.tables.memory().into_iter().collect();
        let servers: usize = engine.installed.services.values().map(|service| service.servers.len()).sum();
        let fill = |name: &str, used: u64, capacity: u64| TableFill {
            name: name.to_owned(),
            used,
            capacity,
            bytes: memory.get(name).copied().unwrap_or(0),
        };
        let ways = u64::from(BUCKET_WAYS);
        vec![
            fill("connections", self.fill.established(), u64::from(geometry.embryonic_base()) * ways),
            fill("embryonic", self.fill.embryonic(), u64::from(geometry.embryonic_mask + 1) * ways),
            fill("services", engine.installed.services.len() as u64, u64::from(sizes.services)),
            fill("real_servers", servers as u64, u64::from(sizes.real_servers) - 1),
            fill(
                "scheduler_slots",
                u64::from(engine.installed.scheduler_slots_used()),
                u64::from(sizes.scheduler_slots),
            ),
        ]
    }
}

impl StatusSource for Status {
    fn snapshot(&self) -> Snapshot {
        let vrrp = self.speaker.status();
        let engine = lock(&self.engine);
        let rates = lock(&self.rates);
        let services: Vec<ServiceStatus> =
            engine.installed.order.iter().filter_map(|key| self.service(&engine, &rates, *key)).collect();
        let mut traffic = lock(&self.past).total;
        for service in &services {
            for server in &service.real_servers {
                add(&mut traffic, &server.traffic);
            }
        }
        let counters = engine.datapath.counters().unwrap_or_else(|error| {
            tracing::error!(%error, "the datapath's counters cannot be read");
            Vec::new()
        });
        let count = |counter: Counter, label: &str| NamedCount {
            name: label.to_owned(),
            count: counters.get(counter.index() as usize).copied().unwrap_or(0),
        };
        let mut events: Vec<NamedCount> =
            Event::ALL.iter().map(|event| count((*event).into(), event.label())).collect();
        events.push(NamedCount { name: "connection_expired".to_owned(), count: self.fill.expired() });
        Snapshot {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime: self.started.elapsed().as_secs(),
            generation: engine.generation,
            interfaces: engine
                .attachments
                .iter()
                .map(|attachment| InterfaceStatus {
                    name: attachment.interface.clone(),
                    mode: attachment.mode.to_owned(),
                })
                .collect(),
            services,
            traffic,
            tables: self.table_fills(&engine),
            drops: DropReason::ALL.iter().map(|reason| count((*reason).into(), reason.label())).collect(),
            passes: PassReason::ALL.iter().map(|reason| count((*reason).into(), reason.label())).collect(),
            events,
            notifications: Channel::ALL.iter().map(|channel| self.notifications(*channel)).collect(),
            vrrp: Some(vrrp).filter(|vrrp| !vrrp.instances.is_empty()),
        }
    }

    fn switchover(&self, instance: Option<String>, to_backup: Option<bool>) -> Switchover {
        self.speaker.switchover(instance, to_backup)
    }

    fn connections(&self, visit: &mut dyn FnMut(ConnectionStatus) -> ControlFlow<()>) {
        let timeouts = *lock(&self.timeouts);
        for index in 0..self.tables.geometry().buckets() {
            let Some(bucket) = self.tables.bucket(index) else { return };
            for (way, cell) in (0..BUCKET_WAYS).zip(&bucket.0) {
                let word = HotWord(atomic::load(cell));
                if word.slot() == 0 || word.has(HotWord::REVERSE) {
                    continue;
                }
                let Some(status) = connection(&self.tables, index * BUCKET_WAYS + way, word, &timeouts)
                else {
                    continue;
                };
                if visit(status).is_break() {
                    return;
                }
            }
        }
    }
}

fn connection(
    tables: &MappedTables,
    position: u32,
    word: HotWord,
    timeouts: &TimeoutTable,
) -> Option<ConnectionStatus> {
    let entry = tables.entry(position)?;
    let server = tables.real_server(word.slot()).filter(|server| server.service() != CHECK_SERVICE)?;
    let key = entry.key();
    let state = ConnectionMeta(atomic::load(entry.meta())).state();
    let client = SocketAddr::new(IpAddr::from(key.source), u16::from_be(key.source_port()));
    let virtual_address =
        SocketAddr::new(IpAddr::from(key.destination), u16::from_be(key.destination_port()));
    let port = match server.port() {
        0 => virtual_address.port(),
        port => u16::from_be(port),
    };
    let now = clock::stamp();
    // Touched since the last sweep, which has yet to note the time.
    let idle = if word.has(HotWord::TOUCHED) { 0 } else { now.wrapping_sub(entry.last_seen()) };
    Some(ConnectionStatus {
        protocol: if key.protocol == Protocol::Udp.number() { Protocol::Udp } else { Protocol::Tcp },
        client,
        virtual_address,
        real_server: SocketAddr::new(IpAddr::from(server.address()), port),
        state: tcp_state::name(state).to_owned(),
        expires_in: clock::seconds(timeouts.of(state).saturating_sub(idle)),
    })
}

fn flags(scheduler: Scheduler) -> Vec<String> {
    let (name, flags) = match scheduler {
        Scheduler::Sh(flags) => ("sh", flags),
        Scheduler::Mh { flags, .. } => ("mh", flags),
        _ => return Vec::new(),
    };
    let set = [(flags.fallback, "fallback"), (flags.port, "port")];
    set.iter().filter(|(on, _)| *on).map(|(_, flag)| format!("{name}-{flag}")).collect()
}

fn mac(bytes: [u8; 6]) -> String {
    let [a, b, c, d, e, f] = bytes;
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

fn traffic_of(counts: TrafficCounts) -> Traffic {
    Traffic {
        connections: counts.connections,
        in_packets: counts.in_packets,
        out_packets: counts.out_packets,
        in_bytes: counts.in_bytes,
        out_bytes: counts.out_bytes,
        refused: counts.refused,
        unanswered: counts.unanswered,
    }
}

fn add(sum: &mut Traffic, more: &Traffic) {
    sum.connections += more.connections;
    sum.in_packets += more.in_packets;
    sum.out_packets += more.out_packets;
    sum.in_bytes += more.in_bytes;
    sum.out_bytes += more.out_bytes;
    sum.refused += more.refused;
    sum.unanswered += more.unanswered;
}
