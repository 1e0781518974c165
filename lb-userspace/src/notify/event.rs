//! What happened: the changes of state that are told.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use crate::model::{Protocol, ServiceKey};
use crate::vrrp;

/// A change of state, and when it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Wall-clock time of the change.
    pub time: SystemTime,
    /// What changed.
    pub change: Change,
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A real server passes its checks, or does so no longer.
    RealServer(RealServerChange),
    /// A virtual service gained or lost its quorum.
    Service(ServiceChange),
    /// A virtual router, or a whole sync group, is in another state.
    Vrrp(VrrpChange),
}

/// A real server went up or down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RealServerChange {
    /// Its virtual service.
    pub service: ServiceKey,
    /// The virtual service's name.
    pub service_name: Arc<str>,
    /// Address and port in host byte order.
    pub real_server: SocketAddr,
    /// What it is from now on.
    pub state: State,
    /// Weight that it has from now on.
    pub weight: u32,
    /// Which check failed and why, on one line; for [`State::Down`].
    pub reason: Option<String>,
}

/// A virtual service gained (up) or lost (down) its quorum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceChange {
    /// The virtual service.
    pub service: ServiceKey,
    /// Its name.
    pub service_name: Arc<str>,
    /// What it is from now on.
    pub state: State,
    /// Real servers that are up.
    pub live: u32,
    /// Real servers that are configured, the sorry server not counted.
    pub total: u32,
}

/// A virtual router or a sync group is in another state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VrrpChange {
    /// Name of the instance or group.
    pub name: Arc<str>,
    /// Whether it is a sync group.
    pub group: bool,
    /// What it is from now on; [`vrrp::State::Initialize`] stands for stopped.
    pub state: vrrp::State,
    /// Its priority; of a group 0.
    pub priority: u8,
    /// Why, on one line; of a group none.
    pub reason: Option<String>,
}

impl VrrpChange {
    /// `INSTANCE` or `GROUP`, as keepalived writes it.
    pub(super) fn kind(&self) -> &'static str {
        if self.group { "GROUP" } else { "INSTANCE" }
    }

    /// keepalived's word for the state.
    pub(super) fn keepalived_state(&self) -> &'static str {
        match self.state {
            vrrp::State::Initialize => "STOP",
            vrrp::State::Backup => "BACKUP",
            vrrp::State::Active => "MASTER",
            vrrp::State::Fault => "FAULT",
        }
    }

    /// `stop`, `backup`, `active`, `fault`.
    pub(super) fn state_name(&self) -> &'static str {
        match self.state {
            vrrp::State::Initialize => "stop",
            other => other.name(),
        }
    }

    /// What keepalived appends to the arguments of a `notify` program: kind, name, state, priority.
    #[must_use]
    pub fn keepalived_arguments(&self) -> [String; 4] {
        [
            self.kind().to_owned(),
            self.name.to_string(),
            self.keepalived_state().to_owned(),
            self.priority.to_string(),
        ]
    }
}

/// Up or down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Serving.
    Up,
    /// Not serving.
    Down,
}

impl From<bool> for State {
    fn from(up: bool) -> Self {
        if up { Self::Up } else { Self::Down }
    }
}

impl State {
    /// `UP` or `DOWN`, as in FIFO lines and mail.
    #[must_use]
    pub fn upper(self) -> &'static str {
        match self {
            Self::Up => "UP",
            Self::Down => "DOWN",
        }
    }

    /// `up` or `down`, as in JSON and the environment.
    #[must_use]
    pub fn lower(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// What an event is about; programs for the same subject run one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    RealServer(ServiceKey, SocketAddr),
    Service(ServiceKey),
    Vrrp(Arc<str>),
}

impl Event {
    /// An event that happens now.
    #[must_use]
    pub fn now(change: Change) -> Self {
        Self { time: SystemTime::now(), change }
    }

    pub(super) fn subject(&self) -> Subject {
        match &self.change {
            Change::RealServer(change) => Subject::RealServer(change.service, change.real_server),
            Change::Service(change) => Subject::Service(change.service),
            Change::Vrrp(change) => Subject::Vrrp(Arc::clone(&change.name)),
        }
    }

    /// The name in JSON and in `LVX_EVENT`: `real_server_up`, `real_server_down`, `service_up`, `service_down`,
    /// `vrrp_active`, `vrrp_backup`, `vrrp_fault`, `vrrp_stop`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match &self.change {
            Change::RealServer(RealServerChange { state: State::Up, .. }) => "real_server_up",
            Change::RealServer(RealServerChange { state: State::Down, .. }) => "real_server_down",
            Change::Service(ServiceChange { state: State::Up, .. }) => "service_up",
            Change::Service(ServiceChange { state: State::Down, .. }) => "service_down",
            Change::Vrrp(change) => match change.state {
                vrrp::State::Initialize => "vrrp_stop",
                vrrp::State::Backup => "vrrp_backup",
                vrrp::State::Active => "vrrp_active",
                vrrp::State::Fault => "vrrp_fault",
            },
        }
    }

    /// RFC 3339, UTC, with milliseconds.
    pub(super) fn time_text(&self) -> String {
        humantime::format_rfc3339_millis(self.time).to_string()
    }

    /// The line that keepalived writes to `lvs_notify_fifo` or `vrrp_notify_fifo`, with its line feed.
    #[must_use]
    pub fn fifo_line(&self) -> String {
        match &self.change {
            Change::RealServer(change) => {
                format!("RS {} {} {}\n", change.server(), change.virtual_server(), change.state.upper())
            }
            Change::Service(change) => format!("VS {} {}\n", change.virtual_server(), change.state.upper()),
            Change::Vrrp(change) => {
                let [kind, name, state, priority] = change.keepalived_arguments();
                format!("{kind} \"{name}\" {state} {priority}\n")
            }
        }
    }
}

impl RealServerChange {
    pub(super) fn server(&self) -> Triple {
        Triple(self.real_server, self.service.protocol)
    }

    pub(super) fn virtual_server(&self) -> Triple {
        Triple::of(self.service)
    }
}

impl ServiceChange {
    pub(super) fn virtual_server(&self) -> Triple {
        Triple::of(self.service)
    }
}

/// keepalived's way to write an endpoint: `[192.168.201.15]:tcp:80`, for IPv6 as well.
pub(super) struct Triple(SocketAddr, Protocol);

impl Triple {
    fn of(service: ServiceKey) -> Self {
        Self(SocketAddr::new(service.address, service.port), service.protocol)
    }
}

impl fmt::Display for Triple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]:{}:{}", self.0.ip(), self.1, self.0.port())
    }
}

/// Text from outside on one line and at most `most` characters long: control characters become spaces.
pub(super) fn one_line(text: &str, most: usize) -> String {
    text.chars().take(most).map(|each| if each.is_control() { ' ' } else { each }).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    pub(in crate::notify) fn real_server(state: State) -> Event {
        Event {
            time: UNIX_EPOCH + Duration::from_millis(1_800_000_000_123),
            change: Change::RealServer(RealServerChange {
                service: key("192.168.201.15"),
                service_name: "web".into(),
                real_server: "1.2.3.4:80".parse().unwrap(),
                state,
                weight: 3,
                reason: (state == State::Down).then(|| "tcp: refused: connect: refused".to_owned()),
            }),
        }
    }

    pub(in crate::notify) fn service(state: State) -> Event {
        Event {
            time: UNIX_EPOCH + Duration::from_millis(1_800_000_001_000),
            change: Change::Service(ServiceChange {
                service: key("192.168.201.15"),
                service_name: "web".into(),
                state,
                live: 1,
                total: 4,
            }),
        }
    }

    fn key(address: &str) -> ServiceKey {
        ServiceKey { protocol: Protocol::Tcp, address: address.parse().unwrap(), port: 80 }
    }

    #[test]
    fn fifo_lines_are_keepaliveds() {
        assert_eq!(real_server(State::Up).fifo_line(), "RS [1.2.3.4]:tcp:80 [192.168.201.15]:tcp:80 UP\n");
        assert_eq!(service(State::Down).fifo_line(), "VS [192.168.201.15]:tcp:80 DOWN\n");
    }

    #[test]
    fn fifo_lines_of_virtual_routers() {
        let event = |group, state, priority| {
            let name = "VI_1".into();
            Event::now(Change::Vrrp(VrrpChange { name, group, state, priority, reason: None })).fifo_line()
        };
        assert_eq!(event(false, vrrp::State::Active, 100), "INSTANCE \"VI_1\" MASTER 100\n");
        assert_eq!(event(true, vrrp::State::Fault, 0), "GROUP \"VI_1\" FAULT 0\n");
        assert_eq!(event(false, vrrp::State::Initialize, 100), "INSTANCE \"VI_1\" STOP 100\n");
    }

    #[test]
    fn fifo_lines_of_ipv6_and_udp_have_the_same_form() {
        let change = RealServerChange {
            service: ServiceKey {
                protocol: Protocol::Udp,
                address: "fd00:100::1".parse().unwrap(),
                port: 53,
            },
            service_name: "dns".into(),
            real_server: "[fd00::1:1]:53".parse().unwrap(),
            state: State::Down,
            weight: 1,
            reason: None,
        };
        let event = Event::now(Change::RealServer(change));
        assert_eq!(event.fifo_line(), "RS [fd00::1:1]:udp:53 [fd00:100::1]:udp:53 DOWN\n");
    }

    #[test]
    fn text_from_outside_stays_on_its_line() {
        assert_eq!(one_line("a\r\nSubject: b\0c", 100), "a  Subject: b c");
        assert_eq!(one_line("ééééé", 3), "ééé");
    }
}
