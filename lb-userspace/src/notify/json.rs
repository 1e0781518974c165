//! Events as JSON, the body of webhooks.
//!
//! One object. Names and meanings stay as they are; fields may be added, and `version` grows when a field changes its
//! meaning or goes.
//!
//! | field | type | |
//! |---|---|---|
//! | `version` | number | 1 |
//! | `router` | string | name of the director |
//! | `time` | string | RFC 3339, UTC, with milliseconds |
//! | `event` | string | `real_server_up`, `real_server_down`, `service_up`, `service_down`, `vrrp_active`, `vrrp_backup`, `vrrp_fault`, `vrrp_stop` |
//! | `state` | string | `up`, `down`; of VRRP `active`, `backup`, `fault`, `stop` |
//! | `service` | object | `name`, `address`, `port`, `protocol` (`tcp`, `udp`); events of real servers and services |
//! | `vrrp` | object | `name`, `group` (whether it is a sync group), `priority`; events of VRRP only |
//! | `real_server` | object | `address`, `port`, `weight`; events of real servers only |
//! | `reason` | string | why it failed; only where there is a reason |
//! | `live`, `total` | number | real servers that are up, and all; events of services only |

use std::net::IpAddr;

use serde::Serialize;

use super::event::{Change, Event};
use crate::model::{Protocol, ServiceKey};

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    router: &'a str,
    time: String,
    event: &'static str,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<Service<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vrrp: Option<VirtualRouter<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    real_server: Option<RealServer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u32>,
}

#[derive(Serialize)]
struct Service<'a> {
    name: &'a str,
    address: IpAddr,
    port: u16,
    protocol: Protocol,
}

#[derive(Serialize)]
struct RealServer {
    address: IpAddr,
    port: u16,
    weight: u32,
}

#[derive(Serialize)]
struct VirtualRouter<'a> {
    name: &'a str,
    group: bool,
    priority: u8,
}

impl<'a> Service<'a> {
    fn new(name: &'a str, key: ServiceKey) -> Self {
        Self { name, address: key.address, port: key.port, protocol: key.protocol }
    }
}

impl Event {
    /// The event as one JSON object; `router` is the director's name.
    #[must_use]
    pub fn json(&self, router: &str) -> String {
        let (version, time, event) = (1, self.time_text(), self.name());
        let document = match &self.change {
            Change::RealServer(change) => Document {
                version,
                router,
                time,
                event,
                state: change.state.lower(),
                service: Some(Service::new(&change.service_name, change.service)),
                vrrp: None,
                real_server: Some(RealServer {
                    address: change.real_server.ip(),
                    port: change.real_server.port(),
                    weight: change.weight,
                }),
                reason: change.reason.as_deref(),
                live: None,
                total: None,
            },
            Change::Service(change) => Document {
                version,
                router,
                time,
                event,
                state: change.state.lower(),
                service: Some(Service::new(&change.service_name, change.service)),
                vrrp: None,
                real_server: None,
                reason: None,
                live: Some(change.live),
                total: Some(change.total),
            },
            Change::Vrrp(change) => Document {
                version,
                router,
                time,
                event,
                state: change.state_name(),
                service: None,
                vrrp: Some(VirtualRouter {
                    name: &change.name,
                    group: change.group,
                    priority: change.priority,
                }),
                real_server: None,
                reason: change.reason.as_deref(),
                live: None,
                total: None,
            },
        };
        // Strings, numbers and addresses only: nothing of it can fail to become JSON.
        serde_json::to_string(&document).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::event::State;
    use super::super::event::tests::{real_server, service};

    fn parsed(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn real_server_events_have_the_documented_fields() {
        assert_eq!(
            parsed(&real_server(State::Down).json("lb\"1")),
            json!({
                "version": 1, "router": "lb\"1", "time": "2027-01-15T08:00:00.123Z",
                "event": "real_server_down", "state": "down",
                "service": {"name": "web", "address": "192.168.201.15", "port": 80, "protocol": "tcp"},
                "real_server": {"address": "1.2.3.4", "port": 80, "weight": 3},
                "reason": "tcp: refused: connect: refused",
            })
        );
        assert_eq!(parsed(&real_server(State::Up).json("lb1")).get("reason"), None);
    }

    #[test]
    fn events_of_virtual_routers_have_the_documented_fields() {
        use super::super::event::{Change, Event, VrrpChange};
        let event = Event {
            time: std::time::UNIX_EPOCH + std::time::Duration::from_millis(1_800_000_000_123),
            change: Change::Vrrp(VrrpChange {
                name: "VI_1".into(),
                group: false,
                state: crate::vrrp::State::Fault,
                priority: 100,
                reason: Some("interface eth0 is down".to_owned()),
            }),
        };
        assert_eq!(
            parsed(&event.json("lb1")),
            json!({
                "version": 1, "router": "lb1", "time": "2027-01-15T08:00:00.123Z",
                "event": "vrrp_fault", "state": "fault",
                "vrrp": {"name": "VI_1", "group": false, "priority": 100},
                "reason": "interface eth0 is down",
            })
        );
    }

    #[test]
    fn service_events_have_the_documented_fields() {
        assert_eq!(
            parsed(&service(State::Up).json("lb1")),
            json!({
                "version": 1, "router": "lb1", "time": "2027-01-15T08:00:01.000Z",
                "event": "service_up", "state": "up",
                "service": {"name": "web", "address": "192.168.201.15", "port": 80, "protocol": "tcp"},
                "live": 1, "total": 4,
            })
        );
    }
}
