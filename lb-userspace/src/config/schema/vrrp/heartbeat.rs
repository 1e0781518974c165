//! `[[vrrp.heartbeat]]`

use super::{Key, Kind, Presence, Table, texts};

/// `interface`
pub static INTERFACE: Key = Key {
    name: "interface",
    kind: Kind::Text("the name of a network interface"),
    presence: Presence::Required,
    foreign: &["dev", "device"],
    doc: "Interface.",
};
/// `peers`
pub static PEERS: Key = texts(
    "peers",
    super::instance::PEER_ADDRESSES,
    Presence::Otherwise("multicast"),
    &["unicast_peer"],
    "The other routers' addresses there, for unicast.",
);
/// The table.
pub static TABLE: Table = Table {
    header: "[[vrrp.heartbeat]]",
    doc: "A further way for the advertisements of the instance above, so that one broken link does not make two routers \
          active. The other routers need the same.",
    keys: &[&INTERFACE, &PEERS],
};
