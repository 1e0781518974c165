//! `[[service]]` and `[[service.real_server]]`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;

use super::address::{parse_address, parse_endpoint, usable};
use super::check::CheckedServers;
use super::error::{Concern, Problem};
use super::path::{Path, quote};
use super::reader::{Given, TableReader};
use super::schema::health::service as health_keys;
use super::schema::{Key, file, real_server, scheduler, service};
use super::service_health::HealthReader;
use super::settings::{CountLimits, expected};
use crate::model::{
    DEFAULT_MAGLEV_TABLE_SIZE, FULL_SHARE, ForwardingMethod, MAX_LOAD_SCHEDULED, Protocol, RealServer,
    Scheduler, ServiceKey, SourceHashFlags, VirtualService,
};

/// Longest name of a service, in characters.
const LONGEST_NAME: usize = 64;

/// Counts against a limit and keeps the place where it was first exceeded.
struct Tally {
    what: &'static str,
    limit_key: &'static str,
    /// `None` where the limit itself has an error.
    limit: Option<u32>,
    count: u64,
    exceeded_at: Option<(usize, String)>,
}

impl Tally {
    fn new(what: &'static str, limit_key: &'static str, limit: Option<u32>) -> Self {
        Self { what, limit_key, limit, count: 0, exceeded_at: None }
    }

    fn add(&mut self, more: u32, at: &TableReader<'_>) {
        self.count += u64::from(more);
        if self.exceeded_at.is_none() && self.limit.is_some_and(|limit| self.count > u64::from(limit)) {
            self.exceeded_at = Some((at.offset, at.path.to_string()));
        }
    }

    fn finish(self, root: &TableReader<'_>) {
        if let (Some((offset, path)), Some(limit)) = (self.exceeded_at, self.limit) {
            let Self { what, limit_key, count, .. } = self;
            root.report.problem(
                offset,
                path,
                Problem::TooMany { count, what, limit_key, limit: u64::from(limit) },
            );
        }
    }
}

/// What has been read so far, over all services; places are byte offsets.
struct Progress {
    keys: HashMap<ServiceKey, usize>,
    names: HashMap<String, usize>,
    services: Tally,
    real_servers: Tally,
    maglev_slots: Tally,
}

/// Reads the services. One with an error in it is left out or incomplete; the caller has no model then.
pub(super) fn read_services(root: &TableReader<'_>, limits: &CountLimits) -> Vec<VirtualService> {
    let mut progress = Progress {
        keys: HashMap::new(),
        names: HashMap::new(),
        services: Tally::new("services", "limits.services", limits.services),
        real_servers: Tally::new("real servers", "limits.real_servers", limits.real_servers),
        maglev_slots: Tally::new("slots of Maglev tables", "limits.scheduler_slots", limits.scheduler_slots),
    };
    let services = root.tables(&file::SERVICE, |table| read_service(table, &mut progress));
    progress.services.finish(root);
    progress.real_servers.finish(root);
    progress.maglev_slots.finish(root);
    services.value().map(|(services, _)| services.into_iter().flatten().collect()).unwrap_or_default()
}

/// A service as its real servers see it; parts with an error in them are `None`.
struct Surroundings {
    endpoint: Option<(IpAddr, u16)>,
    forwarding: Option<ForwardingMethod>,
}

impl Surroundings {
    fn no_port(&self) -> Option<&'static str> {
        let (_, port) = self.endpoint?;
        (port == 0).then_some("the service has port 0, all ports")
    }
}

fn read_service(table: &TableReader<'_>, progress: &mut Progress) -> Option<VirtualService> {
    progress.services.add(1, table);
    let name = table.text(&service::NAME, service_name);
    let address = table
        .text(&service::ADDRESS, |text| {
            let endpoint =
                parse_endpoint(text, expected(&service::ADDRESS)).map_err(|error| error.to_string())?;
            usable(endpoint.0).map_err(|error| error.to_string())?;
            Ok((endpoint, text))
        })
        .value();
    let protocol = table.word(&service::PROTOCOL, Protocol::from_name).valid_or(Protocol::Tcp);
    let scheduler = read_scheduler(table);
    let always_on = table.boolean(&service::ALWAYS_ON).valid_or(false);
    if let Some((Scheduler::Mh { table_size, .. }, _)) = scheduler {
        progress.maglev_slots.add(table_size, table);
    }
    let surroundings = Surroundings {
        endpoint: address.map(|((endpoint, _), _)| endpoint),
        forwarding: table
            .word(&service::FORWARDING, ForwardingMethod::from_name)
            .valid_or(ForwardingMethod::Dr),
    };

    let key = protocol.zip(surroundings.endpoint).map(|(protocol, (address, port))| ServiceKey {
        protocol,
        address,
        port,
    });
    let mut repeated = false;
    if let (Some(key), Some(((_, text), offset))) = (key, address) {
        repeated = note_repeated(table, &service::ADDRESS, &mut progress.keys, key, text, offset, || {
            format!("a {} service on this address and port", key.protocol)
        });
    }
    let given_name = name.value();
    let name = match (given_name, key) {
        (Some((name, _)), _) => name.to_owned(),
        (None, Some(key)) => key.to_string(),
        (None, None) => String::new(),
    };
    let name_place = given_name.map(|(_, offset)| (&service::NAME, offset)).or_else(|| {
        address.filter(|_| !repeated && key.is_some()).map(|(_, offset)| (&service::ADDRESS, offset))
    });
    if let Some((name_key, offset)) = name_place {
        note_repeated(table, name_key, &mut progress.names, name.clone(), &name, offset, || {
            "a service of this name".to_owned()
        });
    }

    let checked = CheckedServers {
        protocol,
        no_port: surroundings.no_port(),
        forwarding: surroundings.forwarding.into_iter().collect(),
    };
    let health = HealthReader::read(table, &checked);
    let mut seen = HashMap::new();
    let real_servers = read_real_servers(table, &surroundings, &health, protocol, &mut seen, progress);
    let sorry_server = table.table(&health_keys::SORRY_SERVER, |server| {
        progress.real_servers.add(1, server);
        read_real_server(server, &surroundings, &health, protocol, &mut seen)
    });
    let sorry_server = sorry_server.value().and_then(|(server, _)| server);
    let (scheduler, scheduler_offset) = scheduler?;
    if scheduler.is_load_scheduler() && real_servers.len() > MAX_LOAD_SCHEDULED {
        let reason = format!(
            "the service has {} real servers, and this scheduler compares all of them for each new connection; write \
             scheduler = \"wrr\" or \"mh\", or keep to {MAX_LOAD_SCHEDULED} real servers",
            real_servers.len()
        );
        table.problem(
            &service::SCHEDULER,
            scheduler_offset,
            Problem::Conflict { value: quote(scheduler.name()), reason },
        );
    }
    let real_servers: Vec<RealServer> = real_servers.into_iter().flatten().collect();
    note_concerns(table, scheduler, scheduler_offset, &real_servers);
    Some(VirtualService {
        key: key?,
        name,
        scheduler,
        real_servers,
        health: health.with_sorry_server(sorry_server),
        always_on: always_on?,
    })
}

/// Notes an error where `thing` has been seen before; otherwise remembers its place. True for an error.
pub(super) fn note_repeated<T: Eq + std::hash::Hash>(
    table: &TableReader<'_>,
    key: &Key,
    seen: &mut HashMap<T, usize>,
    thing: T,
    text: &str,
    offset: usize,
    what: impl FnOnce() -> String,
) -> bool {
    match seen.entry(thing) {
        Entry::Vacant(vacant) => {
            vacant.insert(offset);
            false
        }
        Entry::Occupied(first) => {
            let first_line = table.report.source.line(*first.get());
            table.problem(key, offset, Problem::Duplicate { value: quote(text), what: what(), first_line });
            true
        }
    }
}

fn note_concerns(
    table: &TableReader<'_>,
    scheduler: Scheduler,
    scheduler_offset: usize,
    servers: &[RealServer],
) {
    if servers.is_empty() {
        table.report.concern(table.offset, table.path, Concern::NoRealServer);
    } else if servers.iter().all(|server| server.weight == 0) {
        table.report.concern(table.offset, table.path, Concern::AllQuiesced);
    }
    let mut weights = servers.iter().map(|server| server.weight).filter(|weight| *weight != 0);
    let first = weights.next();
    if scheduler.ignores_weights() && weights.any(|weight| Some(weight) != first) {
        let alternative = match scheduler {
            Scheduler::Rr => "wrr",
            Scheduler::Dh => "mh",
            _ => "wlc",
        };
        let concern = Concern::WeightsIgnored { scheduler: scheduler.name(), alternative };
        table.report.concern(scheduler_offset, Path::Key(&table.path, service::SCHEDULER.name), concern);
    }
}

pub(super) fn service_name(text: &str) -> Result<&str, String> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '\\');
    if text.is_empty() || text.chars().count() > LONGEST_NAME || text.contains(bad) {
        return Err(format!("not a name; expected {}", expected(&service::NAME)));
    }
    Ok(text)
}

/// The scheduler and the byte where it stands, or where the service begins.
fn read_scheduler(table: &TableReader<'_>) -> Option<(Scheduler, usize)> {
    if !table.is_table(&service::SCHEDULER) {
        let scheduler = table.word(&service::SCHEDULER, Scheduler::from_name);
        return match scheduler {
            Given::Absent => Some((Scheduler::Wlc, table.offset)),
            given => given.value(),
        };
    }
    let (scheduler, offset) = table.table(&service::SCHEDULER, read_scheduler_table).value()?;
    Some((scheduler?, offset))
}

fn read_scheduler_table(table: &TableReader<'_>) -> Option<Scheduler> {
    let scheduler =
        table.word(&scheduler::NAME, Scheduler::from_name).value().map(|(scheduler, _)| scheduler);
    let port = table.boolean(&scheduler::PORT).value();
    let fallback = table.boolean(&scheduler::FALLBACK).value();
    let table_size = table.integer(&scheduler::TABLE_SIZE).value();
    let refuse = |key: &Key, value: String, offset: usize, takers: &str| {
        if let Some(scheduler) = scheduler {
            let reason = format!("scheduler {} takes no \"{}\"; only {takers}", scheduler.name(), key.name);
            table.problem(key, offset, Problem::Conflict { value, reason });
        }
    };
    if let Some((port, offset)) = port
        && !matches!(scheduler, Some(Scheduler::Sh(_) | Scheduler::Mh { .. }))
    {
        refuse(&scheduler::PORT, port.to_string(), offset, "sh and mh do");
    }
    if let Some((fallback, offset)) = fallback
        && !matches!(scheduler, Some(Scheduler::Sh(_)))
    {
        refuse(&scheduler::FALLBACK, fallback.to_string(), offset, "sh does");
    }
    if let Some((size, offset)) = table_size
        && !matches!(scheduler, Some(Scheduler::Mh { .. }))
    {
        refuse(&scheduler::TABLE_SIZE, size.to_string(), offset, "mh does");
    }
    let flags = SourceHashFlags {
        port: port.is_some_and(|(port, _)| port),
        fallback: fallback.is_some_and(|(fallback, _)| fallback),
    };
    Some(match scheduler? {
        Scheduler::Sh(_) => Scheduler::Sh(flags),
        Scheduler::Mh { .. } => {
            let table_size = table_size.map_or(DEFAULT_MAGLEV_TABLE_SIZE, |(size, _)| size);
            Scheduler::Mh { flags, table_size }
        }
        plain => plain,
    })
}

/// Real servers of a service, and where they stand.
type Seen = HashMap<(IpAddr, Option<u16>), usize>;

/// Reads the real servers, `None` for each with an error in it.
fn read_real_servers(
    table: &TableReader<'_>,
    surroundings: &Surroundings,
    health: &HealthReader,
    protocol: Option<Protocol>,
    seen: &mut Seen,
    progress: &mut Progress,
) -> Vec<Option<RealServer>> {
    let servers = table.tables(&service::REAL_SERVER, |server| {
        progress.real_servers.add(1, server);
        read_real_server(server, surroundings, health, protocol, seen)
    });
    servers.value().map(|(servers, _)| servers).unwrap_or_default()
}

fn read_real_server(
    table: &TableReader<'_>,
    surroundings: &Surroundings,
    health: &HealthReader,
    protocol: Option<Protocol>,
    seen: &mut Seen,
) -> Option<RealServer> {
    let weight = table.integer(&real_server::WEIGHT).valid_or(1);
    let own_forwarding = table.word(&real_server::FORWARDING, ForwardingMethod::from_name);
    let forwarding = match own_forwarding {
        Given::Absent => surroundings.forwarding,
        given => given.value().map(|(forwarding, _)| forwarding),
    };
    let checked = CheckedServers {
        protocol,
        no_port: surroundings.no_port(),
        forwarding: forwarding.into_iter().collect(),
    };
    let health = health.real_server(table, forwarding, &checked);
    let (((address, port), text), offset) = table
        .text(&real_server::ADDRESS, |text| {
            let read =
                parse_address(text, expected(&real_server::ADDRESS)).map_err(|error| error.to_string())?;
            usable(read.0).map_err(|error| error.to_string())?;
            Ok((read, text))
        })
        .value()?;
    let port_here = port.or(surroundings.endpoint.map(|(_, port)| port));
    note_repeated(table, &real_server::ADDRESS, seen, (address, port_here), text, offset, || {
        "this real server".to_owned()
    });
    let (virtual_address, virtual_port) = surroundings.endpoint?;
    let port = port_here?;
    let conflict = |reason| {
        table.problem(&real_server::ADDRESS, offset, Problem::Conflict { value: quote(text), reason });
    };
    if address == virtual_address {
        conflict("the virtual address cannot be its own real server; write an address that only the real server has".into());
    }
    if let Some(reason) =
        forwarding.and_then(|forwarding| family_conflict(virtual_address, address, forwarding))
    {
        conflict(reason);
    }
    if let Some(reason) = port_conflict(virtual_port, port, forwarding) {
        conflict(reason);
    }
    Some(RealServer { address, port, weight: weight?, forwarding: forwarding?, share: FULL_SHARE, health })
}

fn family_conflict(virtual_address: IpAddr, real: IpAddr, forwarding: ForwardingMethod) -> Option<String> {
    let family = |address: IpAddr| if address.is_ipv4() { "IPv4" } else { "IPv6" };
    (virtual_address.is_ipv4() != real.is_ipv4() && forwarding != ForwardingMethod::Tunnel).then(|| {
        format!(
            "an {} real server behind an {} virtual address needs forwarding = \"tunnel\"; forwarding \"{forwarding}\" \
             keeps the family",
            family(real),
            family(virtual_address)
        )
    })
}

fn port_conflict(virtual_port: u16, port: u16, forwarding: Option<ForwardingMethod>) -> Option<String> {
    if port == virtual_port {
        return None;
    }
    if virtual_port == 0 {
        return Some(
            "the service has port 0, all ports, and each packet keeps its own; leave the port of the real server out"
                .to_owned(),
        );
    }
    if port == 0 {
        return Some(format!(
            "port 0 stands for all ports, but the service has port {virtual_port}; leave the port of the real server out"
        ));
    }
    let forwarding = forwarding.filter(|forwarding| *forwarding != ForwardingMethod::Nat)?;
    Some(format!(
        "forwarding \"{forwarding}\" leaves the port of a packet as it is, {virtual_port}, and {port} would never be \
         reached; leave the port out, or write forwarding = \"nat\""
    ))
}
