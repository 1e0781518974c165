//! VRRP on real networks: a thread of its own, at real-time priority where that is permitted.
//!
//! It waits for nobody: programs, notifications, listings and the datapath's plans run elsewhere. What it changes itself is
//! little: the addresses of interfaces, a bit per virtual service and real server, a macvlan device where that is asked for.

mod addresses;
pub mod guard;
mod realtime;
mod socket;
mod status;
mod thread;

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;
use tokio::sync::mpsc::UnboundedSender;

use super::member::Tracked;
use super::routers::Switchover;
use super::{Reason, State};
use crate::control::vrrp::VrrpStatus;
use crate::model::{TrackKind, Vrrp};

/// How long an answer of the thread is waited for; it has nothing that takes longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Told by the thread when addresses come or go, before the network hears of it.
pub trait Duty: Send {
    /// From now on these virtual addresses are served here, or no longer.
    fn set(&self, addresses: &[IpAddr], on: bool);
}

/// A change of state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Instance or sync group.
    pub name: String,
    /// Whether it is a sync group.
    pub group: bool,
    /// State now.
    pub state: State,
    /// State before; of a group the same as now.
    pub before: State,
    /// Why; of a group none.
    pub reason: Option<Reason>,
    /// Priority; of a group 0.
    pub priority: u8,
}

enum Command {
    Configure(Box<Vrrp>, Sender<()>),
    Track(TrackKind, Tracked),
    Switchover { name: Option<String>, to_backup: Option<bool>, answer: Sender<Switchover> },
    Status(Sender<VrrpStatus>),
    Stop,
}

/// The thread, as the daemon sees it. Dropped, it gives all addresses up and ends.
#[derive(Debug)]
pub struct Speaker {
    commands: Sender<Command>,
    wake: Arc<OwnedFd>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Speaker {
    /// Starts the thread in the network namespace of the calling one. Changes of state arrive at `changes`. `guard` is the
    /// program `lvx`, which takes the addresses away should this process be killed; none does without.
    ///
    /// # Errors
    ///
    /// Where the kernel has no room for it.
    pub fn start(
        duty: Box<dyn Duty>,
        changes: UnboundedSender<Change>,
        guard: Option<PathBuf>,
    ) -> io::Result<Self> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (commands, received) = channel();
        let work = thread::Work::open(Arc::clone(&wake), received, duty, changes, guard)?;
        let thread = std::thread::Builder::new().name("lvx-vrrp".to_owned()).spawn(move || work.run())?;
        Ok(Self { commands, wake, thread: Mutex::new(Some(thread)) })
    }

    fn send(&self, command: Command) {
        // The thread lives as long as this value; if it does not, nobody answers, which the caller sees.
        let _ = self.commands.send(command);
        let _ = rustix::io::write(&*self.wake, &1u64.to_ne_bytes());
    }

    fn answer<T>(received: &Receiver<T>) -> Option<T> {
        match received.recv_timeout(PATIENCE) {
            Ok(answer) => Some(answer),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                tracing::error!("the thread of VRRP does not answer");
                None
            }
        }
    }

    /// Takes on a configuration; when this returns, what it stops has given its addresses up.
    pub fn configure(&self, vrrp: &Vrrp) {
        let (done, received) = channel();
        self.send(Command::Configure(Box::new(vrrp.clone()), done));
        Self::answer(&received);
    }

    /// Tells how something tracked is.
    pub fn track(&self, kind: TrackKind, tracked: Tracked) {
        self.send(Command::Track(kind, tracked));
    }

    /// Hands an instance (none: all) over, or takes it back; without `to_backup` whichever it is not.
    #[must_use]
    pub fn switchover(&self, name: Option<String>, to_backup: Option<bool>) -> Switchover {
        let (answer, received) = channel();
        self.send(Command::Switchover { name, to_backup, answer });
        Self::answer(&received)
            .unwrap_or_else(|| Switchover::Refused("the thread of VRRP does not answer".to_owned()))
    }

    /// Everything there is to tell.
    #[must_use]
    pub fn status(&self) -> VrrpStatus {
        let (answer, received) = channel();
        self.send(Command::Status(answer));
        Self::answer(&received).unwrap_or_default()
    }

    /// Gives all addresses up and ends the thread.
    pub fn stop(&self) {
        self.send(Command::Stop);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the thread of VRRP ended by a defect");
        }
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        self.stop();
    }
}
