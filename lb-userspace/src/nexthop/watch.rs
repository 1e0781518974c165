//! The task that connects the table with the kernel and with the rest of the controller.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use netlink_packet_route::RouteNetlinkMessage;
use tokio::sync::{mpsc, oneshot};

use super::decode;
use super::kernel::{Address, Event, Link, NeighbourKey, RouteError};
use super::netlink::{Body, Channel, Reply, probe_request, route_request};
use super::resolution::Resolution;
use super::settings::Settings;
use super::table::{Action, Table};

/// Questions on their way. Each answer takes a few kilobytes of the socket's buffer, which is 208 KiB where the
/// operator has raised nothing.
const WINDOW: usize = 32;

/// Pause before reading everything anew after lost events: whatever flooded the socket goes on for a moment.
const RESYNC_PAUSE: Duration = Duration::from_millis(100);

/// Pause after a failed attempt to do so.
const RESYNC_RETRY: Duration = Duration::from_secs(1);

/// Batches of changed resolutions, in order. Where the reader is slow, changes gather and undo each other. A batch
/// may still name addresses that were removed from the targets a moment ago.
pub type Changes = mpsc::Receiver<Vec<(IpAddr, Resolution)>>;

/// Failures of the watcher.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The sockets could not be opened.
    #[error("cannot open a netlink socket: {0}")]
    Open(#[source] io::Error),
    /// The first reading of links, addresses and neighbours failed.
    #[error("cannot read links, addresses and neighbours from the kernel: {0}")]
    Dump(#[source] io::Error),
    /// The task has ended: see the log.
    #[error("the next-hop watcher has stopped")]
    Stopped,
}

/// Starts the task; see [`Watcher::spawn`].
#[derive(Debug)]
pub struct Watcher;

impl Watcher {
    /// Reads the kernel's state and spawns the task on the current tokio runtime. It watches the network namespace of
    /// the calling thread, needs CAP_NET_ADMIN for its probes, and ends when the [`Handle`]s or the [`Changes`] are
    /// dropped.
    ///
    /// # Errors
    /// [`WatchError::Open`] and [`WatchError::Dump`].
    pub async fn spawn(settings: Settings) -> Result<(Handle, Changes), WatchError> {
        let events = Channel::subscribe().map_err(WatchError::Open)?;
        let questions = Channel::open().map_err(WatchError::Open)?;
        let mut dumps = Channel::open().map_err(WatchError::Open)?;
        let mut table = Table::new(settings, RandomState::new().build_hasher().finish());
        let dump = dumps.dump().await.map_err(WatchError::Dump)?;
        table.handle_dump(dump, Instant::now());

        let (commands_in, commands) = mpsc::channel(16);
        let (changes, changes_out) = mpsc::channel(4);
        let driver = Driver {
            table,
            events,
            questions,
            dumps,
            commands,
            changes,
            pending: HashMap::new(),
            sequence: 0,
            resync_at: None,
        };
        tokio::spawn(driver.run());
        Ok((Handle { commands: commands_in }, changes_out))
    }
}

/// Speaks to the task.
#[derive(Debug, Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
}

#[derive(Debug)]
enum Command {
    SetTargets(BTreeSet<IpAddr>),
    Resolutions(oneshot::Sender<BTreeMap<IpAddr, Resolution>>),
    Links(oneshot::Sender<Vec<Link>>),
    Addresses(oneshot::Sender<Vec<Address>>),
}

impl Handle {
    /// Replaces the set of addresses to resolve. Those that stay keep their resolution without a new report; a new
    /// one counts as [`super::Reason::Resolving`] until its first report.
    ///
    /// # Errors
    /// [`WatchError::Stopped`].
    pub async fn set_targets(&self, targets: BTreeSet<IpAddr>) -> Result<(), WatchError> {
        self.commands.send(Command::SetTargets(targets)).await.map_err(|_| WatchError::Stopped)
    }

    /// The resolutions of all targets as of now, reported or not.
    ///
    /// # Errors
    /// [`WatchError::Stopped`].
    pub async fn resolutions(&self) -> Result<BTreeMap<IpAddr, Resolution>, WatchError> {
        self.ask(Command::Resolutions).await
    }

    /// All interfaces, by index.
    ///
    /// # Errors
    /// [`WatchError::Stopped`].
    pub async fn interfaces(&self) -> Result<Vec<Link>, WatchError> {
        self.ask(Command::Links).await
    }

    /// The interface of that name, None if there is none.
    ///
    /// # Errors
    /// [`WatchError::Stopped`].
    pub async fn interface_by_name(&self, name: &str) -> Result<Option<Link>, WatchError> {
        Ok(self.interfaces().await?.into_iter().find(|link| link.name == name))
    }

    /// The director's addresses, those of loopback included.
    ///
    /// # Errors
    /// [`WatchError::Stopped`].
    pub async fn local_addresses(&self) -> Result<Vec<Address>, WatchError> {
        self.ask(Command::Addresses).await
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, WatchError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(question(reply)).await.map_err(|_| WatchError::Stopped)?;
        answer.await.map_err(|_| WatchError::Stopped)
    }
}

struct Driver {
    table: Table,
    events: Channel,
    questions: Channel,
    dumps: Channel,
    commands: mpsc::Receiver<Command>,
    changes: mpsc::Sender<Vec<(IpAddr, Resolution)>>,
    /// Questions without an answer, by sequence number.
    pending: HashMap<u32, Action>,
    sequence: u32,
    /// Set after events were lost.
    resync_at: Option<Instant>,
}

impl Driver {
    async fn run(mut self) {
        let changes = self.changes.clone();
        loop {
            while self.pending.len() < WINDOW
                && let Some(action) = self.table.poll_action()
            {
                self.ask(action).await;
            }
            let timer = [self.table.poll_timeout(), self.resync_at].into_iter().flatten().min();
            let sleep = async {
                match timer {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                datagram = self.events.receive() => match datagram {
                    Ok(datagram) => handle_events(&mut self.table, datagram),
                    Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                        tracing::warn!("netlink events were lost, reading everything anew");
                        self.resync_at.get_or_insert(Instant::now() + RESYNC_PAUSE);
                    }
                    Err(error) => {
                        tracing::error!(%error, "netlink events cannot be read, next hops are no longer followed");
                        return;
                    }
                },
                datagram = self.questions.receive() => match datagram {
                    Ok(datagram) => {
                        let replies: Vec<_> = decode::messages(datagram).map(Reply::decode).collect();
                        for reply in replies {
                            self.handle_reply(reply).await;
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "answers of the kernel were lost, asking again");
                        self.pending_lost();
                    }
                },
                () = sleep => self.handle_timeout().await,
                command = self.commands.recv() => match command {
                    Some(command) => self.handle_command(command),
                    None => return,
                },
                permit = changes.reserve(), if self.table.has_changes() => match permit {
                    Ok(permit) => {
                        let batch = self.table.take_changes();
                        if !batch.is_empty() {
                            permit.send(batch);
                        }
                    }
                    Err(_) => return,
                },
                () = changes.closed() => return,
            }
        }
    }

    async fn ask(&mut self, action: Action) {
        self.sequence = self.sequence.wrapping_add(1);
        let request = match action {
            Action::QueryRoute(target) => route_request(target, self.sequence),
            Action::Probe { neighbour, confirm } => probe_request(neighbour, confirm, self.sequence),
        };
        match self.questions.send(&request).await {
            Ok(()) => {
                self.pending.insert(self.sequence, action);
            }
            Err(error) => {
                tracing::warn!(%error, ?action, "a question to the kernel could not be sent");
                self.lost(action);
            }
        }
    }

    fn pending_lost(&mut self) {
        for action in std::mem::take(&mut self.pending).into_values() {
            self.lost(action);
        }
    }

    /// A lost probe is repeated by the table's own timers.
    fn lost(&mut self, action: Action) {
        if let Action::QueryRoute(target) = action {
            self.table.handle_route(target, Err(RouteError::Lost), Instant::now());
        }
    }

    async fn handle_reply(&mut self, reply: Result<Reply, netlink_packet_core::DecodeError>) {
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) => {
                // Which question it answered is unknown: ask all of them again, slowly enough by the table's pace.
                tracing::warn!(%error, "an answer of the kernel could not be read");
                return self.pending_lost();
            }
        };
        let Some(action) = self.pending.remove(&reply.sequence) else { return };
        let now = Instant::now();
        match (action, reply.body) {
            (Action::QueryRoute(target), Body::Message(RouteNetlinkMessage::NewRoute(message))) => {
                self.table.handle_route(target, decode::route(&message), now);
            }
            (Action::QueryRoute(target), Body::Refused(error)) => {
                self.table.handle_route(target, Err(decode::route_error(&error)), now);
            }
            (Action::QueryRoute(target), _) => {
                self.table.handle_route(target, Err(RouteError::NoRoute), now);
            }
            (Action::Probe { neighbour, confirm }, Body::Refused(error)) => {
                self.probe_refused(neighbour, confirm, &error).await;
            }
            (Action::Probe { .. }, _) => {}
        }
    }

    async fn probe_refused(&mut self, neighbour: NeighbourKey, confirm: bool, error: &io::Error) {
        match error.raw_os_error() {
            // The entry or its MAC address has gone since the table decided.
            Some(libc::ENOENT | libc::EINVAL) if confirm => {
                self.ask(Action::Probe { neighbour, confirm: false }).await;
            }
            Some(libc::ENOBUFS) => self.table.handle_table_full(neighbour),
            _ => tracing::warn!(%error, ?neighbour, "the kernel refused to probe a neighbour"),
        }
    }

    async fn handle_timeout(&mut self) {
        if self.resync_at.is_some_and(|at| at <= Instant::now()) {
            self.resync_at = None;
            match self.dumps.dump().await {
                Ok(dump) => self.table.handle_dump(dump, Instant::now()),
                Err(error) => {
                    tracing::warn!(%error, "cannot read links, addresses and neighbours, trying again");
                    self.resync_at = Some(Instant::now() + RESYNC_RETRY);
                }
            }
        }
        self.table.handle_timeout(Instant::now());
    }

    fn handle_command(&mut self, command: Command) {
        // A reply nobody waits for any more is no failure.
        match command {
            Command::SetTargets(targets) => self.table.set_targets(&targets, Instant::now()),
            Command::Resolutions(reply) => {
                let table = &self.table;
                let all = table.targets().filter_map(|ip| Some((ip, table.resolution(ip)?))).collect();
                let _ = reply.send(all);
            }
            Command::Links(reply) => {
                let _ = reply.send(self.table.links().cloned().collect());
            }
            Command::Addresses(reply) => {
                let _ = reply.send(self.table.addresses().copied().collect());
            }
        }
    }
}

fn handle_events(table: &mut Table, datagram: &[u8]) {
    let now = Instant::now();
    for message in decode::messages(datagram) {
        match decode::event(message) {
            Ok(Some(event)) => table.handle_event(event, now),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "a netlink event could not be read");
                table.handle_event(Event::Routes(None), now);
            }
        }
    }
}
