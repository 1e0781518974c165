//! `[[vrrp]]`

use super::{Duration, Key, Kind, LONGEST, Presence, Table, flag, number, program, text, texts, time};

/// `name`
pub static NAME: Key = Key {
    name: "name",
    kind: Kind::Text("a name of 1 to 64 characters without spaces, quotes and control characters"),
    presence: Presence::Required,
    foreign: &["vrrp_instance", "instance"],
    doc: "Name in logs, metrics, listings and notifications; unique.",
};
/// `interface`
pub static INTERFACE: Key = Key {
    name: "interface",
    kind: Kind::Text("the name of a network interface"),
    presence: Presence::Required,
    foreign: &["dev", "device", "nic"],
    doc: "Interface of the advertisements, and of the addresses that name none. While it is down, the instance is in \
          fault.",
};
/// `router_id`
pub static ROUTER_ID: Key = Key {
    name: "router_id",
    kind: Kind::Integer { min: 1, max: 255 },
    presence: Presence::Required,
    foreign: &["virtual_router_id", "vrid", "id"],
    doc: "Number of the virtual router (VRID), the same on every router that shares the addresses.",
};
/// `version`
pub static VERSION: Key = Key {
    name: "version",
    kind: Kind::IntegerOf(&[2, 3]),
    presence: Presence::Default("3"),
    foreign: &["vrrp_version"],
    doc: "Version of the protocol, the same on every router. keepalived's default is 2 for IPv4.",
};
/// `priority`
pub static PRIORITY: Key = number(
    "priority",
    (1, 255),
    Presence::Default("100"),
    &["prio"],
    "The router with the highest priority is active. 255 is for the owner of the addresses, which takes them at once \
     and never lowers its priority.",
);
/// `interval`
pub static INTERVAL: Key = time(
    "interval",
    (Duration::from_millis(10), Duration::from_millis(40_950)),
    Presence::Default("\"1s\""),
    &["advert_int", "advert_interval", "advertisement_interval"],
    "From one advertisement to the next; a failed router is replaced after three of them and a little more. In steps of \
     10 ms; version 2 knows whole seconds only, and requires the same of every router.",
);
/// `start`
pub static START: Key = Key {
    name: "start",
    kind: Kind::Word {
        what: "way to start",
        words: &["backup", "active"],
        foreign: &[("MASTER", "active"), ("master", "active")],
    },
    presence: Presence::Default("\"backup\""),
    foreign: &["state", "initial_state"],
    doc: "`active` takes over after one interval of silence at the start, `backup` after three.",
};
/// `start_delay`
pub static START_DELAY: Key = time(
    "start_delay",
    (Duration::ZERO, LONGEST),
    Presence::Default("\"0s\""),
    &["vrrp_startup_delay", "startup_delay"],
    "How long nothing is done after the start of the daemon: as long as a switch needs to forward on a port that came up.",
);
/// `preempt`
pub static PREEMPT: Key = flag(
    "preempt",
    "true",
    &["nopreempt"],
    "Whether the addresses are taken from an active router with a lower priority.",
);
/// `preempt_delay`
pub static PREEMPT_DELAY: Key = time(
    "preempt_delay",
    (Duration::ZERO, LONGEST),
    Presence::Default("\"0s\""),
    &[],
    "How long a lower priority is endured before that.",
);
/// `address`
pub static ADDRESS: Key = texts(
    "address",
    ADDRESSES,
    Presence::Required,
    &["addresses", "virtual_ipaddress", "virtual_address", "vip", "vips"],
    "Virtual addresses, all of one family. The active router has them on its interface, with this prefix length (without \
     one: of the host alone), or on the interface behind `@`. Over IPv6 the first one should be link-local (RFC 9568).",
);
/// `excluded_address`
pub static EXCLUDED_ADDRESS: Key = texts(
    "excluded_address",
    ADDRESSES,
    Presence::Otherwise("none"),
    &["virtual_ipaddress_excluded", "excluded"],
    "Further virtual addresses, of either family, that the advertisements do not list: there is no room for more than 255, \
     nor for more than fit the MTU.",
);
/// `peers`
pub static PEERS: Key = texts(
    "peers",
    PEER_ADDRESSES,
    Presence::Otherwise("multicast"),
    &["unicast_peer", "unicast_peers", "peer"],
    "The other routers; advertisements go to each of them by unicast, and come from nobody else.",
);
/// `source`
pub static SOURCE: Key = text(
    "source",
    "an address such as \"192.0.2.2\"",
    "the first address of the interface; over IPv6 its link-local address",
    &["unicast_src_ip", "mcast_src_ip", "src_ip"],
    "Address that advertisements come from. Between equal priorities the higher one decides.",
);
/// `password`
pub static PASSWORD: Key = text(
    "password",
    "at most 8 bytes",
    "no authentication",
    &["auth_pass", "authentication", "auth"],
    "Password of version 2. It is sent in clear: it tells misconfigured routers apart, and protects from nobody.",
);
/// `[vrrp.hmac]`
pub static HMAC: Key = Key {
    name: "hmac",
    kind: Kind::Table(&super::hmac::TABLE),
    presence: Presence::Otherwise("advertisements are taken from whoever is on the link"),
    foreign: &["auth_hmac"],
    doc: "Authentication of advertisements by HMAC-SHA-256, as keepalived 2.4 has it.",
};
/// `checksum`
pub static CHECKSUM: Key = Key {
    name: "checksum",
    kind: Kind::Word {
        what: "checksum",
        words: &["pseudo-header", "message"],
        foreign: &[("rfc9568", "message"), ("rfc5798", "pseudo-header")],
    },
    presence: Presence::Default("\"pseudo-header\""),
    foreign: &["checksum_with_ipv4_pseudoheader"],
    doc: "What the checksum of version 3 over IPv4 covers in what is sent: `pseudo-header` as keepalived and FRR have it, \
          `message` as RFC 9568 says it. What is received may have either.",
};
/// `down_intervals`
pub static DOWN_INTERVALS: Key = number(
    "down_intervals",
    (1, 100),
    Presence::Default("3"),
    &["down_timer_adverts"],
    "Intervals without an advertisement after which the active router is taken for dead.",
);
/// `answer_lower`
pub static ANSWER_LOWER: Key = flag(
    "answer_lower",
    "true",
    &["lower_prio_no_advert"],
    "Whether the active router answers an advertisement of lower priority at once, and announces its addresses again.",
);
/// `accept`
pub static ACCEPT: Key = flag(
    "accept",
    "true",
    &["no_accept"],
    "Whether the active router's own stack gets what arrives for the virtual addresses and belongs to no virtual service, \
     such as a ping. `false` drops it, with a counter.",
);
/// `virtual_mac`
pub static VIRTUAL_MAC: Key = flag(
    "virtual_mac",
    "false",
    &["use_vmac", "vmac"],
    "Gives the addresses the MAC address of the virtual router (00:00:5e:00:01:ID, over IPv6 00:00:5e:00:02:ID), on a \
     macvlan device of their own: hosts on the link need not learn anything at a failover.",
);
/// `announce_repeat`
pub static ANNOUNCE_REPEAT: Key = number(
    "announce_repeat",
    (1, 100),
    Presence::Default("5"),
    &["garp_master_repeat"],
    "How often each address is announced by gratuitous ARP or unsolicited neighbour advertisement when it is taken.",
);
/// `announce_delay`
pub static ANNOUNCE_DELAY: Key = time(
    "announce_delay",
    (Duration::ZERO, LONGEST),
    Presence::Default("\"5s\""),
    &["garp_master_delay"],
    "After this time they are announced as often again; `0s`: not again.",
);
/// `announce_refresh`
pub static ANNOUNCE_REFRESH: Key = time(
    "announce_refresh",
    (Duration::ZERO, LONGEST),
    Presence::Default("\"0s\""),
    &["garp_master_refresh"],
    "While active, each address is announced once in this time; `0s`: never.",
);
/// `[[vrrp.heartbeat]]`
pub static HEARTBEAT: Key = Key {
    name: "heartbeat",
    kind: Kind::Tables(&super::heartbeat::TABLE),
    presence: Presence::Otherwise("advertisements have one way"),
    foreign: &["heartbeats", "path"],
    doc: "Further ways for the advertisements.",
};
/// `[[vrrp.track]]`
pub static TRACK: Key = Key {
    name: "track",
    kind: Kind::Tables(&super::track::TABLE),
    presence: Presence::Otherwise("only its interface has to be up"),
    foreign: &["track_interface", "track_script", "track_file", "track_process", "tracks"],
    doc: "What the instance depends on.",
};
/// `notify_active`
pub static NOTIFY_ACTIVE: Key =
    program("notify_active", &["notify_master"], "Run when the instance has become active.");
/// `notify_backup`
pub static NOTIFY_BACKUP: Key = program("notify_backup", &[], "Run when it has become a backup.");
/// `notify_fault`
pub static NOTIFY_FAULT: Key = program("notify_fault", &[], "Run when it is in fault.");
/// `notify_stop`
pub static NOTIFY_STOP: Key = program("notify_stop", &[], "Run when it has been stopped.");
/// `notify`
pub static NOTIFY: Key = program("notify", &[], "Run at each of these.");

const ADDRESSES: &str = "a list of addresses such as [\"192.0.2.100/24\", \"198.51.100.1/32@eth1\"]";
pub(super) const PEER_ADDRESSES: &str = "a list of addresses such as [\"192.0.2.3\"]";

/// The table.
pub static TABLE: Table = Table {
    header: "[[vrrp]]",
    doc: "A virtual router: addresses that this director shares with others by VRRP, one of which has them at a time. Its \
          services are balanced here only while it is active.",
    keys: &[
        &NAME,
        &INTERFACE,
        &ROUTER_ID,
        &VERSION,
        &PRIORITY,
        &INTERVAL,
        &START,
        &START_DELAY,
        &PREEMPT,
        &PREEMPT_DELAY,
        &ADDRESS,
        &EXCLUDED_ADDRESS,
        &PEERS,
        &SOURCE,
        &PASSWORD,
        &HMAC,
        &CHECKSUM,
        &DOWN_INTERVALS,
        &ANSWER_LOWER,
        &ACCEPT,
        &VIRTUAL_MAC,
        &ANNOUNCE_REPEAT,
        &ANNOUNCE_DELAY,
        &ANNOUNCE_REFRESH,
        &HEARTBEAT,
        &TRACK,
        &NOTIFY_ACTIVE,
        &NOTIFY_BACKUP,
        &NOTIFY_FAULT,
        &NOTIFY_STOP,
        &NOTIFY,
    ],
};
