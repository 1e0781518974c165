//! Health for listings and metrics.

use std::net::SocketAddr;
use std::time::{Instant, SystemTime};

use super::health::Health;
use super::status::lock;
use crate::control::health::{CheckRunStatus, CheckStatus, RealServerHealthStatus, ServiceHealthStatus};
use crate::control::snapshot::NamedCount;
use crate::health::{CheckId, LastRun, ServerHealth, server_key};
use crate::model::{FULL_SHARE, RealServer, ServiceKey};

impl Health {
    /// Health of a service; none where nothing of it is checked.
    pub(super) fn status(&self, key: &ServiceKey) -> Option<ServiceHealthStatus> {
        let supervisor = lock(&self.supervisor);
        let service = supervisor.configured(key)?;
        let state = supervisor.service(key)?;
        let sorry_server = service.health.sorry_server.as_ref();
        let checked = service.real_servers.iter().any(|server| !server.health.checks.is_empty());
        if !checked && sorry_server.is_none() {
            return None;
        }
        let real_servers: Vec<_> = service
            .real_servers
            .iter()
            .filter_map(|server| Some(self.real_server(key, server, state.servers.get(&server_key(server))?)))
            .collect();
        Some(ServiceHealthStatus {
            quorum: state.quorum,
            live_weight: state.live_weight(service),
            quorum_weight: service.health.quorum,
            live: real_servers.iter().filter(|server| server.up).count() as u64,
            configured: service.real_servers.len() as u64,
            panic: state.panic,
            suspended: self.runner.suspended().contains(key),
            sorry_server: sorry_server.map(|server| SocketAddr::new(server.address, server.port)),
            sorry_server_active: sorry_server.is_some() && !state.quorum && !state.panic,
            real_servers,
        })
    }

    fn real_server(
        &self,
        service: &ServiceKey,
        server: &RealServer,
        health: &ServerHealth,
    ) -> RealServerHealthStatus {
        let now = Instant::now();
        let checks =
            server.health.checks.iter().zip(&health.checks).enumerate().map(|(index, (check, verdict))| {
                let id = CheckId { service: *service, server: server_key(server), index };
                let record = self.runner.record(&id);
                CheckStatus {
                    kind: check.kind.name().to_owned(),
                    passing: verdict.passing,
                    last: record.last.map(|last| run_status(last, now)),
                    passes: record.passes,
                    failures: record
                        .failures
                        .into_iter()
                        .map(|(reason, count)| NamedCount { name: reason.name().to_owned(), count })
                        .collect(),
                }
            });
        let share = if health.is_up() { health.clone().ramp(now) } else { FULL_SHARE };
        RealServerHealthStatus {
            address: SocketAddr::new(server.address, server.port),
            up: health.is_up(),
            since: SystemTime::now().duration_since(health.since()).map_or(0, |since| since.as_secs()),
            weight: health.weight(server),
            share,
            checks: checks.collect(),
        }
    }
}

fn run_status(last: LastRun, now: Instant) -> CheckRunStatus {
    let LastRun { ended, duration, outcome } = last;
    let (failure, warning) = match outcome {
        Ok(pass) => (None, pass.warning),
        Err(failure) => (Some(failure.to_string()), None),
    };
    CheckRunStatus {
        ago_ms: now.saturating_duration_since(ended).as_millis() as u64,
        duration_us: duration.as_micros() as u64,
        failure,
        warning,
    }
}
