//! Keys of `[[service]]` about health.

use super::{Duration, Key, Kind, Presence, duration, flag, number, program};

/// `[[service.check]]`
pub static CHECK: Key = Key {
    name: "check",
    kind: Kind::Tables(&super::check::TABLE),
    presence: Presence::Otherwise("real servers without checks of their own are always up"),
    foreign: &["healthcheck", "health_check", "checks", "health"],
    doc: "Health checks of every real server that has none of its own.",
};
/// `quorum`
pub static QUORUM: Key = number(
    "quorum",
    (0, i32::MAX as u32),
    Presence::Default("1"),
    &["min_servers"],
    "Sum of the weights of live real servers that the service needs. The quorum is gained at `quorum` + `hysteresis` \
     and lost below `quorum` - `hysteresis`, or when nothing is left.",
);
/// `hysteresis`
pub static HYSTERESIS: Key =
    number("hysteresis", (0, i32::MAX as u32), Presence::Default("0"), &[], "See `quorum`.");
/// `quorum_up`
pub static QUORUM_UP: Key = program("quorum_up", &["notify_quorum_up"], "Run when the quorum is gained.");
/// `quorum_down`
pub static QUORUM_DOWN: Key = program("quorum_down", &["notify_quorum_down"], "Run when the quorum is lost.");
/// `[service.sorry_server]`
pub static SORRY_SERVER: Key = Key {
    name: "sorry_server",
    kind: Kind::Table(&super::sorry_server::TABLE),
    presence: Presence::Otherwise("without quorum, what is left goes on serving"),
    foreign: &["fallback", "backup"],
    doc: "Serves while there is no quorum. Meanwhile the live real servers get no new connections.",
};
/// `keep_live_servers`
pub static KEEP_LIVE_SERVERS: Key = flag(
    "keep_live_servers",
    "false",
    &[],
    "Without quorum, live real servers go on taking connections beside the sorry server.",
);
/// `alpha`
pub static ALPHA: Key =
    flag("alpha", "false", &[], "Real servers are down until their checks have passed once.");
/// `omega`
pub static OMEGA: Key = flag(
    "omega",
    "false",
    &[],
    "When LVX ends, the programs and messages for \"down\" are sent for everything that is up.",
);
/// `ha_suspend`
pub static HA_SUSPEND: Key = flag(
    "ha_suspend",
    "false",
    &[],
    "Checks rest while the virtual address is on no interface of this host.",
);
/// `inhibit_on_failure`
pub static INHIBIT_ON_FAILURE: Key = flag(
    "inhibit_on_failure",
    "false",
    &["quiescent"],
    "A failed real server is quiesced: its connections go on. Otherwise it is removed, and they end.",
);
/// `slow_start`
pub static SLOW_START: Key = duration(
    "slow_start",
    Duration::from_secs(1),
    Presence::Otherwise("a returning real server has its full weight at once"),
    &["slowstart", "warm_up"],
    "A returning real server's weight grows to its full value over this time.",
);
/// `panic_threshold`
pub static PANIC_THRESHOLD: Key = number(
    "panic_threshold",
    (0, 99),
    Presence::Otherwise("every failure is believed"),
    &["panic", "healthy_panic_threshold"],
    "Where more than this percentage of the checked real servers have failed, the failures are disbelieved and all of \
     them serve, except those that are down on purpose (`off`, `file`).",
);
/// `passive_fall`
pub static PASSIVE_FALL: Key = number(
    "passive_fall",
    (1, 1_000_000),
    Presence::Otherwise("they are only counted"),
    &["observe", "passive"],
    "With `nat`, where replies pass: as soon as a real server has refused or never answered so many connections of clients \
     within two seconds, its checks fail at once, and it is down until they have passed again.",
);
/// `notify_up`
pub static NOTIFY_UP: Key = program(
    "notify_up",
    &["on_up"],
    "Run when a real server comes up; `LVX_*` variables tell which (see docs/health.md).",
);
/// `notify_down`
pub static NOTIFY_DOWN: Key = program("notify_down", &["on_down"], "Run when a real server goes down.");
