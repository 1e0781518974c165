//! Programs that are told about changes: `notify_up`, `notify_down`, `quorum_up`, `quorum_down`.
//!
//! As in keepalived they get the arguments of the configuration and nothing else; the details are in the environment:
//!
//! | variable | |
//! |---|---|
//! | `LVX_EVENT` | `real_server_up`, `real_server_down`, `service_up`, `service_down`, `vrrp_active`, `vrrp_backup`, `vrrp_fault`, `vrrp_stop` |
//! | `LVX_STATE` | `up`, `down`; of VRRP `active`, `backup`, `fault`, `stop` |
//! | `LVX_ROUTER`, `LVX_TIME` | name of the director; RFC 3339, UTC |
//! | `LVX_SERVICE`, `LVX_SERVICE_ADDRESS`, `LVX_SERVICE_PORT`, `LVX_PROTOCOL` | the virtual service |
//! | `LVX_REAL_SERVER_ADDRESS`, `LVX_REAL_SERVER_PORT`, `LVX_WEIGHT`, `LVX_REASON` | events of real servers |
//! | `LVX_LIVE`, `LVX_TOTAL` | events of services |
//! | `LVX_VRRP_KIND` (`instance`, `group`), `LVX_VRRP_NAME`, `LVX_PRIORITY`, `LVX_REASON` | events of VRRP |
//!
//! `LVX_REASON` may quote what a real server sent: a script must not let a shell interpret it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{AbortHandle, Id, JoinSet};

use super::event::{Change, Event, Subject, one_line};
use super::outbox::{Activity, CAPACITY, Pending, Tally, lock};
use crate::model::Program;
use crate::process::{self, Leftovers, RunError, Spec};

/// Programs that run at the same time.
const MOST_AT_ONCE: usize = 16;
/// Longest time that a program runs.
pub(super) const TIME_LIMIT: Duration = Duration::from_secs(60);
/// How much of what it writes is kept for the log.
const OUTPUT_LIMIT: usize = 1024;
/// Most characters of a reason in the environment.
const REASON_LENGTH: usize = 500;

/// Starts programs: at most sixteen at once, and those for the same real server or service one after the other, in the
/// order of their events.
#[derive(Debug)]
pub(super) struct Programs {
    queue: Arc<Queue>,
    dispatcher: AbortHandle,
}

#[derive(Debug)]
struct Queue {
    waiting: Mutex<VecDeque<Job>>,
    ready: Notify,
    tally: Arc<Tally>,
    activity: Arc<Activity>,
    limit: Duration,
}

#[derive(Debug)]
struct Job {
    subject: Subject,
    program: Program,
    event: &'static str,
    environment: Vec<(String, String)>,
    _pending: Pending,
}

impl Programs {
    /// Has to be called in a tokio runtime.
    pub(super) fn new(tally: Arc<Tally>, activity: Arc<Activity>, limit: Duration) -> Self {
        let waiting = Mutex::default();
        let queue = Arc::new(Queue { waiting, ready: Notify::new(), tally, activity, limit });
        let dispatcher = tokio::spawn(dispatch(Arc::clone(&queue))).abort_handle();
        Self { queue, dispatcher }
    }

    /// Has the program run. In a full queue the oldest run for the same subject makes room, or the oldest of all: what
    /// is newest says most about the present.
    pub(super) fn push(&self, event: &Event, router: &str, program: &Program) {
        let job = Job {
            subject: event.subject(),
            program: program.clone(),
            event: event.name(),
            environment: environment(event, router),
            _pending: self.queue.activity.begin(),
        };
        let mut waiting = lock(&self.queue.waiting);
        if waiting.len() >= CAPACITY {
            let victim = waiting.iter().position(|other| other.subject == job.subject);
            waiting.remove(victim.unwrap_or(0));
            Tally::add(&self.queue.tally.dropped, 1);
        }
        waiting.push_back(job);
        drop(waiting);
        self.queue.ready.notify_one();
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        self.dispatcher.abort();
    }
}

/// Runs what waits. Dropped, it kills the programs under way.
async fn dispatch(queue: Arc<Queue>) {
    let mut running: JoinSet<()> = JoinSet::new();
    let mut subjects: HashMap<Id, Subject> = HashMap::new();
    let mut busy: HashSet<Subject> = HashSet::new();
    loop {
        while running.len() < MOST_AT_ONCE {
            let Some(job) = take(&mut lock(&queue.waiting), &busy) else { break };
            let subject = job.subject.clone();
            let task = running.spawn(run(job, Arc::clone(&queue.tally), queue.limit));
            busy.insert(subject.clone());
            subjects.insert(task.id(), subject);
        }
        tokio::select! {
            () = queue.ready.notified() => {}
            Some(ended) = running.join_next_with_id() => {
                let id = match ended {
                    Ok((id, ())) => id,
                    Err(error) => error.id(),
                };
                if let Some(subject) = subjects.remove(&id) {
                    busy.remove(&subject);
                }
            }
        }
    }
}

/// The oldest job whose subject has no program running.
fn take(waiting: &mut VecDeque<Job>, busy: &HashSet<Subject>) -> Option<Job> {
    let index = waiting.iter().position(|job| !busy.contains(&job.subject))?;
    waiting.remove(index)
}

async fn run(job: Job, tally: Arc<Tally>, limit: Duration) {
    let spec = Spec {
        command: &job.program.command,
        user: job.program.user.as_deref(),
        environment: job.environment.clone(),
        output_limit: OUTPUT_LIMIT,
        // A script may start what takes long in the background, exactly so as not to be killed.
        leftovers: Leftovers::Leave,
    };
    let name = job.program.command.first().map_or("", String::as_str);
    let result = process::run_within(spec, limit).await;
    let (counter, output): (&AtomicU64, _) = match result {
        Ok(finished) if finished.status.success() => (&tally.sent, finished.output),
        Ok(finished) => {
            tracing::warn!("{name} for {}: {}", job.event, finished.status);
            (&tally.failed, finished.output)
        }
        Err(error) => {
            tracing::warn!("{name} for {}: {error}", job.event);
            let output = if let RunError::Timeout { output, .. } = error { output } else { Vec::new() };
            (&tally.failed, output)
        }
    };
    if !output.is_empty() {
        let said = String::from_utf8_lossy(&output);
        tracing::info!("{name} for {} wrote {:?}", job.event, said.trim_end());
    }
    counter.fetch_add(1, Ordering::Relaxed);
}

fn environment(event: &Event, router: &str) -> Vec<(String, String)> {
    let mut variables = vec![
        ("LVX_EVENT", event.name().to_owned()),
        ("LVX_ROUTER", one_line(router, REASON_LENGTH)),
        ("LVX_TIME", event.time_text()),
    ];
    let (service, name, state) = match &event.change {
        Change::RealServer(change) => {
            variables.extend([
                ("LVX_REAL_SERVER_ADDRESS", change.real_server.ip().to_string()),
                ("LVX_REAL_SERVER_PORT", change.real_server.port().to_string()),
                ("LVX_WEIGHT", change.weight.to_string()),
                ("LVX_REASON", one_line(change.reason.as_deref().unwrap_or(""), REASON_LENGTH)),
            ]);
            (change.service, &change.service_name, change.state)
        }
        Change::Service(change) => {
            variables
                .extend([("LVX_LIVE", change.live.to_string()), ("LVX_TOTAL", change.total.to_string())]);
            (change.service, &change.service_name, change.state)
        }
        Change::Vrrp(change) => {
            variables.extend([
                ("LVX_STATE", change.state_name().to_owned()),
                ("LVX_VRRP_KIND", change.kind().to_lowercase()),
                ("LVX_VRRP_NAME", one_line(&change.name, REASON_LENGTH)),
                ("LVX_PRIORITY", change.priority.to_string()),
                ("LVX_REASON", one_line(change.reason.as_deref().unwrap_or(""), REASON_LENGTH)),
            ]);
            return owned(variables);
        }
    };
    variables.extend([
        ("LVX_STATE", state.lower().to_owned()),
        ("LVX_SERVICE", one_line(name, REASON_LENGTH)),
        ("LVX_SERVICE_ADDRESS", service.address.to_string()),
        ("LVX_SERVICE_PORT", service.port.to_string()),
        ("LVX_PROTOCOL", service.protocol.to_string()),
    ]);
    owned(variables)
}

fn owned(variables: Vec<(&str, String)>) -> Vec<(String, String)> {
    variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::event::State;
    use super::super::event::tests::{real_server, service};
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn shell(text: &str) -> Program {
        Program { command: ["/bin/sh", "-c", text].map(str::to_owned).to_vec(), user: None }
    }

    struct Fixture {
        programs: Programs,
        activity: Arc<Activity>,
        tally: Arc<Tally>,
    }

    fn fixture(limit: Duration) -> Fixture {
        let (tally, activity) = <(Arc<Tally>, Arc<Activity>)>::default();
        let programs = Programs::new(Arc::clone(&tally), Arc::clone(&activity), limit);
        Fixture { programs, activity, tally }
    }

    fn counts(tally: &Tally) -> [u64; 3] {
        [&tally.sent, &tally.failed, &tally.dropped].map(|counter| counter.load(Ordering::Relaxed))
    }

    fn at(number: u16) -> Event {
        let mut event = real_server(State::Down);
        if let Change::RealServer(change) = &mut event.change {
            change.real_server.set_port(number);
        }
        event
    }

    #[tokio::test]
    async fn environment_tells_the_details() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("env");
        let program = shell(&format!("env | grep ^LVX | sort > {}", file.display()));
        let fixture = fixture(PATIENCE);
        fixture.programs.push(&real_server(State::Down), "lb1", &program);
        assert!(fixture.activity.finished(PATIENCE).await);
        assert_eq!(
            fs::read_to_string(&file).unwrap(),
            "LVX_EVENT=real_server_down\nLVX_PROTOCOL=tcp\nLVX_REAL_SERVER_ADDRESS=1.2.3.4\n\
             LVX_REAL_SERVER_PORT=80\nLVX_REASON=tcp: refused: connect: refused\nLVX_ROUTER=lb1\n\
             LVX_SERVICE=web\nLVX_SERVICE_ADDRESS=192.168.201.15\nLVX_SERVICE_PORT=80\nLVX_STATE=down\n\
             LVX_TIME=2027-01-15T08:00:00.123Z\nLVX_WEIGHT=3\n"
        );
        fixture.programs.push(&service(State::Up), "lb1", &program);
        assert!(fixture.activity.finished(PATIENCE).await);
        let said = fs::read_to_string(&file).unwrap();
        assert!(said.contains("LVX_EVENT=service_up\n") && said.contains("LVX_LIVE=1\n"), "{said}");
        assert_eq!(counts(&fixture.tally), [2, 0, 0]);
    }

    #[tokio::test]
    async fn programs_of_one_subject_keep_their_order_and_others_do_not_wait() {
        let folder = tempfile::tempdir().unwrap();
        let (file, gate) = (folder.path().join("order"), folder.path().join("gate"));
        let (path, wait) = (file.display(), gate.display());
        let fixture = fixture(PATIENCE);
        let slow = format!("while [ ! -e {wait} ]; do sleep 0.05; done; echo down >> {path}");
        fixture.programs.push(&at(1), "", &shell(&slow));
        fixture.programs.push(&at(1), "", &shell(&format!("echo up >> {path}")));
        fixture.programs.push(&at(2), "", &shell(&format!("touch {wait}")));
        assert!(fixture.activity.finished(PATIENCE).await);
        assert_eq!(fs::read_to_string(&file).unwrap(), "down\nup\n");
    }

    #[tokio::test]
    async fn a_full_queue_drops_the_oldest_run_of_the_same_subject() {
        let folder = tempfile::tempdir().unwrap();
        let (file, gate) = (folder.path().join("runs"), folder.path().join("gate"));
        let (path, wait) = (file.display(), gate.display());
        let fixture = fixture(Duration::from_secs(300));
        let slow = shell(&format!("while [ ! -e {wait} ]; do sleep 0.05; done"));
        for number in 0..16 {
            fixture.programs.push(&at(number), "", &slow);
        }
        // Until the dispatcher has taken them.
        while !lock(&fixture.programs.queue.waiting).is_empty() {
            tokio::task::yield_now().await;
        }
        for number in 0..1024 {
            let text = format!("echo {number} >> {path}");
            fixture.programs.push(&at(if number % 2 == 0 { 15 } else { 14 }), "", &shell(&text));
        }
        assert_eq!(counts(&fixture.tally), [0, 0, 0]);
        fixture.programs.push(&at(14), "", &shell(&format!("echo last >> {path}")));
        fixture.programs.push(&at(99), "", &shell(&format!("echo other >> {path}")));
        assert_eq!(counts(&fixture.tally), [0, 0, 2]);
        fs::write(&gate, "").unwrap();
        assert!(fixture.activity.finished(Duration::from_secs(200)).await);
        assert_eq!(counts(&fixture.tally), [16 + 1024, 0, 2]);
        let runs = fs::read_to_string(&file).unwrap();
        let runs: HashSet<&str> = runs.lines().collect();
        for (name, expected) in
            [("0", false), ("1", false), ("2", true), ("3", true), ("last", true), ("other", true)]
        {
            assert_eq!(runs.contains(name), expected, "{name}");
        }
    }

    #[tokio::test]
    async fn hanging_and_failing_programs_are_counted_and_end() {
        let fixture = fixture(Duration::from_millis(300));
        fixture.programs.push(&at(1), "", &shell("trap '' TERM; while :; do sleep 1; done"));
        fixture.programs.push(&at(2), "", &shell("echo no; exit 3"));
        fixture.programs.push(&at(3), "", &Program { command: vec!["/nowhere".to_owned()], user: None });
        fixture.programs.push(&at(1), "", &shell("true"));
        assert!(fixture.activity.finished(PATIENCE).await);
        assert_eq!(counts(&fixture.tally), [1, 3, 0]);
    }

    #[tokio::test]
    async fn dropping_kills_what_runs() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let program = shell(&format!("echo $$ > {}; exec sleep 1000", file.display()));
        let fixture = fixture(PATIENCE);
        fixture.programs.push(&at(1), "", &program);
        let pid = loop {
            let text = fs::read_to_string(&file).unwrap_or_default();
            if text.ends_with('\n') {
                break text.trim().to_owned();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        drop(fixture);
        let stat = format!("/proc/{pid}/stat");
        let gone = async {
            while fs::read_to_string(Path::new(&stat)).is_ok_and(|stat| !stat.contains(") Z")) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, gone).await.unwrap();
    }
}
