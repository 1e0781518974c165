//! Runs the checks: one task each, all on one thread of their own, so that neither a slow map update nor a slow script
//! delays the others.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep_until, timeout};

use super::through::{CheckNetwork, Target};
use super::{
    CheckChange, CheckMachine, CheckRecord, CheckVerdict, Failure, FailureReason, Origin, Outcome, Probe,
    ServerHealth, ServerKey, Supervisor, Through, checker, server_key, socket_address,
};
use crate::model::{Check, CheckKind, ServiceKey};
use crate::process;

/// For the program's end to be seen.
const SLACK: Duration = Duration::from_millis(200);

/// Which check of which real server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CheckId {
    /// Service.
    pub service: ServiceKey,
    /// Real server.
    pub server: ServerKey,
    /// Place in the configuration of the real server.
    pub index: usize,
}

/// A check that is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Job {
    id: CheckId,
    check: Check,
    weight: u32,
    passing: bool,
    falls: u32,
}

impl Job {
    /// Whether a running task may go on.
    fn same(&self, other: &Self) -> bool {
        self.id == other.id
            && self.check == other.check
            && self.weight == other.weight
            && self.falls == other.falls
    }
}

type Records = Mutex<BTreeMap<CheckId, Arc<Mutex<CheckRecord>>>>;

/// The thread that runs the checks. Dropping it ends them.
#[derive(Debug)]
pub struct Runner {
    jobs: mpsc::UnboundedSender<Vec<Job>>,
    suspended: watch::Sender<BTreeSet<ServiceKey>>,
    records: Arc<Records>,
    network: Arc<Mutex<Option<Arc<CheckNetwork>>>>,
}

fn lock<V>(mutex: &Mutex<V>) -> MutexGuard<'_, V> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Runner {
    /// Starts the thread; changes of verdicts arrive at `changes`.
    ///
    /// # Errors
    ///
    /// Where the thread or its event loop cannot be made.
    pub fn start(changes: mpsc::UnboundedSender<CheckChange>) -> io::Result<Self> {
        let (jobs, mut received) = mpsc::unbounded_channel::<Vec<Job>>();
        let (suspended, watched) = watch::channel(BTreeSet::new());
        let records = Arc::new(Records::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shared = Arc::clone(&records);
        let network = Arc::default();
        let ways = Arc::clone(&network);
        std::thread::Builder::new().name("lvx-health".to_owned()).spawn(move || {
            runtime.block_on(async move {
                let mut tasks: BTreeMap<CheckId, (Job, AbortHandle)> = BTreeMap::new();
                while let Some(wanted) = received.recv().await {
                    replace(&mut tasks, wanted, &changes, &watched, &shared, &ways);
                }
            });
        })?;
        Ok(Self { jobs, suspended, records, network })
    }

    /// Runs the checks of a supervisor's model; those that are the same as before go on undisturbed. `network` is there for
    /// those that go through the datapath.
    pub fn follow(&self, supervisor: &Supervisor, network: Option<Arc<CheckNetwork>>) {
        *lock(&self.network) = network;
        self.restart(supervisor);
    }

    /// Begins the checks anew that are not as before.
    pub fn restart(&self, supervisor: &Supervisor) {
        let mut jobs = Vec::new();
        for service in &supervisor.model().services {
            let state = supervisor.service(&service.key);
            for server in &service.real_servers {
                let key = server_key(server);
                let health = state.and_then(|state| state.servers.get(&key));
                for (index, check) in server.health.checks.iter().enumerate() {
                    let verdict = health.and_then(|health| health.checks.get(index));
                    jobs.push(Job {
                        id: CheckId { service: service.key, server: key, index },
                        check: check.clone(),
                        weight: server.weight,
                        passing: verdict.is_none_or(|verdict| verdict.passing),
                        falls: health.map_or(0, ServerHealth::falls),
                    });
                }
            }
        }
        // The thread lives as long as this sender.
        let _ = self.jobs.send(jobs);
    }

    /// Lets the checks of these services rest, and those of all others run.
    pub fn suspend(&self, services: BTreeSet<ServiceKey>) {
        self.suspended.send_if_modified(|current| {
            let modified = *current != services;
            *current = services;
            modified
        });
    }

    /// Services whose checks rest.
    #[must_use]
    pub fn suspended(&self) -> BTreeSet<ServiceKey> {
        self.suspended.borrow().clone()
    }

    /// What the runs of a check have brought.
    #[must_use]
    pub fn record(&self, id: &CheckId) -> CheckRecord {
        let record = lock(&self.records).get(id).cloned();
        record.map(|record| lock(&record).clone()).unwrap_or_default()
    }
}

fn replace(
    tasks: &mut BTreeMap<CheckId, (Job, AbortHandle)>,
    wanted: Vec<Job>,
    changes: &mpsc::UnboundedSender<CheckChange>,
    suspended: &watch::Receiver<BTreeSet<ServiceKey>>,
    records: &Records,
    network: &Arc<Mutex<Option<Arc<CheckNetwork>>>>,
) {
    let mut before = std::mem::take(tasks);
    let mut records = lock(records);
    let mut old_records = std::mem::take(&mut *records);
    for job in wanted {
        let record = old_records.remove(&job.id).unwrap_or_default();
        records.insert(job.id, Arc::clone(&record));
        if let Some((old, task)) = before.remove(&job.id) {
            if old.same(&job) {
                tasks.insert(job.id, (job, task));
                continue;
            }
            task.abort();
        }
        let task = Task {
            job: job.clone(),
            changes: changes.clone(),
            suspended: suspended.clone(),
            record,
            network: Arc::clone(network),
        };
        tasks.insert(job.id, (job, tokio::spawn(task.run()).abort_handle()));
    }
    for (_, task) in before.into_values() {
        task.abort();
    }
}

struct Task {
    job: Job,
    changes: mpsc::UnboundedSender<CheckChange>,
    suspended: watch::Receiver<BTreeSet<ServiceKey>>,
    record: Arc<Mutex<CheckRecord>>,
    network: Arc<Mutex<Option<Arc<CheckNetwork>>>>,
}

impl Task {
    async fn run(mut self) {
        let service = self.job.id.service;
        let policy = self.job.check.policy.clone();
        let mut machine = CheckMachine::new(policy, self.job.passing, Instant::now(), spread(&self.job.id));
        let mut probe = self.probe();
        let mut told = None;
        loop {
            // An error means that the daemon is ending.
            if self.suspended.wait_for(|resting| !resting.contains(&service)).await.is_err() {
                return;
            }
            let Some(next) = machine.poll_timeout() else { return };
            tokio::select! {
                () = sleep_until(next.into()) => {}
                _ = self.suspended.changed() => continue,
            }
            let began = Instant::now();
            machine.begin(began);
            probe.through = self.through();
            let outcome = tokio::select! {
                outcome = bounded(&self.job.check, &probe) => outcome,
                _ = self.suspended.wait_for(|resting| resting.contains(&service)) => {
                    machine.abandon(Instant::now());
                    continue;
                }
            };
            let ended = Instant::now();
            let weight = outcome.as_ref().ok().and_then(|pass| pass.weight);
            let turned = machine.finish(ended, outcome.is_ok());
            let failure = outcome.as_ref().err().cloned();
            lock(&self.record).add(ended, ended - began, outcome);
            let changed = if failure.is_none() && machine.passing() { weight != told } else { false };
            if turned.is_none() && !changed {
                continue;
            }
            told = if machine.passing() { weight } else { None };
            let verdict = CheckVerdict { passing: machine.passing(), weight: told, failure };
            let change = CheckChange {
                service,
                server: self.job.id.server,
                index: self.job.id.index,
                check: self.job.check.clone(),
                verdict,
            };
            if self.changes.send(change).is_err() {
                return;
            }
        }
    }

    /// The way of a check through the datapath.
    fn through(&self) -> Option<Through> {
        let CheckId { service, server, .. } = self.job.id;
        let target = &self.job.check.target;
        if !target.through_datapath {
            return None;
        }
        let network = lock(&self.network).clone()?;
        let port = target.port.unwrap_or(service.port);
        let virtual_address = SocketAddr::new(service.address, port);
        Some(Through { network, target: Target { service, server, virtual_address, source: target.source } })
    }

    fn probe(&self) -> Probe {
        let target = &self.job.check.target;
        let (address, port) = self.job.id.server;
        Probe {
            endpoint: SocketAddr::new(target.address.unwrap_or(address), target.port.unwrap_or(port)),
            origin: Origin { source: target.source, interface: target.interface.clone(), mark: target.mark },
            timeout: self.job.check.policy.timeout,
            through: None,
            service: self.job.id.service,
            real_server: socket_address(self.job.id.server),
            weight: self.job.weight,
        }
    }
}

/// One run of a check, with its bound; a run that panics has failed.
pub(crate) async fn bounded(check: &Check, probe: &Probe) -> Outcome {
    if check.target.through_datapath && probe.through.is_none() {
        return Err(Failure::new(
            FailureReason::Local,
            "the datapath is not prepared for checks; the log tells why",
        ));
    }
    // A script has time to end by itself after SIGTERM.
    let grace = if let CheckKind::Script(_) = check.kind { process::GRACE + SLACK } else { Duration::ZERO };
    match timeout(probe.timeout + grace, Caught(Box::pin(checker::run(&check.kind, probe)))).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::new(
            FailureReason::Timeout,
            format!("no complete answer within {:?}", probe.timeout),
        )),
    }
}

/// A run whose panic is a failure: a check that is never heard of again would be worse.
struct Caught<F>(Pin<Box<F>>);

impl<F: Future<Output = Outcome>> Future for Caught<F> {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        // A run that panicked is not polled again.
        let polled = catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(context)));
        polled.unwrap_or_else(|_| {
            let detail = "the checker failed by a defect of LVX; its message is in the log";
            Poll::Ready(Err(Failure::new(FailureReason::Local, detail)))
        })
    }
}

/// Where in the warm-up a check begins: anywhere, but always there.
fn spread(id: &CheckId) -> f64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    (hasher.finish() >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_checker_that_panics_has_failed() {
        let outcome = Caught(Box::pin(async {
            tokio::task::yield_now().await;
            panic!("on purpose")
        }));
        let failure = outcome.await.unwrap_err();
        assert_eq!(failure.reason, FailureReason::Local);
    }

    #[test]
    fn checks_are_spread_over_their_warm_up() {
        let service = ServiceKey {
            protocol: crate::model::Protocol::Tcp,
            address: std::net::IpAddr::from([192, 0, 2, 1]),
            port: 80,
        };
        let mut tenths = [0; 10];
        for number in 0..1000_u16 {
            let [high, low] = number.to_be_bytes();
            let server = (std::net::IpAddr::from([10, 0, high, low]), 80);
            let part = spread(&CheckId { service, server, index: 0 });
            tenths[(part * 10.0) as usize] += 1;
        }
        assert!(tenths.iter().all(|count| (60..=140).contains(count)), "{tenths:?}");
    }
}
