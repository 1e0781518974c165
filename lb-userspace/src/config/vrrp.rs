//! `[[vrrp]]` and `[[vrrp_group]]`.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use super::check::{optional, read_command};
use super::error::{Concern, Problem};
use super::reader::TableReader;
use super::schema::vrrp::{group, heartbeat, instance};
use super::schema::{Key, file};
use super::service::{note_repeated, service_name};
use super::settings::interface_name;
use super::vrrp_hmac::read_hmac;
use super::vrrp_track::read_track;
use crate::model::{
    Announce, Heartbeat, Instance, Program, StatePrograms, SyncGroup, VirtualAddress, VirtualService, Vrrp,
};
use crate::vrrp::{Authentication, Centiseconds, Checksum, RouterConfig, Version};

/// Addresses that an advertisement can list (RFC 9568, 5.2.5).
const MOST_ADDRESSES: usize = 255;

/// What has been read so far; places are byte offsets.
#[derive(Default)]
struct Seen {
    names: HashMap<String, usize>,
    routers: HashMap<(String, u32, bool), usize>,
    addresses: HashMap<IpAddr, usize>,
    members: HashMap<String, usize>,
}

/// Reads virtual routers and sync groups. One with an error in it is left out; the caller has no model then.
pub(super) fn read_vrrp(root: &TableReader<'_>, services: &[VirtualService], user: Option<&String>) -> Vrrp {
    let mut seen = Seen::default();
    let instances = root.tables(&file::VRRP, |table| read_instance(table, &mut seen, services));
    let Some((instances, _)) = instances.value() else {
        if root.has(&file::VRRP_GROUP) && !root.has(&file::VRRP) {
            root.conflict(&file::VRRP_GROUP, "there is no [[vrrp]] instance that it could name".to_owned());
        }
        return Vrrp::default();
    };
    let complete = instances.iter().all(Option::is_some);
    let mut instances: Vec<Instance> = instances.into_iter().flatten().collect();
    let mut groups = read_groups(root, &mut seen, complete);
    for group in &groups {
        for instance in instances.iter_mut().filter(|instance| group.members.contains(&instance.name)) {
            instance.router.grouped = true;
        }
    }
    if let Some(user) = user {
        let programs = instances.iter_mut().map(|instance| &mut instance.notify);
        for programs in programs.chain(groups.iter_mut().map(|group| &mut group.notify)) {
            name_user(programs, user);
        }
        for track in instances.iter_mut().flat_map(|instance| &mut instance.tracks) {
            super::vrrp_track::name_user(track, user);
        }
    }
    let vrrp = Vrrp { instances: instances.into_iter().map(Arc::new).collect(), groups };
    if complete && !vrrp.instances.is_empty() {
        note_uncarried(root, services, &vrrp);
    }
    vrrp
}

/// The mistake that everybody makes once: a service whose address no instance carries.
fn note_uncarried(root: &TableReader<'_>, services: &[VirtualService], vrrp: &Vrrp) {
    for service in services.iter().filter(|service| !service.always_on) {
        if vrrp.carrier(service.key.address).is_none() {
            let concern = Concern::NotCarried { service: service.name.clone(), address: service.key.address };
            root.report.concern(root.offset, file::SERVICE.name, concern);
        }
    }
}

fn read_instance(table: &TableReader<'_>, seen: &mut Seen, services: &[VirtualService]) -> Option<Instance> {
    let name = table.text(&instance::NAME, service_name).value().map(|(name, offset)| {
        note_repeated(table, &instance::NAME, &mut seen.names, name.to_owned(), name, offset, || {
            "an instance of this name".to_owned()
        });
        name.to_owned()
    });
    let interface = table.text(&instance::INTERFACE, interface_name).value().map(|(name, _)| name.to_owned());
    let addresses = addresses(table, &instance::ADDRESS, seen);
    let excluded = if table.has(&instance::EXCLUDED_ADDRESS) {
        self::addresses(table, &instance::EXCLUDED_ADDRESS, seen)
    } else {
        Some(Vec::new())
    };
    let ipv4 = addresses.as_ref().and_then(|list| list.first()).map(|first| first.address.is_ipv4());
    if let (Some(list), Some(ipv4)) = (&addresses, ipv4) {
        judge_addresses(table, list, ipv4);
    }
    let id = table.integer(&instance::ROUTER_ID).value();
    let router = read_router(table, ipv4, id.map(|(id, _)| id));
    if let (Some(interface), Some((id, offset)), Some(ipv4)) = (&interface, id, ipv4) {
        let identity = (interface.clone(), id, ipv4);
        note_repeated(
            table,
            &instance::ROUTER_ID,
            &mut seen.routers,
            identity,
            &id.to_string(),
            offset,
            || format!("a virtual router with this number and family on {interface}"),
        );
    }
    let peers = peers(table, &instance::PEERS, ipv4);
    let source = optional(table.text(&instance::SOURCE, |text| address(text, ipv4)));
    let authentication = read_password(table, router.as_ref());
    let hmac = read_hmac(table, router.as_ref());
    let checksum = table
        .word(&instance::CHECKSUM, |word| match word {
            "pseudo-header" => Some(Checksum::PseudoHeader),
            "message" => Some(Checksum::MessageOnly),
            _ => None,
        })
        .valid_or(Checksum::default());
    let accept = table.boolean(&instance::ACCEPT).valid_or(true);
    let virtual_mac = table.boolean(&instance::VIRTUAL_MAC).valid_or(false);
    if virtual_mac == Some(true) && table.has(&instance::PEERS) {
        let reason = "the address of a virtual MAC travels by multicast; leave one of the two out".to_owned();
        table.conflict(&instance::VIRTUAL_MAC, reason);
    }
    let heartbeats = table.tables(&instance::HEARTBEAT, |heartbeat| read_heartbeat(heartbeat, ipv4));
    let heartbeats = heartbeats.valid_or(Vec::new());
    let tracks = table.tables(&instance::TRACK, |track| read_track(track, services)).valid_or(Vec::new());
    Some(Instance {
        notify: programs(table),
        announce: read_announce(table)?,
        name: name?,
        interface: interface?,
        router: router?,
        addresses: addresses?,
        excluded: excluded?,
        peers: peers?,
        source: source?,
        authentication: authentication?,
        hmac: hmac?,
        checksum: checksum?,
        accept: accept?,
        virtual_mac: virtual_mac?,
        heartbeats: heartbeats?.into_iter().collect::<Option<_>>()?,
        tracks: tracks?.into_iter().collect::<Option<_>>()?,
    })
}

fn judge_addresses(table: &TableReader<'_>, list: &[VirtualAddress], ipv4: bool) {
    if list.iter().any(|each| each.address.is_ipv4() != ipv4) {
        let reason = "an advertisement lists addresses of one family; write an instance for each, or list the others under \
                      \"excluded_address\"";
        table.conflict(&instance::ADDRESS, reason.to_owned());
    }
    if list.len() > MOST_ADDRESSES {
        let reason = format!(
            "{} addresses, and an advertisement lists {MOST_ADDRESSES} at most; list the others under \"excluded_address\"",
            list.len()
        );
        table.conflict(&instance::ADDRESS, reason);
    }
}

fn read_announce(table: &TableReader<'_>) -> Option<Announce> {
    let default = Announce::default();
    let repeat = table.integer(&instance::ANNOUNCE_REPEAT).valid_or(default.repeat);
    let delay = table.duration(&instance::ANNOUNCE_DELAY).valid_or(default.delay);
    let refresh = table.duration(&instance::ANNOUNCE_REFRESH).valid_or(default.refresh);
    Some(Announce { repeat: repeat?, delay: delay?, refresh: refresh? })
}

fn read_router(table: &TableReader<'_>, ipv4: Option<bool>, vrid: Option<u32>) -> Option<RouterConfig> {
    let version = table.integer(&instance::VERSION).valid_or(3);
    let version = version.map(|version| if version == 2 { Version::V2 } else { Version::V3 });
    if version == Some(Version::V2) && ipv4 == Some(false) {
        table.conflict(&instance::VERSION, "version 2 knows IPv4 only; write 3".to_owned());
    }
    let interval = table.duration(&instance::INTERVAL).valid_or(Duration::from_secs(1));
    let interval = interval.and_then(|interval| read_interval(table, interval, version));
    let start_active = table.word(&instance::START, |word| match word {
        "backup" => Some(false),
        "active" => Some(true),
        _ => None,
    });
    let start_active = start_active.valid_or(false);
    let preempt = table.boolean(&instance::PREEMPT).valid_or(true);
    if (start_active, preempt) == (Some(true), Some(false)) {
        let reason =
            "start = \"active\" takes the addresses from a router that has them; write start = \"backup\"";
        table.conflict(&instance::PREEMPT, reason.to_owned());
    }
    let preempt_delay = table.duration(&instance::PREEMPT_DELAY).valid_or(Duration::ZERO);
    if preempt == Some(false) && table.has(&instance::PREEMPT_DELAY) {
        table.conflict(&instance::PREEMPT_DELAY, "with preempt = false nothing is preempted".to_owned());
    }
    let priority = table.integer(&instance::PRIORITY).valid_or(100);
    let start_delay = table.duration(&instance::START_DELAY).valid_or(Duration::ZERO);
    let down_intervals = table.integer(&instance::DOWN_INTERVALS).valid_or(3);
    let answer_lower = table.boolean(&instance::ANSWER_LOWER).valid_or(true);
    Some(RouterConfig {
        version: version?,
        vrid: u8::try_from(vrid?).ok()?,
        priority: u8::try_from(priority?).ok()?,
        interval: interval?,
        preempt: preempt?,
        preempt_delay: preempt_delay?,
        down_intervals: u8::try_from(down_intervals?).ok()?,
        start_active: start_active?,
        start_delay: start_delay?,
        answer_lower: answer_lower?,
        grouped: false,
    })
}

fn read_interval(
    table: &TableReader<'_>,
    interval: Duration,
    version: Option<Version>,
) -> Option<Centiseconds> {
    if !interval.as_micros().is_multiple_of(10_000) {
        table.conflict(&instance::INTERVAL, "VRRP counts in steps of 10 ms".to_owned());
        return None;
    }
    if version == Some(Version::V2) && interval.subsec_nanos() != 0 {
        let reason = "version 2 counts whole seconds; write version = 3 on every router".to_owned();
        table.conflict(&instance::INTERVAL, reason);
        return None;
    }
    Centiseconds::new(u16::try_from(interval.as_millis() / 10).ok()?)
}

fn read_password(table: &TableReader<'_>, router: Option<&RouterConfig>) -> Option<Authentication> {
    let password = optional(table.text(&instance::PASSWORD, |text| {
        let mut padded = [0; 8];
        match padded.get_mut(..text.len()) {
            Some(room) if !text.is_empty() => room.copy_from_slice(text.as_bytes()),
            _ => return Err("version 2 has room for 1 to 8 bytes".to_owned()),
        }
        Ok(padded)
    }))?;
    if password.is_some() && router.is_some_and(|router| router.version == Version::V3) {
        table.conflict(&instance::PASSWORD, "version 3 has no password; write version = 2".to_owned());
    }
    Some(password.map_or(Authentication::None, Authentication::Password))
}

fn read_heartbeat(table: &TableReader<'_>, ipv4: Option<bool>) -> Option<Heartbeat> {
    let interface =
        table.text(&heartbeat::INTERFACE, interface_name).value().map(|(name, _)| name.to_owned());
    let peers = peers(table, &heartbeat::PEERS, ipv4);
    Some(Heartbeat { interface: interface?, peers: peers? })
}

fn peers(table: &TableReader<'_>, key: &Key, ipv4: Option<bool>) -> Option<Vec<IpAddr>> {
    table.texts(key, |text| address(text, ipv4)).valid_or(Vec::new())
}

fn address(text: &str, ipv4: Option<bool>) -> Result<IpAddr, String> {
    let address: IpAddr =
        text.parse().map_err(|_| "not an address; expected one such as \"192.0.2.3\"".to_owned())?;
    if address.is_multicast() || address.is_unspecified() || address.is_loopback() {
        return Err("not the address of a router on the link".to_owned());
    }
    match ipv4 {
        Some(ipv4) if ipv4 != address.is_ipv4() => {
            Err("another family than that of the virtual addresses, which is that of the messages".to_owned())
        }
        _ => Ok(address),
    }
}

fn addresses(table: &TableReader<'_>, key: &Key, seen: &mut Seen) -> Option<Vec<VirtualAddress>> {
    let (list, offset) = table.texts(key, virtual_address).value()?;
    if list.is_empty() {
        table.problem(key, offset, Problem::Missing { expected: key.kind.to_string() });
        return None;
    }
    for each in &list {
        let text = each.address.to_string();
        note_repeated(table, key, &mut seen.addresses, each.address, &text, offset, || {
            "this virtual address".to_owned()
        });
    }
    Some(list)
}

fn virtual_address(text: &str) -> Result<VirtualAddress, String> {
    let expected = "expected an address such as \"192.0.2.100/24\" or \"192.0.2.100/24@eth1\"";
    let (rest, interface) = match text.split_once('@') {
        Some((rest, interface)) => (rest, Some(interface_name(interface)?.to_owned())),
        None => (text, None),
    };
    let (address, length) = match rest.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (rest, None),
    };
    let address: IpAddr = address.parse().map_err(|_| format!("not an address; {expected}"))?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix_length = match length {
        None => longest,
        Some(length) => length
            .parse()
            .ok()
            .filter(|length| (1..=longest).contains(length))
            .ok_or_else(|| format!("not a prefix length from 1 to {longest}; {expected}"))?,
    };
    let usable = match address {
        // The first address over IPv6 should be one.
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Ok(()),
        _ => super::address::usable(address),
    };
    usable.map_err(|error| error.to_string())?;
    if address == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        return Err(expected.to_owned());
    }
    Ok(VirtualAddress { address, prefix_length, interface })
}

fn read_groups(root: &TableReader<'_>, seen: &mut Seen, complete: bool) -> Vec<SyncGroup> {
    let mut names = HashMap::new();
    let groups = root.tables(&file::VRRP_GROUP, |table| {
        let name = table.text(&group::NAME, service_name).value().map(|(name, offset)| {
            note_repeated(table, &group::NAME, &mut names, name.to_owned(), name, offset, || {
                "a group of this name".to_owned()
            });
            name.to_owned()
        });
        let members = table.texts(&group::MEMBERS, |text| {
            if complete && !seen.names.contains_key(text) {
                return Err("there is no [[vrrp]] instance of this name".to_owned());
            }
            Ok(text.to_owned())
        });
        let notify = programs(table);
        let (members, offset) = members.value()?;
        if members.is_empty() {
            let expected = group::MEMBERS.kind.to_string();
            table.problem(&group::MEMBERS, offset, Problem::Missing { expected });
        }
        for member in &members {
            note_repeated(table, &group::MEMBERS, &mut seen.members, member.clone(), member, offset, || {
                "this instance in a group".to_owned()
            });
        }
        Some(SyncGroup { name: name?, members, notify })
    });
    groups.value().map(|(groups, _)| groups.into_iter().flatten().collect()).unwrap_or_default()
}

fn programs(table: &TableReader<'_>) -> StatePrograms {
    let program = |key| read_command(table, key).flatten().map(|command| Program { command, user: None });
    StatePrograms {
        active: program(&instance::NOTIFY_ACTIVE),
        backup: program(&instance::NOTIFY_BACKUP),
        fault: program(&instance::NOTIFY_FAULT),
        stop: program(&instance::NOTIFY_STOP),
        any: program(&instance::NOTIFY),
    }
}

fn name_user(programs: &mut StatePrograms, user: &str) {
    let StatePrograms { active, backup, fault, stop, any } = programs;
    for program in [active, backup, fault, stop, any].into_iter().flatten() {
        program.user.get_or_insert_with(|| user.to_owned());
    }
}
