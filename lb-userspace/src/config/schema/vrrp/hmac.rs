//! `[vrrp.hmac]`

use super::{Key, Kind, Presence, Table};

/// `mode`
pub static MODE: Key = Key {
    name: "mode",
    kind: Kind::Word {
        what: "mode",
        words: &["receive-only", "permissive", "enforce"],
        foreign: &[("receive_only", "receive-only")],
    },
    presence: Presence::Default("\"enforce\""),
    foreign: &["auth_hmac_mode"],
    doc: "`receive-only` sends none and verifies what comes; `permissive` sends them and takes messages without one as well; \
          `enforce` takes nothing without one. Routers in use go through all three, one router after the other at each step.",
};
/// `[[vrrp.hmac.key]]`
pub static KEY: Key = Key {
    name: "key",
    kind: Kind::Tables(&super::hmac_key::TABLE),
    presence: Presence::Required,
    foreign: &["keys", "secret"],
    doc: "Secrets: the first one signs, all of them verify.",
};
/// The table.
pub static TABLE: Table = Table {
    header: "[vrrp.hmac]",
    doc: "Authentication of the advertisements of the instance above. The clocks of the routers may differ by three \
          intervals, and by five seconds at least.",
    keys: &[&MODE, &KEY],
};
