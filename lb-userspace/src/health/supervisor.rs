//! From the verdicts of checks to the model that the datapath gets.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Instant, SystemTime};

use super::quorum::{has_quorum, panics};
use super::server::{CheckVerdict, ServerHealth};
use super::{Failure, FailureReason};
use crate::model::{Check, Model, RealServer, ServiceKey, VirtualService};

/// Address and port of a real server within its service.
pub type ServerKey = (IpAddr, u16);

/// A check's verdict has turned, or what it says about the weight has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckChange {
    /// Service of the real server.
    pub service: ServiceKey,
    /// Real server.
    pub server: ServerKey,
    /// Place of the check in the configuration of the real server.
    pub index: usize,
    /// The check itself; a change of a check that is no longer configured is ignored.
    pub check: Check,
    /// What it says now.
    pub verdict: CheckVerdict,
}

/// Something that operators are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthEvent {
    /// A real server came up or went down.
    Server {
        /// Service.
        service: ServiceKey,
        /// Real server.
        server: ServerKey,
        /// Its new state.
        up: bool,
        /// Why it went down.
        reason: Option<String>,
    },
    /// A service gained or lost its quorum.
    Quorum {
        /// Service.
        service: ServiceKey,
        /// Its new state.
        up: bool,
        /// Sum of the weights of its live real servers.
        live_weight: u64,
    },
    /// Too many real servers failed at once: the failures are disbelieved, or believed again.
    Panic {
        /// Service.
        service: ServiceKey,
        /// Whether it begins.
        on: bool,
        /// Real servers that failed.
        failed: usize,
        /// Real servers that are checked.
        checked: usize,
    },
}

/// What is known of a service.
#[derive(Debug, Clone, Default)]
pub struct ServiceState {
    /// Whether it has its quorum.
    pub quorum: bool,
    /// Whether failures are disbelieved.
    pub panic: bool,
    /// Its real servers.
    pub servers: BTreeMap<ServerKey, ServerHealth>,
}

impl ServiceState {
    /// Sum of the weights of live real servers.
    #[must_use]
    pub fn live_weight(&self, service: &VirtualService) -> u64 {
        let live = |server: &RealServer| {
            let state = self.servers.get(&server_key(server)).filter(|state| state.is_up())?;
            Some(u64::from(state.weight(server)))
        };
        service.real_servers.iter().filter_map(live).sum()
    }
}

/// Key of a real server within its service.
#[must_use]
pub fn server_key(server: &RealServer) -> ServerKey {
    (server.address, server.port)
}

/// Holds the configured model and the state of everything that is checked. Sans-IO.
#[derive(Debug, Clone)]
pub struct Supervisor {
    model: Model,
    /// Place of a service in the model.
    places: BTreeMap<ServiceKey, usize>,
    services: BTreeMap<ServiceKey, ServiceState>,
    events: VecDeque<HealthEvent>,
}

impl Supervisor {
    /// Begins with a model: real servers are up where their service is not `alpha`.
    #[must_use]
    pub fn new(model: Model, now: Instant, clock: SystemTime) -> Self {
        let nothing = Model { services: Vec::new(), ..model.clone() };
        let mut supervisor = Self {
            model: nothing,
            places: BTreeMap::new(),
            services: BTreeMap::new(),
            events: VecDeque::new(),
        };
        supervisor.configure(model, now, clock);
        supervisor
    }

    /// The configured model.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The configuration of a service.
    #[must_use]
    pub fn configured(&self, key: &ServiceKey) -> Option<&VirtualService> {
        self.places.get(key).and_then(|place| self.model.services.get(*place))
    }

    /// The state of a service.
    #[must_use]
    pub fn service(&self, key: &ServiceKey) -> Option<&ServiceState> {
        self.services.get(key)
    }

    /// Takes over another model. Services and real servers that stay keep their state; a failed real server does not
    /// come back because the file was read again.
    pub fn configure(&mut self, model: Model, now: Instant, clock: SystemTime) {
        let mut before = std::mem::take(&mut self.services);
        for service in &model.services {
            let old_service = self.places.get(&service.key).and_then(|place| self.model.services.get(*place));
            let old_state = before.remove(&service.key);
            let fresh = old_state.is_none();
            let mut old_state = old_state.unwrap_or_default();
            let mut state = ServiceState {
                quorum: old_state.quorum || fresh,
                panic: old_state.panic,
                servers: BTreeMap::new(),
            };
            let old_servers: BTreeMap<ServerKey, &RealServer> = old_service
                .map(|service| {
                    service.real_servers.iter().map(|server| (server_key(server), server)).collect()
                })
                .unwrap_or_default();
            for server in &service.real_servers {
                let key = server_key(server);
                let health = match (old_state.servers.remove(&key), old_servers.get(&key)) {
                    (Some(mut health), Some(before)) => {
                        health.adapt(server, before);
                        health
                    }
                    _ => ServerHealth::new(server, service.health.alpha, clock),
                };
                state.servers.insert(key, health);
            }
            if fresh {
                let weight = state.live_weight(service);
                state.quorum = has_quorum(!service.health.alpha, weight, &service.health);
                // keepalived tells it at the start, too, but nothing of the real servers.
                if state.quorum && service.real_servers.iter().any(|server| !server.health.checks.is_empty())
                {
                    self.events.push_back(HealthEvent::Quorum {
                        service: service.key,
                        up: true,
                        live_weight: weight,
                    });
                }
            }
            self.services.insert(service.key, state);
        }
        self.places =
            model.services.iter().enumerate().map(|(place, service)| (service.key, place)).collect();
        self.model = model;
        for key in self.places.keys().copied().collect::<Vec<_>>() {
            self.settle(key, now, clock);
        }
    }

    /// Takes over what a check says now. False where nothing knows the check any more.
    pub fn handle_change(&mut self, change: CheckChange, now: Instant, clock: SystemTime) -> bool {
        let server =
            self.places.get(&change.service).and_then(|place| self.model.services.get(*place)).and_then(
                |service| service.real_servers.iter().find(|server| server_key(server) == change.server),
            );
        let known = server.and_then(|server| server.health.checks.get(change.index));
        if known != Some(&change.check) {
            return false;
        }
        let Some(state) = self.services.get_mut(&change.service) else { return false };
        let Some(health) = state.servers.get_mut(&change.server) else { return false };
        let Some(verdict) = health.checks.get_mut(change.index) else { return false };
        *verdict = change.verdict;
        self.settle(change.service, now, clock);
        true
    }

    /// Takes over how many connections of clients a real server has refused or not answered lately. True where that is
    /// too many: then its checks have to begin anew.
    pub fn handle_failed_connections(
        &mut self,
        service: ServiceKey,
        server: ServerKey,
        count: u64,
        now: Instant,
        clock: SystemTime,
    ) -> bool {
        let Some(limit) = self.configured(&service).and_then(|service| service.health.passive_fall) else {
            return false;
        };
        let health = self.services.get_mut(&service).and_then(|state| state.servers.get_mut(&server));
        let Some(health) = health.filter(|health| health.is_up() && !health.checks.is_empty()) else {
            return false;
        };
        if count < u64::from(limit) {
            return false;
        }
        let detail = format!("{count} connections of clients were refused or not answered, limit {limit}");
        health.fall(&Failure::new(FailureReason::Passive, detail));
        self.settle(service, now, clock);
        true
    }

    /// Draws the conclusions for a service.
    fn settle(&mut self, key: ServiceKey, now: Instant, clock: SystemTime) {
        let Some(service) = self.places.get(&key).and_then(|place| self.model.services.get(*place)) else {
            return;
        };
        let Some(state) = self.services.get_mut(&key) else { return };
        for server in &service.real_servers {
            let Some(health) = state.servers.get_mut(&server_key(server)) else { continue };
            if let Some(up) = health.settle(server, now, clock) {
                let reason = if up { None } else { health.failure().map(ToString::to_string) };
                self.events.push_back(HealthEvent::Server {
                    service: key,
                    server: server_key(server),
                    up,
                    reason,
                });
            }
        }
        let live_weight = state.live_weight(service);
        let quorum = has_quorum(state.quorum, live_weight, &service.health);
        if quorum != state.quorum {
            state.quorum = quorum;
            self.events.push_back(HealthEvent::Quorum { service: key, up: quorum, live_weight });
        }
        let (failed, checked) = failures(service, state);
        let panic = panics(failed, checked, service.health.panic_threshold);
        if panic != state.panic {
            state.panic = panic;
            self.events.push_back(HealthEvent::Panic { service: key, on: panic, failed, checked });
        }
    }

    /// The end of the daemon: what is up in services with `omega` is told to go down.
    pub fn end(&mut self) {
        for service in self.model.services.iter().filter(|service| service.health.omega) {
            let Some(state) = self.services.get(&service.key) else { continue };
            for (server, health) in &state.servers {
                if health.is_up() {
                    let reason = Some("the director ends".to_owned());
                    self.events.push_back(HealthEvent::Server {
                        service: service.key,
                        server: *server,
                        up: false,
                        reason,
                    });
                }
            }
            if state.quorum {
                self.events.push_back(HealthEvent::Quorum {
                    service: service.key,
                    up: false,
                    live_weight: 0,
                });
            }
        }
    }

    /// What operators are to be told next.
    pub fn poll_event(&mut self) -> Option<HealthEvent> {
        self.events.pop_front()
    }

    /// When a slow start takes its next step.
    #[must_use]
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let servers = self.services.values().flat_map(|state| state.servers.values());
        servers.filter_map(|health| health.poll_timeout(now)).min()
    }

    /// The model that the datapath is to have at `now`.
    pub fn effective(&mut self, now: Instant) -> Model {
        let services = self
            .model
            .services
            .iter()
            .map(|service| {
                let mut state = self.services.get_mut(&service.key);
                let mut servers = Vec::with_capacity(service.real_servers.len() + 1);
                let (quorum, panic) =
                    state.as_ref().map_or((true, false), |state| (state.quorum, state.panic));
                let sorry = service.health.sorry_server.as_ref();
                let sorry_serves = sorry.is_some() && !quorum && !panic;
                for server in &service.real_servers {
                    let health = state.as_mut().and_then(|state| state.servers.get_mut(&server_key(server)));
                    let Some(health) = health else { continue };
                    let believed_up = health.is_up() || (panic && !health.is_down_on_purpose());
                    let mut server = server.clone();
                    server.weight =
                        if !health.is_up() && believed_up { server.weight } else { health.weight(&server) };
                    server.share = health.ramp(now);
                    if !believed_up {
                        if !server.health.inhibit_on_failure {
                            continue;
                        }
                        server.weight = 0;
                    } else if sorry_serves && !service.health.keep_live_servers {
                        // keepalived removes it; quiesced, it loses no connection.
                        server.weight = 0;
                    }
                    servers.push(server);
                }
                if let Some(sorry) = sorry {
                    // It stays installed, so that its connections end by themselves when the quorum is back.
                    let weight = if sorry_serves { sorry.weight } else { 0 };
                    servers.push(RealServer { weight, ..sorry.clone() });
                }
                VirtualService { real_servers: servers, ..head(service) }
            })
            .collect();
        Model { services, ..self.head() }
    }

    /// The model without its services.
    fn head(&self) -> Model {
        Model {
            settings: self.model.settings.clone(),
            interfaces: self.model.interfaces.clone(),
            services: Vec::new(),
            notifications: self.model.notifications.clone(),
            vrrp: self.model.vrrp.clone(),
        }
    }
}

/// The service without its real servers.
fn head(service: &VirtualService) -> VirtualService {
    VirtualService {
        key: service.key,
        name: service.name.clone(),
        scheduler: service.scheduler,
        real_servers: Vec::new(),
        health: service.health.clone(),
        always_on: service.always_on,
    }
}

/// Real servers that failed against the will of the operator, and those that are checked.
fn failures(service: &VirtualService, state: &ServiceState) -> (usize, usize) {
    let checked: Vec<_> = service
        .real_servers
        .iter()
        .filter(|server| !server.health.checks.is_empty())
        .filter_map(|server| state.servers.get(&server_key(server)))
        .filter(|health| !health.is_down_on_purpose())
        .collect();
    (checked.iter().filter(|health| !health.is_up()).count(), checked.len())
}

/// Endpoint of a real server within its service.
#[must_use]
pub fn socket_address((address, port): ServerKey) -> SocketAddr {
    SocketAddr::new(address, port)
}
