//! The keys, one module per table.

use std::time::Duration;

use lb_common::sched::maglev::TABLE_SIZES;

use super::{Key, Kind, Presence, Table, health, vrrp};
use crate::model::{AttachMode, ForwardingMethod, MAX_WEIGHT, Protocol, Scheduler};

const SHORTEST_TIMEOUT: Duration = Duration::from_millis(1);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(30 * 86_400);

const fn limit(
    name: &'static str,
    max: u32,
    default: &'static str,
    foreign: &'static [&'static str],
    doc: &'static str,
) -> Key {
    Key { name, kind: Kind::Size { min: 1, max }, presence: Presence::Default(default), foreign, doc }
}

const fn timeout(
    name: &'static str,
    default: &'static str,
    foreign: &'static [&'static str],
    doc: &'static str,
) -> Key {
    let kind = Kind::Duration { min: SHORTEST_TIMEOUT, max: LONGEST_TIMEOUT };
    Key { name, kind, presence: Presence::Default(default), foreign, doc }
}

/// What ipvsadm prints and keepalived and everyday speech call the forwarding methods.
const FOREIGN_FORWARDING: &[(&str, &str)] = &[
    ("masq", "nat"),
    ("masquerade", "nat"),
    ("masquerading", "nat"),
    ("route", "dr"),
    ("direct", "dr"),
    ("direct_routing", "dr"),
    ("gate", "dr"),
    ("gatewaying", "dr"),
    ("ipip", "tunnel"),
    ("ip-ip", "tunnel"),
];

/// What everyday speech calls the schedulers.
const FOREIGN_SCHEDULERS: &[(&str, &str)] = &[
    ("maglev", "mh"),
    ("round-robin", "rr"),
    ("round_robin", "rr"),
    ("roundrobin", "rr"),
    ("least-connection", "lc"),
    ("leastconn", "lc"),
    ("source", "sh"),
    ("source-hash", "sh"),
];

/// The whole file.
pub mod file {
    use super::{Key, Kind, Presence, Table};

    /// `[global]`
    pub static GLOBAL: Key = Key {
        name: "global",
        kind: Kind::Table(&super::global::TABLE),
        presence: Presence::Otherwise("every key at its default"),
        foreign: &["global_defs"],
        doc: "Settings of the process.",
    };
    /// `[limits]`
    pub static LIMITS: Key = Key {
        name: "limits",
        kind: Kind::Table(&super::limits::TABLE),
        presence: Presence::Otherwise("every key at its default"),
        foreign: &["sizes"],
        doc: "Sizes of the tables.",
    };
    /// `[timeouts]`
    pub static TIMEOUTS: Key = Key {
        name: "timeouts",
        kind: Kind::Table(&super::timeouts::TABLE),
        presence: Presence::Otherwise("every key at its default"),
        foreign: &["lvs_timeouts"],
        doc: "Idle times of connection entries.",
    };
    /// `[[interface]]`
    pub static INTERFACE: Key = Key {
        name: "interface",
        kind: Kind::Tables(&super::interface::TABLE),
        presence: Presence::Required,
        foreign: &["device", "nic"],
        doc: "Network interfaces.",
    };
    /// `[[service]]`
    pub static SERVICE: Key = Key {
        name: "service",
        kind: Kind::Tables(&super::service::TABLE),
        presence: Presence::Otherwise("no virtual service"),
        foreign: &["virtual_server", "virtual_service", "virtual", "frontend", "vip"],
        doc: "Virtual services.",
    };
    /// `[notify]`
    pub static NOTIFY: Key = Key {
        name: "notify",
        kind: Kind::Table(&super::health::notify::TABLE),
        presence: Presence::Otherwise("changes are only logged"),
        foreign: &["notifications", "alert", "alerts"],
        doc: "Messages about changes of state.",
    };
    /// `[[vrrp]]`
    pub static VRRP: Key = Key {
        name: "vrrp",
        kind: Kind::Tables(&super::vrrp::instance::TABLE),
        presence: Presence::Otherwise("the virtual addresses are somebody else's affair"),
        foreign: &["vrrp_instance", "instance", "virtual_router"],
        doc: "Virtual routers.",
    };
    /// `[[vrrp_group]]`
    pub static VRRP_GROUP: Key = Key {
        name: "vrrp_group",
        kind: Kind::Tables(&super::vrrp::group::TABLE),
        presence: Presence::Otherwise("each instance by itself"),
        foreign: &["vrrp_sync_group", "sync_group"],
        doc: "Sync groups.",
    };
    /// The top level.
    pub static TABLE: Table = Table {
        header: "",
        doc: "Each table is described below; only `[[interface]]` has to be there.",
        keys: &[&GLOBAL, &LIMITS, &TIMEOUTS, &INTERFACE, &NOTIFY, &SERVICE, &VRRP, &VRRP_GROUP],
    };
}

/// `[global]`
pub mod global {
    use super::{Key, Kind, Presence, Table};

    /// `control_socket`
    pub static CONTROL_SOCKET: Key = Key {
        name: "control_socket",
        kind: Kind::Text("an absolute path of at most 107 bytes"),
        presence: Presence::Default("\"/run/lvx/lvx.sock\""),
        foreign: &["socket"],
        doc: "Unix socket through which `lvx list` and the other commands reach the daemon.",
    };
    /// `metrics`
    pub static METRICS: Key = Key {
        name: "metrics",
        kind: Kind::Text("an address with a port such as \"127.0.0.1:9464\" or \"[::1]:9464\", or \"off\""),
        presence: Presence::Default("\"127.0.0.1:9464\""),
        foreign: &["prometheus", "metrics_address"],
        doc: "Where Prometheus finds `/metrics`. Whoever reaches the address can read the metrics: leave it on loopback, or \
              put it on a management network.",
    };
    /// `log`
    pub static LOG: Key = Key {
        name: "log",
        kind: Kind::Text(
            "a level (error, warn, info, debug, trace, off), or a list such as \"info,lb_userspace::config=debug\"",
        ),
        presence: Presence::Default("\"info\""),
        foreign: &["log_level", "level", "debug"],
        doc: "What is logged, in the syntax of `RUST_LOG`. A directive without a level is refused, since it is more often a \
              mistyped level than a module.",
    };
    /// `router_id`
    pub static ROUTER_ID: Key = Key {
        name: "router_id",
        kind: Kind::Text("a name"),
        presence: Presence::Otherwise("the name of the host"),
        foreign: &["name", "hostname", "lvs_id"],
        doc: "Name of the director in mails and webhooks.",
    };
    /// `script_user`
    pub static SCRIPT_USER: Key = Key {
        name: "script_user",
        kind: Kind::Text("a name"),
        presence: Presence::Otherwise("the daemon's own"),
        foreign: &["user", "checker_user"],
        doc: "User that check scripts and notification programs run as where they name none.",
    };
    /// The table.
    pub static TABLE: Table = Table {
        header: "[global]",
        doc: "Settings of the process. A change takes effect at the next start.",
        keys: &[&CONTROL_SOCKET, &METRICS, &LOG, &ROUTER_ID, &SCRIPT_USER],
    };
}

/// `[limits]`
pub mod limits {
    use super::{Key, Table, limit};

    /// `connections`
    pub static CONNECTIONS: Key = limit(
        "connections",
        100_000_000,
        "\"1Mi\"",
        &["conn_tab_size", "conn_tab_bits"],
        "Connection entries that fit without eviction.",
    );
    /// `embryonic`
    pub static EMBRYONIC: Key = limit(
        "embryonic",
        10_000_000,
        "\"64Ki\"",
        &["half_open", "syn"],
        "Half-open TCP connections (a SYN seen, nothing more). A SYN flood evicts only entries of this kind.",
    );
    /// `services`
    pub static SERVICES: Key =
        limit("services", 100_000, "4096", &["virtual_servers"], "Virtual services that fit.");
    /// `real_servers`
    pub static REAL_SERVERS: Key = limit(
        "real_servers",
        1_000_000,
        "\"128Ki\"",
        &["servers", "destinations"],
        "Real servers that fit, over all services; a server in two services counts twice.",
    );
    /// `scheduler_slots`
    pub static SCHEDULER_SLOTS: Key = limit(
        "scheduler_slots",
        1 << 28,
        "\"8Mi\"",
        &["slots"],
        "Slots for the tables of the schedulers over all services, 4 bytes each. A service with `mh` takes its \
         `table_size`.",
    );
    /// The table.
    pub static TABLE: Table = Table {
        header: "[limits]",
        doc: "Sizes of the tables in the kernel. Their memory is taken once, at start; a change takes effect at the next \
              start.",
        keys: &[&CONNECTIONS, &EMBRYONIC, &SERVICES, &REAL_SERVERS, &SCHEDULER_SLOTS],
    };
}

/// `[timeouts]`
pub mod timeouts {
    use super::{Key, Table, timeout};

    /// `tcp`
    pub static TCP: Key = timeout("tcp", "\"15m\"", &["tcp_timeout"], "Established TCP connection.");
    /// `tcp_fin`
    pub static TCP_FIN: Key =
        timeout("tcp_fin", "\"2m\"", &["tcpfin", "tcp_fin_timeout"], "TCP connection after a FIN.");
    /// `udp`
    pub static UDP: Key = timeout("udp", "\"5m\"", &["udp_timeout"], "UDP flow.");
    /// The table.
    pub static TABLE: Table = Table {
        header: "[timeouts]",
        doc: "Idle time after which a connection entry is forgotten. Names and defaults are those of \
              `ipvsadm --set tcp tcpfin udp`.",
        keys: &[&TCP, &TCP_FIN, &UDP],
    };
}

/// `[[interface]]`
pub mod interface {
    use super::{AttachMode, Key, Kind, Presence, Table};

    /// `name`
    pub static NAME: Key = Key {
        name: "name",
        kind: Kind::Text(
            "the name of a network interface: at most 15 bytes, without \"/\", \":\" and spaces",
        ),
        presence: Presence::Required,
        foreign: &["interface", "device", "dev"],
        doc: "Name in the kernel, as `ip link` shows it.",
    };
    /// `mode`
    pub static MODE: Key = Key {
        name: "mode",
        kind: Kind::Word {
            what: "attach mode",
            words: &AttachMode::NAMES,
            foreign: &[("driver", "native"), ("drv", "native"), ("skb", "generic")],
        },
        presence: Presence::Default("\"auto\""),
        foreign: &["xdp", "xdp_mode"],
        doc: "`native` attaches in the driver or not at all; `generic` attaches after the driver, on every device, and is \
              slower; `auto` tries `native` first and logs when it falls back.",
    };
    /// The table.
    pub static TABLE: Table = Table {
        header: "[[interface]]",
        doc: "A network interface on which packets for virtual services arrive, or replies of NAT real servers. One table per \
              interface, at least one.",
        keys: &[&NAME, &MODE],
    };
}

/// `[[service]]`
pub mod service {
    use super::health::service as health;
    use super::{ForwardingMethod, Key, Kind, Presence, Protocol, Scheduler, Table};

    /// `name`
    pub static NAME: Key = Key {
        name: "name",
        kind: Kind::Text("a name of 1 to 64 characters without spaces, quotes and control characters"),
        presence: Presence::Otherwise("address, port and protocol, such as `192.0.2.10:80/tcp`"),
        foreign: &["id", "label"],
        doc: "Name in logs and metrics, unique among the services.",
    };
    /// `address`
    pub static ADDRESS: Key = Key {
        name: "address",
        kind: Kind::Text("an address with a port, such as \"192.0.2.10:80\" or \"[2001:db8::1]:80\""),
        presence: Presence::Required,
        foreign: &["vip", "ip", "listen", "virtual_address", "bind", "port"],
        doc: "Virtual address and port. Port 0 stands for all ports of the address that no other service has.",
    };
    /// `protocol`
    pub static PROTOCOL: Key = Key {
        name: "protocol",
        kind: Kind::Word { what: "protocol", words: &Protocol::NAMES, foreign: &[] },
        presence: Presence::Default("\"tcp\""),
        foreign: &["proto"],
        doc: "Transport protocol. A service that speaks both needs two tables.",
    };
    /// `scheduler`
    pub static SCHEDULER: Key = Key {
        name: "scheduler",
        kind: Kind::WordOrTable {
            what: "scheduler",
            words: &Scheduler::NAMES,
            foreign: super::FOREIGN_SCHEDULERS,
            table: &super::scheduler::TABLE,
        },
        presence: Presence::Default("\"wlc\""),
        foreign: &["lvs_sched", "lb_algo", "algorithm", "algo"],
        doc: "How a real server is chosen for a new connection: `rr` round robin, `wrr` weighted round robin, `lc` least \
              connection, `wlc` weighted least connection, `sh` source hash, `mh` Maglev hash, `sed` shortest expected delay, `nq` \
              never queue, `fo` the highest weight alone (active and stand-by), `ovf` the highest weight that has room, `dh` \
              destination hash. `lc`, `wlc`, `sed`, `nq` and `ovf` compare all real servers for each new connection, so that \
              a service may have at most 1024 of them.",
    };
    /// `forwarding`
    pub static FORWARDING: Key = Key {
        name: "forwarding",
        kind: Kind::Word {
            what: "forwarding method",
            words: &ForwardingMethod::NAMES,
            foreign: super::FOREIGN_FORWARDING,
        },
        presence: Presence::Default("\"dr\""),
        foreign: &["lvs_method", "lb_kind", "method", "mode"],
        doc: "How packets reach the real servers, unless a real server says otherwise. `dr` (direct routing) changes only the \
              Ethernet addresses: the real servers are in the same network segment and own the virtual address on a device \
              that answers no ARP. `tunnel` (IP-in-IP) reaches them through routers, and may cross from IPv4 to IPv6 or \
              back. `nat` rewrites address and port; the replies have to pass through the director.",
    };
    /// `always_on`
    pub static ALWAYS_ON: Key = Key {
        name: "always_on",
        kind: Kind::Boolean,
        presence: Presence::Default("false"),
        foreign: &["ecmp", "anycast"],
        doc: "Balance although the `[[vrrp]]` instance that carries the address is not active, for directors that share the load \
              by ECMP. A service whose address no instance carries is always balanced.",
    };
    /// `[[service.real_server]]`
    pub static REAL_SERVER: Key = Key {
        name: "real_server",
        kind: Kind::Tables(&super::real_server::TABLE),
        presence: Presence::Otherwise("no real server, and no connection"),
        foreign: &["server", "real", "backend", "destination", "upstream", "target"],
        doc: "Real servers.",
    };
    /// The table.
    pub static TABLE: Table = Table {
        header: "[[service]]",
        doc: "A virtual service: an address, a port and a protocol whose connections are spread over real servers. No two \
              services have all three in common.",
        keys: &[
            &NAME,
            &ADDRESS,
            &PROTOCOL,
            &SCHEDULER,
            &FORWARDING,
            &health::CHECK,
            &health::QUORUM,
            &health::HYSTERESIS,
            &health::QUORUM_UP,
            &health::QUORUM_DOWN,
            &health::SORRY_SERVER,
            &health::KEEP_LIVE_SERVERS,
            &health::ALPHA,
            &health::OMEGA,
            &health::HA_SUSPEND,
            &health::INHIBIT_ON_FAILURE,
            &health::SLOW_START,
            &health::PANIC_THRESHOLD,
            &health::PASSIVE_FALL,
            &health::NOTIFY_UP,
            &health::NOTIFY_DOWN,
            &ALWAYS_ON,
            &REAL_SERVER,
        ],
    };
}

/// `scheduler = { ... }`
pub mod scheduler {
    use super::{Key, Kind, Presence, Scheduler, TABLE_SIZES, Table};

    /// `name`
    pub static NAME: Key = Key {
        name: "name",
        kind: Kind::Word { what: "scheduler", words: &Scheduler::NAMES, foreign: super::FOREIGN_SCHEDULERS },
        presence: Presence::Required,
        foreign: &["scheduler", "algorithm"],
        doc: "One of the schedulers above.",
    };
    /// `port`
    pub static PORT: Key = Key {
        name: "port",
        kind: Kind::Boolean,
        presence: Presence::Default("false"),
        foreign: &["sh_port", "mh_port", "sh-port", "mh-port", "flags"],
        doc: "For `sh` and `mh`: hash the client's port beside its address (`sh-port`, `mh-port` of ipvsadm), so that the \
              connections of one client spread.",
    };
    /// `fallback`
    pub static FALLBACK: Key = Key {
        name: "fallback",
        kind: Kind::Boolean,
        presence: Presence::Default("false"),
        foreign: &["sh_fallback", "sh-fallback"],
        doc: "For `sh`: what a real server of weight 0 would get goes to another one (`sh-fallback` of ipvsadm) instead of \
              nobody.",
    };
    /// `table_size`
    pub static TABLE_SIZE: Key = Key {
        name: "table_size",
        kind: Kind::IntegerOf(&TABLE_SIZES),
        presence: Presence::Default("65521"),
        foreign: &["size", "table"],
        doc: "For `mh`: slots of the look-up table. A hundred or more per real server keep the load even.",
    };
    /// The table.
    pub static TABLE: Table = Table {
        header: "scheduler = { ... }",
        doc: "A scheduler with settings, written in place of its name: `scheduler = { name = \"mh\", port = true }`.",
        keys: &[&NAME, &PORT, &FALLBACK, &TABLE_SIZE],
    };
}

/// `[[service.real_server]]`
pub mod real_server {
    use super::health::real_server as health;
    use super::{ForwardingMethod, Key, Kind, MAX_WEIGHT, Presence, Table};

    /// `address`
    pub static ADDRESS: Key = Key {
        name: "address",
        kind: Kind::Text(
            "an address with or without a port, such as \"10.0.0.1:80\", \"10.0.0.1\" or \"[2001:db8::1]:80\"",
        ),
        presence: Presence::Required,
        foreign: &["ip", "host", "port", "rip"],
        doc: "Address of the real server. The port may be left out: it is then the port of the service. Only `nat` can use \
              another port than the service's. No two real servers of a service have address and port in common.",
    };
    /// `weight`
    pub static WEIGHT: Key = Key {
        name: "weight",
        kind: Kind::Integer { min: 0, max: MAX_WEIGHT },
        presence: Presence::Default("1"),
        foreign: &["w", "priority"],
        doc: "Share of the connections relative to the other real servers. 0 quiesces: no new connections, live ones go on.",
    };
    /// `forwarding`
    pub static FORWARDING: Key = Key {
        name: "forwarding",
        kind: Kind::Word {
            what: "forwarding method",
            words: &ForwardingMethod::NAMES,
            foreign: super::FOREIGN_FORWARDING,
        },
        presence: Presence::Otherwise("the forwarding method of the service"),
        foreign: &["lvs_method", "lb_kind", "method", "mode"],
        doc: "How packets reach this real server.",
    };
    /// The table.
    pub static TABLE: Table = Table {
        header: "[[service.real_server]]",
        doc: "A real server of the service above it.",
        keys: &[
            &ADDRESS,
            &WEIGHT,
            &FORWARDING,
            &health::CHECK,
            &health::INHIBIT_ON_FAILURE,
            &health::SLOW_START,
            &health::NOTIFY_UP,
            &health::NOTIFY_DOWN,
        ],
    };
}
