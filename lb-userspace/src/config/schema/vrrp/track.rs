//! `[[vrrp.track]]`

use super::{Key, Kind, Presence, Table, check, text};

/// `name`
pub static NAME: Key = text("name", "a name", "what is tracked", &[], "Name in logs and listings.");
/// `interface`
pub static INTERFACE: Key = text(
    "interface",
    "the name of a network interface",
    "one of the others",
    &["track_interface", "dev"],
    "This interface has to be up.",
);
/// `check`
pub static CHECK: Key = Key {
    name: "check",
    kind: Kind::Table(&check::TABLE),
    presence: Presence::Otherwise("one of the others"),
    foreign: &["script", "track_script", "vrrp_script", "ping", "gateway"],
    doc: "This check has to pass, such as `{ type = \"ping\", address = \"192.0.2.1\" }` or a script. Checks over the network \
          need an address, and a port where they connect to one.",
};
/// `process`
pub static PROCESS: Key = text(
    "process",
    "the name of a program of at most 15 bytes",
    "one of the others",
    &["track_process"],
    "A process of this name has to run, as `ps -C` finds it.",
);
/// `file`
pub static FILE: Key = text(
    "file",
    "an absolute path",
    "one of the others",
    &["track_file"],
    "The number in this file, times `weight`, is added to the priority (no file: 0); with weight 0 any number other than 0 \
     is a fault.",
);
/// `service`
pub static SERVICE: Key = text(
    "service",
    "the name of a virtual service",
    "one of the others",
    &["quorum", "virtual_service", "virtual_server"],
    "This virtual service has to have its quorum: a director that does not reach its real servers gives way to one that \
     does.",
);
/// `weight`
pub static WEIGHT: Key = Key {
    name: "weight",
    kind: Kind::Signed { min: -253, max: 253 },
    presence: Presence::Default("0"),
    foreign: &[],
    doc: "Added to the priority: a positive weight while it is well, a negative one while it is not. 0: while it is not \
          well, the instance is in fault.",
};
/// The table.
pub static TABLE: Table = Table {
    header: "[[vrrp.track]]",
    doc: "Something that the instance above depends on: exactly one of `interface`, `check`, `process`, `file` and \
          `service`.",
    keys: &[&NAME, &INTERFACE, &CHECK, &PROCESS, &FILE, &SERVICE, &WEIGHT],
};
