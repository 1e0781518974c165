//! Tells changes of state to the outside: named pipe, mail, webhooks, programs.
//!
//! Nothing here holds up a decision: [`Notifier::notify`] and [`Notifier::program`] write at most a line to a pipe that
//! never blocks, and put the rest into bounded queues, which tasks of the runtime empty. What does not fit is dropped
//! and counted.

mod email;
mod event;
mod fifo;
mod json;
mod mail_text;
mod outbox;
mod program;
mod webhook;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use event::{Change, Event, RealServerChange, ServiceChange, State, VrrpChange};

use email::Mailer;
use fifo::Fifo;
use outbox::{Activity, Outbox, Tally, lock};
use program::Programs;
use webhook::Target;

use crate::model::{Email, Notifications, Program};

/// Why notifications cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// There is something at the pipe's path that is no pipe.
    #[error("{} is not a named pipe", path.display())]
    NoFifo {
        /// The path.
        path: PathBuf,
    },
    /// The pipe cannot be made or opened.
    #[error("named pipe {}: {source}", path.display())]
    Fifo {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The mail server is no `host:port`.
    #[error("mail server {server:?} is no host and port")]
    EmailServer {
        /// What was given.
        server: String,
    },
    /// A mail address is none.
    #[error("mail address {address:?}: {reason}")]
    EmailAddress {
        /// What was given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The name for HELO is none.
    #[error("{helo:?} is no name for HELO")]
    EmailHelo {
        /// What was given.
        helo: String,
    },
    /// Mail would go to nobody.
    #[error("mail has no receiver")]
    EmailReceivers,
    /// A webhook's address cannot be used.
    #[error("webhook {url:?} {reason}")]
    Webhook {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// A way to the outside, for counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// Lines of the named pipe.
    Fifo,
    /// Changes in mails (not mails).
    Email,
    /// Changes to webhooks, each address counted.
    Webhook,
    /// Runs of programs.
    Program,
}

impl Channel {
    /// Every channel.
    pub const ALL: [Self; 4] = [Self::Fifo, Self::Email, Self::Webhook, Self::Program];

    /// The name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fifo => "fifo",
            Self::Email => "email",
            Self::Webhook => "webhook",
            Self::Program => "program",
        }
    }
}

/// What became of the notifications of a channel since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Taken by the receiver; for programs: ended with exit code 0.
    pub sent: u64,
    /// Given up after the last try; for programs: not startable, another exit code, or killed for its time.
    pub failed: u64,
    /// Not tried because the queue or pipe was full.
    pub dropped: u64,
}

/// Checks everything about notifications that can be checked without opening or connecting anything.
///
/// # Errors
///
/// All that is wrong.
pub fn validate(notifications: &Notifications) -> Result<(), Vec<NotifyError>> {
    let mail = notifications.email.iter().map(|email| Mailer::new(email, "".into()).err());
    let webhooks = notifications.webhooks.iter().map(|url| Target::parse(url).err());
    let errors: Vec<NotifyError> = mail.chain(webhooks).flatten().collect();
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Tells events to every channel. Dropped, it lets mail and webhooks finish as long as the runtime lives, and kills
/// programs under way; [`Self::flush`] waits for both.
#[derive(Debug)]
pub struct Notifier {
    channels: Mutex<Channels>,
    programs: Programs,
    activity: Arc<Activity>,
    tallies: [Arc<Tally>; 4],
}

#[derive(Debug, Default)]
struct Channels {
    router: Arc<str>,
    fifo: Option<Arc<Fifo>>,
    email: Option<(Email, Worker)>,
    webhooks: Vec<(String, Worker)>,
}

/// A queue whose worker ends with it, once it is empty.
#[derive(Debug)]
struct Worker(Arc<Outbox>);

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// What [`Notifier::reconfigure`] needs to begin with, made before anything is changed.
struct Prepared {
    fifo: Option<Arc<Fifo>>,
    mailer: Option<(Email, Mailer)>,
    targets: Vec<Target>,
}

impl Notifier {
    /// Opens the pipe and starts the workers, on the tokio runtime that this is called in. `router` is the director's
    /// name in mails and JSON.
    ///
    /// # Errors
    ///
    /// The first of [`NotifyError`].
    pub fn new(notifications: &Notifications, router: &str) -> Result<Self, NotifyError> {
        let activity = Arc::new(Activity::default());
        let tallies: [Arc<Tally>; 4] = Default::default();
        let program = Arc::clone(&tallies[Channel::Program as usize]);
        let programs = Programs::new(program, Arc::clone(&activity), program::TIME_LIMIT);
        let notifier = Self { channels: Mutex::default(), programs, activity, tallies };
        notifier.reconfigure(notifications, router)?;
        Ok(notifier)
    }

    /// Takes on another configuration. What is unchanged keeps its queue; the rest finishes what it has, and new
    /// events go the new way. To be called in a tokio runtime.
    ///
    /// # Errors
    ///
    /// The first of [`NotifyError`]; then everything stays as it was.
    pub fn reconfigure(&self, notifications: &Notifications, router: &str) -> Result<(), NotifyError> {
        let mut channels = lock(&self.channels);
        let prepared = self.prepare(&channels, notifications, router)?;
        let same_router = *channels.router == *router;
        if !same_router {
            channels.router = router.into();
        }
        let router = Arc::clone(&channels.router);
        channels.fifo = prepared.fifo;

        let is_same = |old: &(Email, Worker)| same_router && Some(&old.0) == notifications.email.as_ref();
        let kept = channels.email.take().filter(is_same);
        channels.email = kept.or_else(|| {
            prepared.mailer.map(|(email, mailer)| {
                (email, self.start(Channel::Email, |outbox| email::work(outbox, mailer)))
            })
        });

        let mut old = std::mem::take(&mut channels.webhooks);
        old.retain(|_| same_router);
        for target in prepared.targets {
            let kept = old.iter().position(|(url, _)| *url == target.url).map(|index| old.swap_remove(index));
            let worker = kept.unwrap_or_else(|| {
                let url = target.url.clone();
                let router = Arc::clone(&router);
                (url, self.start(Channel::Webhook, |outbox| webhook::work(outbox, target, router)))
            });
            channels.webhooks.push(worker);
        }
        Ok(())
    }

    fn prepare(
        &self,
        channels: &Channels,
        notifications: &Notifications,
        router: &str,
    ) -> Result<Prepared, NotifyError> {
        let targets =
            notifications.webhooks.iter().map(|url| Target::parse(url)).collect::<Result<_, _>>()?;
        let mailer = |email: &Email| Mailer::new(email, router.into()).map(|mailer| (email.clone(), mailer));
        let mailer = notifications.email.as_ref().map(mailer).transpose()?;
        let fifo = match (&notifications.fifo, &channels.fifo) {
            (Some(path), Some(open)) if open.is(path) => Some(Arc::clone(open)),
            (Some(path), _) => {
                let tally = Arc::clone(&self.tallies[Channel::Fifo as usize]);
                Some(Arc::new(Fifo::open(path, tally)?))
            }
            (None, _) => None,
        };
        Ok(Prepared { fifo, mailer, targets })
    }

    fn start<F>(&self, channel: Channel, work: impl FnOnce(Arc<Outbox>) -> F) -> Worker
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let tally = Arc::clone(&self.tallies[channel as usize]);
        let outbox = Arc::new(Outbox::new(tally, Arc::clone(&self.activity)));
        tokio::spawn(work(Arc::clone(&outbox)));
        Worker(outbox)
    }

    /// Tells the event to pipe, mail and webhooks. Never blocks, never fails.
    pub fn notify(&self, event: Event) {
        let event = Arc::new(event);
        let channels = lock(&self.channels);
        if let Some(fifo) = &channels.fifo {
            fifo.write(&event.fifo_line());
        }
        let email = channels.email.iter().map(|(_, worker)| worker);
        for worker in email.chain(channels.webhooks.iter().map(|(_, worker)| worker)) {
            worker.0.push(Arc::clone(&event));
        }
    }

    /// Has a program run that the operator wants to be told about the event. Never blocks, never fails.
    pub fn program(&self, event: &Event, program: &Program) {
        let router = Arc::clone(&lock(&self.channels).router);
        self.programs.push(event, &router, program);
    }

    /// Waits until everything has been told or given up; false when that takes longer than `bound`.
    pub async fn flush(&self, bound: Duration) -> bool {
        self.activity.finished(bound).await
    }

    /// What became of the notifications of a channel.
    #[must_use]
    pub fn counts(&self, channel: Channel) -> Counts {
        let tally = &self.tallies[channel as usize];
        Counts {
            sent: tally.sent.load(Ordering::Relaxed),
            failed: tally.failed.load(Ordering::Relaxed),
            dropped: tally.dropped.load(Ordering::Relaxed),
        }
    }
}
