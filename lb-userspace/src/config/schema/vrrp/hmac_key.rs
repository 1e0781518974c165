//! `[[vrrp.hmac.key]]`

use super::{Key, Kind, Presence, Table};

/// `id`
pub static ID: Key = Key {
    name: "id",
    kind: Kind::Integer { min: 0, max: 255 },
    presence: Presence::Required,
    foreign: &["key_id"],
    doc: "Number of the secret, the same on every router.",
};
/// `secret`
pub static SECRET: Key = Key {
    name: "secret",
    kind: Kind::Text("32 to 64 bytes"),
    presence: Presence::Required,
    foreign: &["key", "password"],
    doc: "The secret. Whoever may read the configuration file can send advertisements.",
};
/// The table.
pub static TABLE: Table = Table {
    header: "[[vrrp.hmac.key]]",
    doc: "A secret. To change it, add the new one behind the old one on every router, then exchange the two, then take the \
          old one out.",
    keys: &[&ID, &SECRET],
};
