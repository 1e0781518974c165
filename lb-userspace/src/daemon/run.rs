//! `lvx run`: from the configuration file to forwarding, until a signal ends it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use super::engine::{Engine, EngineError};
use super::health::{Health, router};
use super::status::{Past, RATE_INTERVAL, Status, lock};
use super::sweeper::{Fill, Order, sweep, timeout_table};
use super::tracker::Tracker;
use crate::config::{self, ConfigErrors};
use crate::control::rates::RateMeter;
use crate::control::{self, StatusSource};
use crate::datapath::Sizes;
use crate::health::{Runner, ServerKey};
use crate::metrics;
use crate::model::{Model, ServiceKey, StatePrograms};
use crate::nexthop::{self, WatchError, Watcher};
use crate::notify::{Notifier, NotifyError};
use crate::vrrp::io::Speaker;

/// Why the daemon did not start, or ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration is wrong.
    #[error("{0}")]
    Config(#[from] ConfigErrors),
    /// The datapath could not be set up.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The kernel's netlink interface failed.
    #[error("next hops cannot be followed: {0}")]
    NextHops(#[from] WatchError),
    /// The task that follows next hops ended by itself.
    #[error("next hops are no longer followed")]
    Watcher,
    /// The thread of the health checks ended by itself.
    #[error("health checks are no longer run")]
    Checks,
    /// The control socket is not to be had.
    #[error(transparent)]
    Control(#[from] control::BindError),
    /// The metrics address is not to be had.
    #[error("global.metrics: {address}: {source}")]
    Metrics {
        /// Address of the configuration.
        address: SocketAddr,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A way to tell changes of state cannot be used.
    #[error("notify: {0}")]
    Notify(#[from] NotifyError),
    /// Something of the process itself.
    #[error("{what}: {source}")]
    Process {
        /// What failed.
        what: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
}

fn process(what: &'static str) -> impl Fn(io::Error) -> RunError {
    move |source| RunError::Process { what, source }
}

/// Runs the director until SIGTERM or SIGINT; SIGHUP reads the configuration again.
///
/// # Errors
///
/// [`RunError`]; whatever was attached is detached.
pub async fn run(path: &Path, model: Model) -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(process("signals"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(process("signals"))?;
    let mut hangup = signal(SignalKind::hangup()).map_err(process("signals"))?;

    let sizes = Sizes::new(&model.settings.limits, seed().map_err(process("random numbers"))?);
    let (told, mut verdicts) = mpsc::unbounded_channel();
    let runner = Runner::start(told).map_err(process("the thread of the health checks"))?;
    let notifier = Notifier::new(&model.notifications, &router(&model))?;
    let health = Health::new(&model, runner);
    let engine = Engine::load(&sizes)?;
    let (told, mut vrrp_changes) = mpsc::unbounded_channel();
    let duty = Box::new(engine.duty());
    let speaker =
        Speaker::start(duty, told, std::env::current_exe().ok()).map_err(process("the thread of VRRP"))?;
    let status = Arc::new(Status::new(engine, health, notifier, speaker, &model));
    print_memory(&status);
    let (handle, mut changes) = Watcher::spawn(nexthop::Settings::default()).await?;
    let (orders, freed) = start_sweeper(&status);
    let mut freed = freed;

    let mut daemon = Daemon {
        status: Arc::clone(&status),
        handle,
        orders,
        model,
        next_step: None,
        targets: BTreeSet::new(),
        failed: BTreeMap::new(),
        tracker: Tracker::default(),
        programs: BTreeMap::new(),
    };
    daemon.warn_about_foreign_addresses().await;
    let (stop, stopped) = watch::channel(false);
    let mut servers = daemon.start_servers(&stopped).await?;
    let first = daemon.model.clone();
    daemon.configure(&first).await?;
    info!(services = first.services.len(), real_servers = first.real_server_count(), "forwarding");

    let mut rates = tokio::time::interval(RATE_INTERVAL);
    let mut addresses = tokio::time::interval(ADDRESS_INTERVAL);
    let mut batch_of_verdicts = Vec::new();
    let outcome = loop {
        tokio::select! {
            _ = terminate.recv() => break Ok(()),
            _ = interrupt.recv() => break Ok(()),
            () = received(&mut hangup) => daemon.reload(path).await,
            batch = changes.recv() => match batch {
                Some(batch) => lock(&status.engine).resolve(batch),
                None => break Err(RunError::Watcher),
            },
            Some(slots) = freed.recv() => lock(&status.engine).free_slots(slots),
            count = verdicts.recv_many(&mut batch_of_verdicts, VERDICTS_AT_ONCE) => {
                if count == 0 {
                    break Err(RunError::Checks);
                }
                daemon.judge(std::mem::take(&mut batch_of_verdicts)).await;
            }
            () = at(daemon.next_step) => daemon.adjust().await,
            Some(change) = vrrp_changes.recv() => daemon.vrrp_changed(change).await,
            _ = addresses.tick() => daemon.suspend().await,
            _ = rates.tick() => {
                status.measure_rates();
                daemon.observe().await;
            }
            Some(ended) = servers.join_next() => {
                if let Ok(Err(error)) = ended {
                    break Err(error);
                }
            }
        }
    };
    info!("stopping");
    // The receivers may be gone with their servers.
    let _ = stop.send(true);
    daemon.end_vrrp().await;
    while let Ok(change) = vrrp_changes.try_recv() {
        daemon.vrrp_changed(change).await;
    }
    lock(&status.engine).detach_all();
    daemon.farewell().await;
    outcome
}

/// How often the host's addresses are looked at for `ha_suspend`.
const ADDRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Verdicts that are applied together.
const VERDICTS_AT_ONCE: usize = 4096;

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

async fn received(signal: &mut Signal) {
    signal.recv().await;
}

/// The secret of the flow hash.
fn seed() -> io::Result<u64> {
    let mut bytes = [0u8; 8];
    // SAFETY: the buffer is valid for its length.
    let read = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if read == bytes.len() as isize { Ok(u64::from_ne_bytes(bytes)) } else { Err(io::Error::last_os_error()) }
}

fn print_memory(status: &Status) {
    let tables = status.snapshot().tables;
    for table in &tables {
        info!(table = table.name, capacity = table.capacity, kib = table.bytes / 1024, "table");
    }
    let total: u64 = tables.iter().map(|table| table.bytes).sum();
    info!(mib = total >> 20, "memory of all tables, whether used or not");
}

fn start_sweeper(
    status: &Arc<Status>,
) -> (Sender<Order>, mpsc::UnboundedReceiver<std::collections::BTreeSet<u32>>) {
    let (orders, received) = channel();
    let (freed, slots) = mpsc::unbounded_channel();
    let status = Arc::clone(status);
    std::thread::spawn(move || {
        sweep(&status.tables, &status.fill, &status.timeouts, &received, |free| {
            // The daemon is ending when nobody listens.
            let _ = freed.send(free);
        });
    });
    (orders, slots)
}

impl Status {
    fn new(engine: Engine, health: Health, notifier: Notifier, speaker: Speaker, model: &Model) -> Self {
        Self {
            health,
            notifier,
            speaker: Arc::new(speaker),
            tables: engine.tables(),
            engine: Mutex::new(engine),
            fill: Fill::default(),
            timeouts: Mutex::new(timeout_table(&model.settings.timeouts)),
            rates: Mutex::new(RateMeter::new()),
            past: Mutex::new(Past::default()),
            started: Instant::now(),
        }
    }
}

pub(super) struct Daemon {
    pub(super) status: Arc<Status>,
    pub(super) handle: nexthop::Handle,
    orders: Sender<Order>,
    model: Model,
    /// When a slow start takes its next step.
    pub(super) next_step: Option<Instant>,
    targets: BTreeSet<IpAddr>,
    /// Failed connections of clients, as last seen.
    pub(super) failed: BTreeMap<(ServiceKey, ServerKey), u64>,
    pub(super) tracker: Tracker,
    /// Programs for changes of state, by whether it is a sync group, and name.
    pub(super) programs: BTreeMap<(bool, String), StatePrograms>,
}

impl Daemon {
    /// Binds the control socket and the metrics address and serves them.
    async fn start_servers(
        &self,
        stopped: &watch::Receiver<bool>,
    ) -> Result<tokio::task::JoinSet<Result<(), RunError>>, RunError> {
        let mut servers = tokio::task::JoinSet::new();
        let settings = &self.model.settings;
        let source: Arc<dyn StatusSource> = Arc::clone(&self.status) as Arc<dyn StatusSource>;
        if let Some(address) = settings.metrics {
            let listener = tokio::net::TcpListener::bind(address)
                .await
                .map_err(|source| RunError::Metrics { address, source })?;
            let (source, stop) = (Arc::clone(&source), until(stopped.clone()));
            servers.spawn(async move {
                metrics::serve(listener, source, stop).await;
                Ok(())
            });
        }
        let (socket, stop) = (settings.control_socket.clone(), until(stopped.clone()));
        servers.spawn(async move { Ok(control::server::serve(&socket, source, stop).await?) });
        Ok(servers)
    }

    /// Installs a model and follows the next hops of `targets`.
    pub(super) async fn install(&mut self, model: &Model, targets: BTreeSet<IpAddr>) -> Result<(), RunError> {
        let retired = {
            let mut engine = lock(&self.status.engine);
            let before = engine.installed.services.clone();
            engine.install(model, &targets)?;
            lock(&self.status.past).keep(&self.status.tables, &before, &engine.installed.services);
            engine.installed.retired_slots().clone()
        };
        if !retired.is_empty() {
            // The sweeper lives as long as this sender.
            let _ = self.orders.send(Order::Retired(retired));
        }
        if self.targets != targets {
            self.handle.set_targets(targets.clone()).await?;
            self.targets = targets;
        }
        Ok(())
    }

    async fn reload(&mut self, path: &Path) {
        let started = Instant::now();
        let model = match config::load(path) {
            Ok(model) => model,
            Err(errors) => {
                error!("reload refused, nothing changed:\n{errors}");
                return;
            }
        };
        if model.settings.limits != self.model.settings.limits
            || model.settings.control_socket != self.model.settings.control_socket
            || model.settings.metrics != self.model.settings.metrics
            || model.settings.log != self.model.settings.log
        {
            warn!("changes of [global] and [limits] take effect at the next start");
        }
        if let Err(error) = self.configure(&model).await {
            error!(%error, "reload refused, the services are as before");
            return;
        }
        if model.settings.timeouts != self.model.settings.timeouts {
            // The sweeper lives as long as this sender.
            let _ = self.orders.send(Order::Timeouts(model.settings.timeouts.clone()));
        }
        info!(
            services = model.services.len(),
            real_servers = model.real_server_count(),
            milliseconds = started.elapsed().as_millis() as u64,
            "reloaded"
        );
        self.model = model;
        self.warn_about_foreign_addresses().await;
    }

    /// A virtual address that is on no interface gets no ARP answers: the mistake that everybody makes once.
    async fn warn_about_foreign_addresses(&self) {
        let Ok(addresses) = self.handle.local_addresses().await else { return };
        let own: Vec<IpAddr> = addresses.iter().map(|address| address.address).collect();
        let mut missing: Vec<IpAddr> = self
            .model
            .services
            .iter()
            .map(|service| service.key.address)
            .filter(|address| !own.contains(address) && self.model.vrrp.carrier(*address).is_none())
            .collect();
        missing.sort_unstable();
        missing.dedup();
        for address in missing {
            warn!(%address, "virtual address is on no interface of this host: nobody answers ARP or neighbour discovery for it");
        }
    }
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, which ends the daemon as well.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
