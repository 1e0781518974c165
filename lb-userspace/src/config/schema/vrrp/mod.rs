//! Keys of virtual routers and sync groups.

pub mod group;
pub mod heartbeat;
pub mod hmac;
pub mod hmac_key;
pub mod instance;
pub mod track;

use std::time::Duration;

use super::health::{check, flag, number, program, text};
use super::{Key, Kind, Presence, Table};

const LONGEST: Duration = Duration::from_secs(86_400);

const fn time(
    name: &'static str,
    (min, max): (Duration, Duration),
    presence: Presence,
    foreign: &'static [&'static str],
    doc: &'static str,
) -> Key {
    Key { name, kind: Kind::Duration { min, max }, presence, foreign, doc }
}

const fn texts(
    name: &'static str,
    what: &'static str,
    presence: Presence,
    foreign: &'static [&'static str],
    doc: &'static str,
) -> Key {
    Key { name, kind: Kind::Texts(what), presence, foreign, doc }
}
