//! `[global]`, `[limits]`, `[timeouts]` and `[[interface]]`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tracing_subscriber::filter::EnvFilter;

use super::address::parse_address;
use super::error::Problem;
use super::path::quote;
use super::reader::TableReader;
use super::schema::{Key, Kind, file, global, interface, limits, timeouts};
use crate::model::{AttachMode, Interface, Limits, Settings, Timeouts};

/// `sun_path` of `struct sockaddr_un` has 108 bytes, a closing zero among them (unix(7)).
const LONGEST_SOCKET_PATH: usize = 107;

/// `IFNAMSIZ` less the closing zero (net/if.h).
const LONGEST_INTERFACE_NAME: usize = 15;

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// Limits on counts, where they are valid.
pub(super) struct CountLimits {
    pub(super) services: Option<u32>,
    pub(super) real_servers: Option<u32>,
    pub(super) scheduler_slots: Option<u32>,
}

/// Reads the settings; the limits again, each `None` where it could not be read, so that nothing is measured against a
/// default the operator did not choose.
pub(super) fn read_settings(root: &TableReader<'_>) -> (Settings, CountLimits) {
    let default = Settings::default();
    let mut settings = Settings::default();
    root.table(&file::GLOBAL, |table| {
        settings.control_socket = table
            .text(&global::CONTROL_SOCKET, control_socket)
            .valid_or(default.control_socket)
            .unwrap_or_default();
        settings.metrics = table.text(&global::METRICS, metrics).valid_or(default.metrics).flatten();
        settings.router_id =
            super::check::optional(table.text(&global::ROUTER_ID, super::check::name)).flatten();
        settings.script_user =
            super::check::optional(table.text(&global::SCRIPT_USER, super::check::name)).flatten();
        settings.log = table.text(&global::LOG, log_filter).valid_or(default.log).unwrap_or_default();
    });
    let limits = default.limits;
    let mut counts = CountLimits {
        services: Some(limits.services),
        real_servers: Some(limits.real_servers),
        scheduler_slots: Some(limits.scheduler_slots),
    };
    root.table(&file::LIMITS, |table| {
        let size = |key: &Key, default: u32| table.size(key).valid_or(default);
        counts.services = size(&limits::SERVICES, limits.services);
        counts.real_servers = size(&limits::REAL_SERVERS, limits.real_servers);
        counts.scheduler_slots = size(&limits::SCHEDULER_SLOTS, limits.scheduler_slots);
        settings.limits = Limits {
            connections: size(&limits::CONNECTIONS, limits.connections).unwrap_or_default(),
            embryonic: size(&limits::EMBRYONIC, limits.embryonic).unwrap_or_default(),
            services: counts.services.unwrap_or_default(),
            real_servers: counts.real_servers.unwrap_or_default(),
            scheduler_slots: counts.scheduler_slots.unwrap_or_default(),
        };
    });
    root.table(&file::TIMEOUTS, |table| {
        let time = |key: &Key, default| table.duration(key).valid_or(default).unwrap_or_default();
        settings.timeouts = Timeouts {
            tcp: time(&timeouts::TCP, default.timeouts.tcp),
            tcp_fin: time(&timeouts::TCP_FIN, default.timeouts.tcp_fin),
            udp: time(&timeouts::UDP, default.timeouts.udp),
        };
    });
    (settings, counts)
}

/// Reads the interfaces; at least one, names unique.
pub(super) fn read_interfaces(root: &TableReader<'_>) -> Vec<Interface> {
    let mut first_offsets: HashMap<String, usize> = HashMap::new();
    let interfaces = root.tables(&file::INTERFACE, |table| {
        let mode = table.word(&interface::MODE, AttachMode::from_name).valid_or(AttachMode::default());
        let (name, offset) = table.text(&interface::NAME, interface_name).value()?;
        if let Some(first) = first_offsets.get(name) {
            let problem = Problem::Duplicate {
                value: quote(name),
                what: "this interface".to_owned(),
                first_line: table.report.source.line(*first),
            };
            table.problem(&interface::NAME, offset, problem);
        } else {
            first_offsets.insert(name.to_owned(), offset);
        }
        Some(Interface { name: name.to_owned(), mode: mode? })
    });
    let Some((interfaces, offset)) = interfaces.value() else {
        return Vec::new();
    };
    if interfaces.is_empty() {
        let expected = file::INTERFACE.kind.to_string();
        root.problem(&file::INTERFACE, offset, Problem::Missing { expected });
    }
    interfaces.into_iter().flatten().collect()
}

/// What a text key takes, as its error says it.
pub(super) fn expected(key: &Key) -> &'static str {
    match key.kind {
        Kind::Text(what) => what,
        _ => "a string",
    }
}

fn control_socket(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    let problem = if !path.is_absolute() {
        "not absolute, and the daemon and its commands may run in different directories"
    } else if text.len() > LONGEST_SOCKET_PATH {
        "longer than a Unix socket's path may be"
    } else if text.contains('\0') {
        "a path holds no zero byte"
    } else if text.ends_with('/') {
        "a directory, where the socket itself is to be named"
    } else {
        return Ok(path.to_owned());
    };
    Err(format!("{problem}; expected {}", expected(&global::CONTROL_SOCKET)))
}

fn metrics(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == "off" {
        return Ok(None);
    }
    let expected = expected(&global::METRICS);
    if !text.contains(['.', ':']) {
        return Err(format!("not an address; expected {expected}"));
    }
    match parse_address(text, expected).map_err(|error| error.to_string())? {
        (_, None) => Err(format!("the port is missing; expected {expected}")),
        (_, Some(0)) => {
            Err("port 0 would be another port at every start; write the port Prometheus is to ask".to_owned())
        }
        (address, Some(port)) => Ok(Some(SocketAddr::new(address, port))),
    }
}

fn log_filter(text: &str) -> Result<String, String> {
    let refuse = |directive: &str| {
        let subject =
            if directive == text { "not a".to_owned() } else { format!("{} is no", quote(directive)) };
        format!("{subject} log directive; expected {}", expected(&global::LOG))
    };
    if text.trim().is_empty() {
        return Err(refuse(text));
    }
    for directive in text.split(',') {
        let level = match directive.rsplit_once('=') {
            Some((target, level)) if !target.trim().is_empty() => level,
            Some(_) => return Err(refuse(directive)),
            None => directive,
        };
        if !LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level)) {
            return Err(refuse(directive));
        }
        EnvFilter::builder().parse(directive).map_err(|_| refuse(directive))?;
    }
    Ok(text.to_owned())
}

pub(super) fn interface_name(text: &str) -> Result<&str, String> {
    let problem = if text.len() > LONGEST_INTERFACE_NAME {
        "longer than the kernel's 15 bytes".to_owned()
    } else if text.is_empty() || text == "." || text == ".." {
        "not a name the kernel gives".to_owned()
    } else if let Some(bad) = text.chars().find(|c| matches!(c, '/' | ':' | '\0') || c.is_whitespace()) {
        // dev_valid_name() in net/core/dev.c.
        format!("{bad:?} is in no name the kernel gives")
    } else {
        return Ok(text);
    };
    Err(format!("{problem}; expected {}", expected(&interface::NAME)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_filters() {
        for text in ["info", "WARN", "off", "info,lb_userspace::config=debug", "lvx[span]=trace"] {
            assert_eq!(log_filter(text).as_deref(), Ok(text));
        }
        for text in ["", " ", "inof", "info,", "info,=debug", "lvx=loud", "lvx[=info", "3"] {
            assert!(log_filter(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn socket_paths() {
        assert!(control_socket(&format!("/{}", "x".repeat(106))).is_ok());
        for text in ["", "lvx.sock", "/run/", "/a\0b", &format!("/{}", "x".repeat(107))] {
            assert!(control_socket(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn interface_names() {
        for text in ["eth0", "enp1s0f0np0", "wan.100", "a23456789012345"] {
            assert_eq!(interface_name(text), Ok(text));
        }
        for text in ["", ".", "..", "a/b", "a b", "a:0", "a\tb", "a234567890123456", "ééééééééé"] {
            assert!(interface_name(text).is_err(), "{text:?}");
        }
    }
}
