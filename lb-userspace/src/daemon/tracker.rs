//! Looks at what virtual routers track and the thread of VRRP cannot see by itself: checks, processes, files.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;
use tokio::time::{sleep, sleep_until};
use tracing::{info, warn};

use crate::health::{CheckMachine, Origin, Probe, bounded};
use crate::model::{Check, Protocol, ServiceKey, TrackKind, Vrrp};
use crate::vrrp::io::Speaker;
use crate::vrrp::member::Tracked;

/// How often processes and files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// Longest file that is read; a number is shorter.
const LONGEST_NUMBER: usize = 64;

/// The tasks, by what they look at.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    tasks: Vec<(TrackKind, AbortHandle)>,
}

impl Tracker {
    /// Looks at what a configuration tracks, each once however many instances track it; what is looked at already goes on.
    pub(super) fn follow(&mut self, vrrp: &Vrrp, speaker: &Arc<Speaker>) {
        let mut before = std::mem::take(&mut self.tasks);
        let kinds = vrrp.instances.iter().flat_map(|instance| &instance.tracks).map(|track| &track.kind);
        for kind in kinds {
            if self.tasks.iter().any(|(known, _)| known == kind) {
                continue;
            }
            if let Some(place) = before.iter().position(|(known, _)| known == kind) {
                self.tasks.push(before.swap_remove(place));
                continue;
            }
            let speaker = Arc::clone(speaker);
            let task = match kind {
                // These come from elsewhere.
                TrackKind::Interface(_) | TrackKind::Service(_) => continue,
                TrackKind::Check(check) => tokio::spawn(run_check((**check).clone(), speaker)),
                TrackKind::Process(_) | TrackKind::File(_) => tokio::spawn(watch(kind.clone(), speaker)),
            };
            self.tasks.push((kind.clone(), task.abort_handle()));
        }
        for (_, task) in before {
            task.abort();
        }
    }
}

async fn watch(kind: TrackKind, speaker: Arc<Speaker>) {
    let mut told = None;
    loop {
        let look = kind.clone();
        // Both read files, which may hang on a broken disk.
        let tracked = tokio::task::spawn_blocking(move || match &look {
            TrackKind::Process(name) => Tracked { up: runs(name), number: 0 },
            TrackKind::File(path) => Tracked { up: true, number: number(path) },
            _ => Tracked::default(),
        });
        let Ok(tracked) = tracked.await else { return };
        if told != Some(tracked) {
            told = Some(tracked);
            info!(?kind, up = tracked.up, number = tracked.number, "track");
            speaker.track(kind.clone(), tracked);
        }
        sleep(INTERVAL).await;
    }
}

/// Whether a process of this name runs.
fn runs(name: &str) -> bool {
    let Ok(entries) = std::fs::read_dir("/proc") else { return true };
    let numbered = |entry: &std::fs::DirEntry| {
        entry.file_name().to_str().is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
    };
    entries.flatten().filter(numbered).any(|entry| {
        // It may have ended meanwhile.
        std::fs::read(entry.path().join("comm")).is_ok_and(|comm| comm.trim_ascii_end() == name.as_bytes())
    })
}

/// The number in a file; 0 where there is none, as keepalived has it.
fn number(path: &Path) -> i32 {
    use std::io::Read as _;
    let mut text = String::new();
    let regular = std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    if !regular {
        return 0;
    }
    let read =
        std::fs::File::open(path).and_then(|file| file.take(LONGEST_NUMBER as u64).read_to_string(&mut text));
    read.ok().and_then(|_| text.trim().parse().ok()).unwrap_or(0)
}

async fn run_check(check: Check, speaker: Arc<Speaker>) {
    let kind = TrackKind::Check(Box::new(check.clone()));
    let mut machine = CheckMachine::new(check.policy.clone(), true, Instant::now(), 0.0);
    let probe = probe(&check);
    while let Some(next) = machine.poll_timeout() {
        sleep_until(next.into()).await;
        machine.begin(Instant::now());
        let failure = bounded(&check, &probe).await.err().map(|failure| failure.to_string());
        if machine.finish(Instant::now(), failure.is_none()).is_some() {
            let up = machine.passing();
            let reason = failure.unwrap_or_default();
            if up {
                info!(check = check.kind.name(), address = ?check.target.address, "tracked check passes");
            } else {
                warn!(check = check.kind.name(), address = ?check.target.address, reason, "tracked check failed");
            }
            speaker.track(kind.clone(), Tracked { up, number: 0 });
        }
    }
}

fn probe(check: &Check) -> Probe {
    let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let address = check.target.address.unwrap_or(nowhere);
    let port = check.target.port.unwrap_or(0);
    Probe {
        endpoint: SocketAddr::new(address, port),
        origin: Origin {
            source: check.target.source,
            interface: check.target.interface.clone(),
            mark: check.target.mark,
        },
        timeout: check.policy.timeout,
        through: None,
        // A script is told a service and a real server; here there are none.
        service: ServiceKey { protocol: Protocol::Tcp, address: nowhere, port: 0 },
        real_server: SocketAddr::new(address, port),
        weight: 0,
    }
}

/// Services that are tracked, by name.
pub(super) fn tracked_services(vrrp: &Vrrp) -> BTreeMap<&str, &TrackKind> {
    let tracks = vrrp.instances.iter().flat_map(|instance| &instance.tracks);
    tracks
        .filter_map(|track| match &track.kind {
            TrackKind::Service(name) => Some((name.as_str(), &track.kind)),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_by_its_name() {
        let own = std::fs::read_to_string("/proc/self/comm").unwrap();
        assert!(runs(own.trim_end()));
        assert!(!runs("no-such-process"));
    }

    #[test]
    fn a_file_without_a_number_counts_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("track");
        assert_eq!(number(&path), 0);
        for (text, expected) in [("", 0), ("-5\n", -5), ("12", 12), ("many", 0), ("99999999999", 0)] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(number(&path), expected, "{text:?}");
        }
    }
}
