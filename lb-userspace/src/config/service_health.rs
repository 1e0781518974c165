//! What services and real servers say about their health.

use std::sync::Arc;
use std::time::Duration;

use super::check::{CheckedServers, optional, read_checks, read_command};
use super::reader::{Given, TableReader};
use super::schema::Key;
use super::schema::health::{real_server, service};
use crate::model::{
    Check, CheckKind, ForwardingMethod, Program, RealServer, RealServerHealth, ServiceHealth, VirtualService,
};

/// Health of a service, and what its real servers take over from it. Parts with an error in them are at their defaults;
/// the caller has no model then.
pub(super) struct HealthReader {
    /// Health of the service, without its sorry server.
    pub(super) service: ServiceHealth,
    defaults: RealServerHealth,
}

impl HealthReader {
    /// Reads the keys of a service.
    pub(super) fn read(table: &TableReader<'_>, servers: &CheckedServers) -> Self {
        let default = ServiceHealth::default();
        let flag = |key| table.boolean(key).valid_or(false).unwrap_or_default();
        let service = ServiceHealth {
            quorum: table.integer(&service::QUORUM).valid_or(default.quorum).unwrap_or_default(),
            hysteresis: table.integer(&service::HYSTERESIS).valid_or(default.hysteresis).unwrap_or_default(),
            quorum_up: program(table, &service::QUORUM_UP),
            quorum_down: program(table, &service::QUORUM_DOWN),
            sorry_server: None,
            keep_live_servers: flag(&service::KEEP_LIVE_SERVERS),
            alpha: flag(&service::ALPHA),
            omega: flag(&service::OMEGA),
            ha_suspend: flag(&service::HA_SUSPEND),
            passive_fall: optional(table.integer(&service::PASSIVE_FALL)).flatten(),
            panic_threshold: optional(table.integer(&service::PANIC_THRESHOLD)).flatten(),
        };
        if table.has(&service::PASSIVE_FALL) && !servers.forwarding.contains(&ForwardingMethod::Nat) {
            let reason =
                "only with forwarding \"nat\" do the replies pass the director; leave it out".to_owned();
            table.conflict(&service::PASSIVE_FALL, reason);
        }
        let defaults = RealServerHealth {
            checks: checks(read_checks(table, &service::CHECK, servers)).unwrap_or_default(),
            inhibit_on_failure: flag(&service::INHIBIT_ON_FAILURE),
            slow_start: time(table, &service::SLOW_START),
            notify_up: program(table, &service::NOTIFY_UP),
            notify_down: program(table, &service::NOTIFY_DOWN),
        };
        Self { service, defaults }
    }

    /// Reads the keys of a real server.
    pub(super) fn real_server(
        &self,
        table: &TableReader<'_>,
        forwarding: Option<ForwardingMethod>,
        servers: &CheckedServers,
    ) -> RealServerHealth {
        let own = checks(read_checks(table, &real_server::CHECK, servers));
        if own.is_none()
            && forwarding == Some(ForwardingMethod::Nat)
            && self.defaults.checks.iter().any(|check| check.target.through_datapath)
        {
            let reason = "a check of the service asks through the datapath, where a real server with forwarding \"nat\" has no \
                          virtual address; give this real server checks of its own"
                .to_owned();
            table.conflict(&super::schema::real_server::FORWARDING, reason);
        }
        let defaults = &self.defaults;
        RealServerHealth {
            checks: own.unwrap_or_else(|| Arc::clone(&defaults.checks)),
            inhibit_on_failure: table
                .boolean(&real_server::INHIBIT_ON_FAILURE)
                .valid_or(defaults.inhibit_on_failure)
                .unwrap_or_default(),
            slow_start: time(table, &real_server::SLOW_START).or(defaults.slow_start),
            notify_up: program(table, &real_server::NOTIFY_UP).or_else(|| defaults.notify_up.clone()),
            notify_down: program(table, &real_server::NOTIFY_DOWN).or_else(|| defaults.notify_down.clone()),
        }
    }

    /// The health of the service with its sorry server, which is not checked.
    pub(super) fn with_sorry_server(self, sorry_server: Option<RealServer>) -> ServiceHealth {
        let sorry_server =
            sorry_server.map(|server| RealServer { health: RealServerHealth::default(), ..server });
        ServiceHealth { sorry_server, ..self.service }
    }
}

fn checks(given: Given<Vec<Option<Check>>>) -> Option<Arc<[Check]>> {
    match given {
        Given::Absent => None,
        given => Some(
            given.value().map_or_else(Arc::default, |(checks, _)| checks.into_iter().flatten().collect()),
        ),
    }
}

fn time(table: &TableReader<'_>, key: &Key) -> Option<Duration> {
    optional(table.duration(key)).flatten()
}

fn program(table: &TableReader<'_>, key: &Key) -> Option<Program> {
    read_command(table, key).flatten().map(|command| Program { command, user: None })
}

/// Names the user of every program and check script that names none.
pub(super) fn name_user(service: &mut VirtualService, user: &str) {
    let name = |program: &mut Option<Program>| {
        if let Some(program) = program {
            program.user.get_or_insert_with(|| user.to_owned());
        }
    };
    name(&mut service.health.quorum_up);
    name(&mut service.health.quorum_down);
    for server in &mut service.real_servers {
        name(&mut server.health.notify_up);
        name(&mut server.health.notify_down);
        let mut checks = server.health.checks.to_vec();
        let mut changed = false;
        for check in &mut checks {
            if let CheckKind::Script(script) = &mut check.kind
                && script.user.is_none()
            {
                script.user = Some(user.to_owned());
                changed = true;
            }
        }
        if changed {
            server.health.checks = checks.into();
        }
    }
}
