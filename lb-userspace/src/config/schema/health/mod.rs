//! Keys of health checks and of what follows from them, one file per table.

pub mod check;
pub mod email;
pub mod notify;
pub mod real_server;
pub mod request;
pub mod service;
pub mod sorry_server;
pub mod step;
pub mod tls;

use std::time::Duration;

use super::{Key, Kind, Presence, Table};

const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(86_400);

const fn duration(
    name: &'static str,
    min: Duration,
    presence: Presence,
    foreign: &'static [&'static str],
    doc: &'static str,
) -> Key {
    Key { name, kind: Kind::Duration { min, max: LONGEST }, presence, foreign, doc }
}

pub(super) const fn text(
    name: &'static str,
    what: &'static str,
    without: &'static str,
    foreign: &'static [&'static str],
    doc: &'static str,
) -> Key {
    Key { name, kind: Kind::Text(what), presence: Presence::Otherwise(without), foreign, doc }
}

pub(super) const fn flag(
    name: &'static str,
    default: &'static str,
    foreign: &'static [&'static str],
    doc: &'static str,
) -> Key {
    Key { name, kind: Kind::Boolean, presence: Presence::Default(default), foreign, doc }
}

pub(super) const fn number(
    name: &'static str,
    (min, max): (u32, u32),
    presence: Presence,
    foreign: &'static [&'static str],
    doc: &'static str,
) -> Key {
    Key { name, kind: Kind::Integer { min, max }, presence, foreign, doc }
}

/// A program and its arguments.
pub(in crate::config) const COMMAND: &str =
    "a list of strings, an absolute path and arguments, such as [\"/usr/local/bin/alarm\", \"web\"]";

pub(super) const fn program(name: &'static str, foreign: &'static [&'static str], doc: &'static str) -> Key {
    Key { name, kind: Kind::Texts(COMMAND), presence: Presence::Otherwise("nothing is run"), foreign, doc }
}

const REGEX: &str = "a regular expression in the syntax of the Rust crate regex";
