//! `[[service.check]]` and `[[service.real_server.check]]`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::address::parse_address;
use super::check_dialogue::read_dialogue;
use super::check_http::{read_http, read_pattern, read_tls};
use super::error::Problem;
use super::reader::{Given, TableReader};
use super::schema::Key;
use super::schema::health::check as keys;
use super::settings::{expected, interface_name};
use crate::model::{
    Check, CheckKind, CheckPolicy, CheckTarget, DnsCheck, FileCheck, FileMeaning, ForwardingMethod, Protocol,
    ScriptCheck, SmtpCheck, UdpCheck,
};

/// What the real servers of a check have in common; parts with an error in them are `None`.
pub(super) struct CheckedServers {
    /// Protocol of the service.
    pub(super) protocol: Option<Protocol>,
    /// Why a check has to name its port, where it has to: there is none that it could take over.
    pub(super) no_port: Option<&'static str>,
    /// Forwarding methods of the real servers.
    pub(super) forwarding: Vec<ForwardingMethod>,
}

/// Keys that each type of check takes beside those of every check.
const TAKES: [(&str, &[&Key]); 21] = [
    ("tcp", &[]),
    (
        "http",
        &[
            &keys::METHOD,
            &keys::PATH,
            &keys::HOST,
            &keys::HEADER,
            &keys::STATUS,
            &keys::MD5,
            &keys::SHA256,
            &keys::PATTERN,
            &keys::NO_PATTERN,
            &keys::MAX_REDIRECTS,
            &keys::REQUEST,
            &keys::VERSION,
            &keys::MAX_BODY,
            &keys::TLS,
        ],
    ),
    ("smtp", &[&keys::HELO, &keys::TLS]),
    ("dns", &[&keys::NAME, &keys::RECORD, &keys::ANSWER]),
    ("ping", &[]),
    ("udp", &[&keys::PAYLOAD, &keys::REQUIRE_REPLY, &keys::PATTERN, &keys::NO_PATTERN]),
    ("script", &[&keys::COMMAND_KEY, &keys::USER, &keys::DYNAMIC]),
    ("file", &[&keys::FILE, &keys::MEANING]),
    ("expect", &[&keys::STEP, &keys::TLS]),
    ("ftp", &[&keys::USER, &keys::PASSWORD, &keys::TLS]),
    ("imap", &[&keys::USER, &keys::PASSWORD, &keys::TLS]),
    ("pop", &[&keys::USER, &keys::PASSWORD, &keys::TLS]),
    ("nntp", &[&keys::TLS]),
    ("ldap", &[&keys::USER, &keys::PASSWORD, &keys::BASE, &keys::TLS]),
    ("mysql", &[&keys::USER, &keys::PASSWORD, &keys::DATABASE, &keys::QUERY, &keys::TLS]),
    ("pgsql", &[&keys::USER, &keys::PASSWORD, &keys::DATABASE, &keys::QUERY, &keys::TLS]),
    ("redis", &[&keys::USER, &keys::PASSWORD, &keys::TLS]),
    ("sip", &[&keys::USER, &keys::TRANSPORT, &keys::TLS]),
    ("radius", &[&keys::USER, &keys::PASSWORD, &keys::SECRET]),
    ("on", &[]),
    ("off", &[]),
];

/// Keys of every check.
const COMMON: [&Key; 7] = [
    &keys::TYPE,
    &keys::INTERVAL,
    &keys::TIMEOUT,
    &keys::RETRY_DELAY,
    &keys::RISE,
    &keys::FALL,
    &keys::WARMUP,
];

/// Keys of the checks that ask over the network.
const NETWORK: [&Key; 6] =
    [&keys::ADDRESS, &keys::PORT, &keys::SOURCE, &keys::INTERFACE, &keys::MARK, &keys::THROUGH];

/// Types that ask nobody over the network.
pub(super) const LOCAL: [&str; 5] = ["script", "external", "file", "on", "off"];

/// Reads the checks under `key`, `None` for each with an error in it.
pub(super) fn read_checks(
    table: &TableReader<'_>,
    key: &Key,
    servers: &CheckedServers,
) -> Given<Vec<Option<Check>>> {
    table.tables(key, |check| read_check(check, servers))
}

pub(super) fn read_check(table: &TableReader<'_>, servers: &CheckedServers) -> Option<Check> {
    let (name, _) =
        table.word(&keys::TYPE, |word| keys::TYPES.iter().copied().find(|known| *known == word)).value()?;
    refuse_foreign_keys(table, name);
    let policy = read_policy(table);
    let target = read_target(table, name, servers);
    let kind = read_kind(table, name, servers);
    Some(Check { kind: kind?, target: target?, policy: policy? })
}

/// Which of [`TAKES`] a type is like.
fn alike(name: &str) -> &str {
    match name {
        "https" => "http",
        "external" => "script",
        other => other,
    }
}

fn refuse_foreign_keys(table: &TableReader<'_>, name: &str) {
    let own = TAKES.iter().find(|(known, _)| *known == alike(name)).map_or(&[][..], |(_, keys)| keys);
    for key in keys::TABLE.keys {
        let network = NETWORK.iter().any(|known| known.name == key.name);
        let taken = COMMON.iter().chain(own).any(|known| known.name == key.name)
            || (network && !LOCAL.contains(&name));
        let tls_of_http = name == "http" && key.name == keys::TLS.name;
        if (taken && !tls_of_http) || !table.has(key) {
            continue;
        }
        let reason = if tls_of_http {
            "a check of type \"http\" speaks no TLS; write type = \"https\"".to_owned()
        } else {
            let takers: Vec<&str> = TAKES
                .iter()
                .filter(|(known, keys)| {
                    keys.iter().any(|known| known.name == key.name) || (network && !LOCAL.contains(known))
                })
                .map(|(known, _)| *known)
                .collect();
            let takers =
                takers.join(", ").replace("http", "http, https").replace("script", "script, external");
            format!("a check of type \"{name}\" takes no \"{}\", which is for {takers}", key.name)
        };
        table.conflict(key, reason);
    }
}

fn read_policy(table: &TableReader<'_>) -> Option<CheckPolicy> {
    let time = |key: &Key, default| table.duration(key).valid_or(default);
    let interval = time(&keys::INTERVAL, Duration::from_secs(5));
    let timeout = time(&keys::TIMEOUT, Duration::from_secs(3));
    let retry_delay = time(&keys::RETRY_DELAY, Duration::from_secs(1));
    let warmup = time(&keys::WARMUP, interval.unwrap_or_default());
    let rise = table.integer(&keys::RISE).valid_or(1);
    let fall = table.integer(&keys::FALL).valid_or(2);
    Some(CheckPolicy {
        interval: interval?,
        timeout: timeout?,
        retry_delay: retry_delay?,
        rise: rise?,
        fall: fall?,
        warmup: warmup?,
    })
}

fn read_target(table: &TableReader<'_>, name: &str, servers: &CheckedServers) -> Option<CheckTarget> {
    let address = optional(table.text(&keys::ADDRESS, |text| bare_address(text, &keys::ADDRESS)));
    let source = optional(table.text(&keys::SOURCE, |text| bare_address(text, &keys::SOURCE)));
    let interface = optional(table.text(&keys::INTERFACE, |text| interface_name(text).map(str::to_owned)));
    let port = optional(table.integer(&keys::PORT));
    let mark = optional(table.integer(&keys::MARK));
    let through = table.word(&keys::THROUGH, |word| match word {
        "network" => Some(false),
        "datapath" => Some(true),
        _ => None,
    });
    let through_datapath = through.valid_or(false)?;
    if through_datapath {
        let reason = if name == "ping" {
            Some(
                "a ping has no port that a virtual service could be asked for; write type = \"tcp\""
                    .to_owned(),
            )
        } else if table.has(&keys::ADDRESS) {
            Some("\"address\" asks another address than the virtual one; leave one of the two out".to_owned())
        } else if servers.forwarding.contains(&ForwardingMethod::Nat) {
            Some(
                "a real server with forwarding \"nat\" has no virtual address; leave \"through\" out, or write \
                 forwarding = \"dr\" or \"tunnel\""
                    .to_owned(),
            )
        } else {
            None
        };
        if let Some(reason) = reason {
            table.conflict(&keys::THROUGH, reason);
        }
    }
    if let Some(reason) = servers.no_port
        && !table.has(&keys::PORT)
        && !LOCAL.contains(&name)
        && name != "ping"
    {
        let expected = format!("{}, because {reason}", keys::PORT.kind);
        table.problem(&keys::PORT, table.offset, Problem::Missing { expected });
    }
    Some(CheckTarget {
        address: address?,
        port: port?.and_then(|port| u16::try_from(port).ok()),
        source: source?,
        interface: interface?,
        mark: mark?,
        through_datapath,
    })
}

/// `Some(None)` where the key is absent, `None` after an error.
pub(super) fn optional<T>(given: Given<T>) -> Option<Option<T>> {
    match given {
        Given::Absent => Some(None),
        Given::Invalid => None,
        Given::Value(value, _) => Some(Some(value)),
    }
}

fn bare_address(text: &str, key: &Key) -> Result<IpAddr, String> {
    match parse_address(text, expected(key)).map_err(|error| error.to_string())? {
        (address, None) => Ok(address),
        (_, Some(_)) => Err(format!("a port does not belong here; expected {}", expected(key))),
    }
}

/// An absolute path.
pub(super) fn absolute_path(text: &str) -> Result<PathBuf, String> {
    if text.contains('\0') {
        Err("a path holds no zero byte".to_owned())
    } else if text.starts_with('/') {
        Ok(PathBuf::from(text))
    } else {
        Err("not an absolute path; expected an absolute path".to_owned())
    }
}

/// A program and its arguments.
pub(super) fn read_command(table: &TableReader<'_>, key: &Key) -> Option<Option<Vec<String>>> {
    let mut first = true;
    let words = table.texts(key, |word| {
        if std::mem::take(&mut first) {
            absolute_path(word)?;
        }
        if word.contains('\0') {
            Err("an argument holds no zero byte".to_owned())
        } else {
            Ok(word.to_owned())
        }
    });
    match words {
        Given::Absent => Some(None),
        Given::Invalid => None,
        Given::Value(words, offset) if words.is_empty() => {
            table.problem(key, offset, Problem::Missing { expected: key.kind.to_string() });
            None
        }
        Given::Value(words, _) => Some(Some(words)),
    }
}

fn read_kind(table: &TableReader<'_>, name: &'static str, servers: &CheckedServers) -> Option<CheckKind> {
    Some(match name {
        "tcp" => CheckKind::Tcp,
        "http" | "https" => CheckKind::Http(Box::new(read_http(table, name == "https")?)),
        "smtp" => {
            let helo = optional(table.text(&keys::HELO, host_name));
            let tls = read_tls(table, None);
            CheckKind::Smtp(SmtpCheck { helo: helo?, tls: tls? })
        }
        "dns" => read_dns(table)?,
        "ping" => CheckKind::Ping,
        "udp" => {
            let payload = table.text(&keys::PAYLOAD, unescape).valid_or(vec![0]);
            let require_reply = table.boolean(&keys::REQUIRE_REPLY).valid_or(false);
            let reply = read_pattern(table);
            let require_reply = require_reply? || matches!(reply, Some(Some(_)));
            CheckKind::Udp(UdpCheck { payload: payload?, require_reply, reply: reply? })
        }
        "script" | "external" => read_script(table, name == "external")?,
        "file" => {
            let path = required(table, &keys::FILE, table.text(&keys::FILE, absolute_path));
            let meaning = table
                .word(&keys::MEANING, |word| match word {
                    "drain" => Some(FileMeaning::Drain),
                    "down" => Some(FileMeaning::Down),
                    "weight" => Some(FileMeaning::Weight),
                    _ => None,
                })
                .valid_or(FileMeaning::Drain);
            CheckKind::File(FileCheck { path: path?, meaning: meaning? })
        }
        "on" => CheckKind::On,
        "off" => CheckKind::Off,
        dialogue => CheckKind::Dialogue(Box::new(read_dialogue(table, dialogue, servers)?)),
    })
}

/// Notes that a key is missing that this type of check cannot do without.
pub(super) fn required<T>(table: &TableReader<'_>, key: &Key, given: Given<T>) -> Option<T> {
    if let Given::Absent = given {
        table.problem(key, table.offset, Problem::Missing { expected: key.kind.to_string() });
    }
    given.value().map(|(value, _)| value)
}

fn read_dns(table: &TableReader<'_>) -> Option<CheckKind> {
    let name = table.text(&keys::NAME, domain_name).valid_or(".".to_owned());
    let record = table.word(&keys::RECORD, |word| {
        ["A", "AAAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT"]
            .into_iter()
            .find(|known| *known == word)
    });
    let answer = optional(table.text(&keys::ANSWER, |text| Ok(text.to_owned())));
    Some(CheckKind::Dns(DnsCheck {
        name: name?,
        record_type: record.valid_or("SOA")?.to_owned(),
        answer: answer?,
    }))
}

fn read_script(table: &TableReader<'_>, ldirectord_arguments: bool) -> Option<CheckKind> {
    let command = read_command(table, &keys::COMMAND_KEY);
    if let Some(None) = command {
        let expected = keys::COMMAND_KEY.kind.to_string();
        table.problem(&keys::COMMAND_KEY, table.offset, Problem::Missing { expected });
    }
    let user = optional(table.text(&keys::USER, name));
    let dynamic = table.boolean(&keys::DYNAMIC).valid_or(false);
    Some(CheckKind::Script(ScriptCheck {
        command: command??,
        user: user?,
        dynamic: dynamic?,
        ldirectord_arguments,
    }))
}

/// A name without control characters.
pub(super) fn name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(char::is_control) {
        return Err("not a name; expected a name".to_owned());
    }
    Ok(text.to_owned())
}

/// A host name or address, with a port or without; only what could break a protocol is refused.
pub(super) fn host_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/') {
        return Err("not a host name; expected a host name".to_owned());
    }
    Ok(text.to_owned())
}

/// Labels of 1 to 63 bytes, 253 in all (RFC 1035, 2.3.4).
fn domain_name(text: &str) -> Result<String, String> {
    let labels = text.strip_suffix('.').unwrap_or(text);
    let good = labels.is_empty() && text == "."
        || labels.len() <= 253
            && labels.split('.').all(|label| {
                (1..=63).contains(&label.len()) && label.bytes().all(|byte| byte.is_ascii_graphic())
            });
    if good {
        Ok(text.to_owned())
    } else {
        Err(format!("not a domain name; expected {}", expected(&keys::NAME)))
    }
}

/// Text with `\xNN`, `\r`, `\n`, `\t`, `\0` and `\\`.
pub(super) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let wrong = || "a backslash is followed by xNN, r, n, t, 0 or another backslash".to_owned();
        bytes.push(match rest.next() {
            Some(b'x') => {
                let mut digit =
                    || rest.next().and_then(|byte| char::from(byte).to_digit(16)).ok_or_else(wrong);
                u8::try_from(digit()? * 16 + digit()?).map_err(|_| wrong())?
            }
            Some(b'r') => b'\r',
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'0') => 0,
            Some(b'\\') => b'\\',
            _ => return Err(wrong()),
        });
    }
    Ok(bytes)
}
