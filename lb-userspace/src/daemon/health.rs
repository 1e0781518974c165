//! Health in the daemon: verdicts come in, the datapath and the operators get what follows from them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use tracing::{error, info, warn};

use super::run::{Daemon, RunError};
use super::status::lock;
use crate::apply::PlanError;
use crate::daemon::EngineError;
use crate::health::{CheckChange, HealthEvent, Runner, Supervisor, server_key, socket_address};
use crate::model::{FULL_SHARE, Model, ServiceKey};
use crate::notify::{Change, Event, RealServerChange, ServiceChange, State};

/// How long the end of the daemon waits for notifications.
const FAREWELL: Duration = Duration::from_secs(3);

/// The checks and what they say.
#[derive(Debug)]
pub(super) struct Health {
    pub(super) supervisor: Mutex<Supervisor>,
    pub(super) runner: Runner,
}

impl Health {
    pub(super) fn new(model: &Model, runner: Runner) -> Self {
        let nothing = Model { services: Vec::new(), ..model.clone() };
        let supervisor = Supervisor::new(nothing, Instant::now(), SystemTime::now());
        Self { supervisor: Mutex::new(supervisor), runner }
    }
}

impl Daemon {
    /// Makes `model` the configured one: the datapath gets what is left of it after the failed real servers. On an error
    /// everything is as before.
    pub(super) async fn configure(&mut self, model: &Model) -> Result<(), RunError> {
        let now = Instant::now();
        self.status.notifier.reconfigure(&model.notifications, &router(model))?;
        let mut next = lock(&self.status.health.supervisor).clone();
        next.configure(model.clone(), now, SystemTime::now());
        let effective = next.effective(now);
        if let Err(error) = self.install(&effective, model.targets()).await {
            let before = lock(&self.status.health.supervisor).model().clone();
            // It could be used a moment ago.
            let _ = self.status.notifier.reconfigure(&before.notifications, &router(&before));
            return Err(error);
        }
        let network = {
            let mut engine = lock(&self.status.engine);
            engine.generation += 1;
            engine.prepare_checks(model)
        };
        let network = network.unwrap_or_else(|error| {
            // The services run; only these checks cannot.
            error!(%error, "checks through the datapath fail");
            None
        });
        self.status.health.runner.follow(&next, network);
        self.next_step = next.poll_timeout(now);
        *lock(&self.status.health.supervisor) = next;
        self.configure_vrrp(model);
        self.tell();
        self.suspend().await;
        Ok(())
    }

    /// Takes over verdicts, all that are there at once.
    pub(super) async fn judge(&mut self, changes: Vec<CheckChange>) {
        let (now, clock) = (Instant::now(), SystemTime::now());
        let mut known = false;
        {
            let mut supervisor = lock(&self.status.health.supervisor);
            for change in changes {
                known |= supervisor.handle_change(change, now, clock);
            }
        }
        if known {
            self.adjust().await;
        }
    }

    /// Looks at the connections that real servers have refused or not answered since the last time.
    pub(super) async fn observe(&mut self) {
        let (now, clock) = (Instant::now(), SystemTime::now());
        let mut fell = false;
        let failures = self.status.failed_connections();
        {
            let mut supervisor = lock(&self.status.health.supervisor);
            for ((service, server), count) in &failures {
                let before = self.failed.get(&(*service, *server)).copied().unwrap_or(0);
                let count = count.saturating_sub(before);
                if count > 0 {
                    fell |= supervisor.handle_failed_connections(*service, *server, count, now, clock);
                }
            }
            if fell {
                self.status.health.runner.restart(&supervisor);
            }
        }
        self.failed = failures;
        if fell {
            self.adjust().await;
        }
    }

    /// Brings the datapath to what the verdicts ask for at this moment.
    pub(super) async fn adjust(&mut self) {
        let now = Instant::now();
        let (effective, targets) = {
            let mut supervisor = lock(&self.status.health.supervisor);
            let effective = supervisor.effective(now);
            self.next_step = supervisor.poll_timeout(now);
            (effective, supervisor.model().targets())
        };
        let mut outcome = self.install(&effective, targets.clone()).await;
        if let Err(RunError::Engine(EngineError::Plan(PlanError::SchedulerSlots { .. }))) = outcome {
            warn!("no room for the finer weights of a slow start: it is skipped");
            outcome = self.install(&at_once(effective), targets).await;
        }
        if let Err(error) = outcome {
            error!(%error, "verdicts of health checks could not be applied; the next change tries again");
        }
        self.tell();
    }

    /// Tells operators what happened.
    fn tell(&self) {
        let mut quorums = false;
        let mut supervisor = lock(&self.status.health.supervisor);
        while let Some(event) = supervisor.poll_event() {
            log(&event);
            self.notify(&supervisor, &event);
            quorums |= matches!(event, HealthEvent::Quorum { .. });
        }
        drop(supervisor);
        if quorums {
            self.tell_quorums();
        }
    }

    fn notify(&self, supervisor: &Supervisor, event: &HealthEvent) {
        let (HealthEvent::Server { service: key, .. } | HealthEvent::Quorum { service: key, .. }) = event
        else {
            return;
        };
        let (Some(service), Some(state)) = (supervisor.configured(key), supervisor.service(key)) else {
            return;
        };
        let service_name = service.name.as_str().into();
        let (change, program) = match event {
            HealthEvent::Server { server, up, reason, .. } => {
                let configured = service.real_servers.iter().find(|known| server_key(known) == *server);
                let health = state.servers.get(server);
                let weight = configured.zip(health).map_or(0, |(server, health)| health.weight(server));
                let programs = configured.map(|server| &server.health);
                let program = programs.and_then(|health| {
                    if *up { health.notify_up.as_ref() } else { health.notify_down.as_ref() }
                });
                let change = Change::RealServer(RealServerChange {
                    service: *key,
                    service_name,
                    real_server: socket_address(*server),
                    state: State::from(*up),
                    weight,
                    reason: reason.clone(),
                });
                (change, program)
            }
            HealthEvent::Quorum { up, .. } => {
                let live = state.servers.values().filter(|server| server.is_up()).count();
                let health = &service.health;
                let program = if *up { health.quorum_up.as_ref() } else { health.quorum_down.as_ref() };
                let change = Change::Service(ServiceChange {
                    service: *key,
                    service_name,
                    state: State::from(*up),
                    live: u32::try_from(live).unwrap_or(u32::MAX),
                    total: u32::try_from(state.servers.len()).unwrap_or(u32::MAX),
                });
                (change, program)
            }
            HealthEvent::Panic { .. } => return,
        };
        let event = Event::now(change);
        if let Some(program) = program {
            self.status.notifier.program(&event, program);
        }
        self.status.notifier.notify(event);
    }

    /// The end: what is up goes down where the configuration says so, and everything that is to be told is told.
    pub(super) async fn farewell(&self) {
        lock(&self.status.health.supervisor).end();
        self.tell();
        if !self.status.notifier.flush(FAREWELL).await {
            warn!("not every notification could be delivered before the end");
        }
    }

    /// Lets checks rest whose virtual address is not here, and the others run.
    pub(super) async fn suspend(&self) {
        let wanted: Vec<ServiceKey> = lock(&self.status.health.supervisor)
            .model()
            .services
            .iter()
            .filter(|service| service.health.ha_suspend)
            .map(|service| service.key)
            .collect();
        let mut resting = BTreeSet::new();
        if !wanted.is_empty() {
            let Ok(addresses) = self.handle.local_addresses().await else { return };
            let own: BTreeSet<IpAddr> = addresses.iter().map(|address| address.address).collect();
            resting.extend(wanted.into_iter().filter(|key| !own.contains(&key.address)));
        }
        self.status.health.runner.suspend(resting);
    }
}

/// The director's name in messages.
pub(super) fn router(model: &Model) -> String {
    model.settings.router_id.clone().unwrap_or_else(|| {
        nix::unistd::gethostname()
            .ok()
            .and_then(|name| name.into_string().ok())
            .unwrap_or_else(|| "lvx".to_owned())
    })
}

/// The model without slow starts.
fn at_once(mut model: Model) -> Model {
    for server in model.services.iter_mut().flat_map(|service| &mut service.real_servers) {
        server.share = FULL_SHARE;
    }
    model
}

fn log(event: &HealthEvent) {
    match event {
        HealthEvent::Server { service, server, up: true, .. } => {
            info!(%service, real_server = %socket_address(*server), "real server is up");
        }
        HealthEvent::Server { service, server, reason, .. } => {
            let reason = reason.as_deref().unwrap_or_default();
            warn!(%service, real_server = %socket_address(*server), reason, "real server is down");
        }
        HealthEvent::Quorum { service, up: true, live_weight } => {
            info!(%service, live_weight, "quorum gained");
        }
        HealthEvent::Quorum { service, live_weight, .. } => warn!(%service, live_weight, "quorum lost"),
        HealthEvent::Panic { service, on: true, failed, checked } => {
            error!(
                %service, failed, checked,
                "too many real servers failed at once: the failures are disbelieved and all of them serve (panic_threshold)"
            );
        }
        HealthEvent::Panic { service, failed, checked, .. } => {
            warn!(%service, failed, checked, "failures are believed again");
        }
    }
}
