//! `[[vrrp.track]]`.

use super::check::{CheckedServers, LOCAL, absolute_path, read_check};
use super::error::Problem;
use super::path::quote;
use super::reader::TableReader;
use super::schema::Key;
use super::schema::health::check;
use super::schema::vrrp::track;
use super::settings::interface_name;
use crate::model::{Check, CheckKind, Track, TrackKind, VirtualService};

/// Longest name of a process in the kernel (`TASK_COMM_LEN` without its end).
const LONGEST_PROCESS_NAME: usize = 15;

/// Reads what an instance depends on.
pub(super) fn read_track(table: &TableReader<'_>, services: &[VirtualService]) -> Option<Track> {
    const KINDS: [&Key; 5] =
        [&track::INTERFACE, &track::CHECK, &track::PROCESS, &track::FILE, &track::SERVICE];
    let weight = table.signed(&track::WEIGHT).valid_or(0);
    let name = super::check::optional(table.text(&track::NAME, super::check::name));
    let given: Vec<&Key> = KINDS.into_iter().filter(|key| table.has(key)).collect();
    let mut kinds: Vec<Option<TrackKind>> = given.iter().map(|key| read_kind(table, key, services)).collect();
    let [_] = given[..] else {
        let names = KINDS.map(|key| quote(key.name)).join(", ");
        match given.get(1) {
            Some(second) => {
                table.conflict(second, format!("a track looks at one thing; write one of {names}"));
            }
            None => {
                let expected = format!("one of {names}");
                table.problem(KINDS[0], table.offset, Problem::Missing { expected });
            }
        }
        return None;
    };
    let kind = kinds.pop()??;
    let name = name?.unwrap_or_else(|| describe(&kind));
    Some(Track { name, kind, weight: weight? })
}

fn read_kind(table: &TableReader<'_>, key: &Key, services: &[VirtualService]) -> Option<TrackKind> {
    match key.name {
        "check" => table.table(key, read_tracked_check).value()?.0,
        name => {
            let read = table.text(key, |text| match name {
                "interface" => Ok(TrackKind::Interface(interface_name(text)?.to_owned())),
                "process" => process(text),
                "file" => absolute_path(text).map(TrackKind::File),
                _ => service(text, services),
            });
            read.value().map(|(kind, _)| kind)
        }
    }
}

fn describe(kind: &TrackKind) -> String {
    match kind {
        TrackKind::Interface(name) => format!("interface {name}"),
        TrackKind::Check(check) => match check.target.address {
            Some(address) => format!("{} {address}", check.kind.name()),
            None => check.kind.name().to_owned(),
        },
        TrackKind::Process(name) => format!("process {name}"),
        TrackKind::File(path) => format!("file {}", path.display()),
        TrackKind::Service(name) => format!("service {name}"),
    }
}

fn read_tracked_check(table: &TableReader<'_>) -> Option<TrackKind> {
    let nobody = Some("there is no real server whose it could be");
    let servers = CheckedServers { protocol: None, no_port: nobody, forwarding: Vec::new() };
    let read = read_check(table, &servers)?;
    let Check { kind, target, .. } = &read;
    if target.address.is_none() && !LOCAL.contains(&kind.name()) {
        let expected = format!("{}, because there is no real server whose it could be", check::ADDRESS.kind);
        table.problem(&check::ADDRESS, table.offset, Problem::Missing { expected });
        return None;
    }
    if target.through_datapath {
        table.conflict(&check::THROUGH, "there is no real server to go through".to_owned());
    }
    Some(TrackKind::Check(Box::new(read)))
}

fn process(text: &str) -> Result<TrackKind, String> {
    if text.is_empty() || text.len() > LONGEST_PROCESS_NAME || text.contains(['/', '\0']) {
        return Err(format!(
            "not a name that the kernel gives a process; expected its program without the path, at most {LONGEST_PROCESS_NAME} bytes"
        ));
    }
    Ok(TrackKind::Process(text.to_owned()))
}

fn service(text: &str, services: &[VirtualService]) -> Result<TrackKind, String> {
    if services.iter().any(|service| service.name == text) {
        return Ok(TrackKind::Service(text.to_owned()));
    }
    let names: Vec<&str> = services.iter().map(|service| service.name.as_str()).collect();
    let nearest = super::nearest::nearest(text, names.iter().copied());
    let hint = nearest.map(|name| format!("; did you mean {}?", quote(name))).unwrap_or_default();
    Err(format!("there is no virtual service of this name{hint}"))
}

/// Names the user of a script that names none.
pub(super) fn name_user(track: &mut Track, user: &str) {
    if let TrackKind::Check(check) = &mut track.kind
        && let CheckKind::Script(script) = &mut check.kind
    {
        script.user.get_or_insert_with(|| user.to_owned());
    }
}
