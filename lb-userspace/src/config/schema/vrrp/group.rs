//! `[[vrrp_group]]`

use super::instance::{NOTIFY, NOTIFY_ACTIVE, NOTIFY_BACKUP, NOTIFY_FAULT, NOTIFY_STOP};
use super::{Key, Kind, Presence, Table, texts};

/// `name`
pub static NAME: Key = Key {
    name: "name",
    kind: Kind::Text("a name of 1 to 64 characters without spaces, quotes and control characters"),
    presence: Presence::Required,
    foreign: &["vrrp_sync_group"],
    doc: "Name in logs and notifications.",
};
/// `members`
pub static MEMBERS: Key = texts(
    "members",
    "a list of names of instances",
    Presence::Required,
    &["group", "instances"],
    "Instances, each in one group at most.",
);
/// The table.
pub static TABLE: Table = Table {
    header: "[[vrrp_group]]",
    doc: "Instances that are active together or not at all, such as the two sides of a director with NAT.",
    keys: &[&NAME, &MEMBERS, &NOTIFY_ACTIVE, &NOTIFY_BACKUP, &NOTIFY_FAULT, &NOTIFY_STOP, &NOTIFY],
};
