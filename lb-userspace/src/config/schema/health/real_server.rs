//! Keys of `[[service.real_server]]` about health.

use super::{Duration, Key, Kind, Presence, duration, program};

/// `[[service.real_server.check]]`
pub static CHECK: Key = Key {
    name: "check",
    kind: Kind::Tables(&super::check::TABLE),
    presence: Presence::Otherwise("the checks of the service"),
    foreign: &["healthcheck", "health_check", "checks", "health"],
    doc: "Health checks of this real server, in place of those of the service. It is up while all of them pass.",
};
/// `inhibit_on_failure`
pub static INHIBIT_ON_FAILURE: Key = Key {
    name: "inhibit_on_failure",
    kind: Kind::Boolean,
    presence: Presence::Otherwise("as the service says"),
    foreign: &["quiescent"],
    doc: "As in the service.",
};
/// `slow_start`
pub static SLOW_START: Key = duration(
    "slow_start",
    Duration::from_secs(1),
    Presence::Otherwise("as the service says"),
    &["slowstart", "warm_up"],
    "As in the service.",
);
/// `notify_up`
pub static NOTIFY_UP: Key = Key {
    presence: Presence::Otherwise("as the service says"),
    ..program("notify_up", &["on_up"], "As in the service.")
};
/// `notify_down`
pub static NOTIFY_DOWN: Key = Key {
    presence: Presence::Otherwise("as the service says"),
    ..program("notify_down", &["on_down"], "As in the service.")
};
