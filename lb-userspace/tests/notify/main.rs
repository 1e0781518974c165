//! Notifications against real receivers: readers of a named pipe, aiosmtpd, nginx, programs; and against bad ones.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod bounds;
mod fifo;
mod mail;
mod webhook;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lb_userspace::model::{Email, Notifications, Protocol, ServiceKey};
use lb_userspace::notify::{Change, Event, RealServerChange, State};

/// Bound for what should happen at once on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Real server number `number` of a service goes down.
fn down(number: u16) -> Event {
    let change = RealServerChange {
        service: ServiceKey { protocol: Protocol::Tcp, address: "192.0.2.1".parse().unwrap(), port: 80 },
        service_name: "web".into(),
        real_server: SocketAddr::new("198.51.100.7".parse().unwrap(), number),
        state: State::Down,
        weight: 1,
        reason: Some("tcp: refused: connect: connection refused".to_owned()),
    };
    Event::now(Change::RealServer(change))
}

fn to_fifo(path: &Path) -> Notifications {
    Notifications { fifo: Some(path.to_owned()), ..Notifications::default() }
}

fn to_webhook(url: String) -> Notifications {
    Notifications { webhooks: vec![url], ..Notifications::default() }
}

fn to_mail(server: String) -> Notifications {
    let email = Email {
        server,
        from: "LVX <lvx@example.org>".to_owned(),
        to: vec!["ops@example.org".to_owned(), "boss@example.org".to_owned()],
        helo: Some("director.example.org".to_owned()),
        timeout: Duration::from_secs(20),
    };
    Notifications { email: Some(email), ..Notifications::default() }
}

/// A folder that nobody else can write to.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn files_in(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Runs `work` on a runtime of one thread, as the daemon does.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// Asks until `look` gives something.
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} does not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}
