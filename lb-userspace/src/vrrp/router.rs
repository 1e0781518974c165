//! One virtual router: RFC 9568, 6 (and RFC 3768, 6, which differs in its timers), with what keepalived adds.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{Advertisement, Centiseconds, Version};

/// Settings of a virtual router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterConfig {
    /// Version.
    pub version: Version,
    /// Virtual router, 1 to 255.
    pub vrid: u8,
    /// Priority, 1 to 254, or 255 for the owner of the addresses.
    pub priority: u8,
    /// Interval between advertisements.
    pub interval: Centiseconds,
    /// Whether a higher priority takes over from a working router.
    pub preempt: bool,
    /// How long a lower priority is endured before it is preempted.
    pub preempt_delay: Duration,
    /// Intervals without a message after which the active router is gone (3; keepalived's `down_timer_adverts`).
    pub down_intervals: u8,
    /// Take over after one interval of silence at the start, not after three (keepalived's `state MASTER`).
    pub start_active: bool,
    /// Answer advertisements of lower priority at once, so that the other notices (RFC 9568, 6.4.3; keepalived's
    /// default, off with `lower_prio_no_advert`).
    pub answer_lower: bool,
}

/// What a virtual router is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not started, or stopped.
    Initialize,
    /// Waits for the active router to fail.
    Backup,
    /// Has the addresses ("master" before RFC 9568).
    Active,
    /// Something that it needs is missing, such as its interface.
    Fault,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Send an advertisement with this priority.
    Advertise(u8),
    /// Take the addresses and tell the network. It follows the first advertisement, so that the router before has given
    /// them up.
    TakeAddresses,
    /// Tell the network again whose the addresses are.
    Announce,
    /// Give the addresses up.
    ReleaseAddresses,
    /// Tell everybody that the state is another one.
    Entered(State),
}

/// A virtual router. Sans-IO: time is an argument.
#[derive(Debug, Clone)]
pub struct VirtualRouter {
    config: RouterConfig,
    /// The configured priority with what is tracked; 255 stays as it is.
    priority: u8,
    /// Own address on the link, which decides between equal priorities.
    primary: IpAddr,
    state: State,
    /// Interval of the active router (version 3 learns it).
    active_interval: Centiseconds,
    timer: Option<Instant>,
    /// When the active router was last heard.
    heard: Option<Instant>,
    /// Since when a lower priority has been endured.
    enduring: Option<Instant>,
    actions: VecDeque<Action>,
}

impl VirtualRouter {
    /// A router that has not been started.
    #[must_use]
    pub fn new(config: RouterConfig, primary: IpAddr) -> Self {
        Self {
            priority: config.priority,
            active_interval: config.interval,
            config,
            primary,
            state: State::Initialize,
            timer: None,
            heard: None,
            enduring: None,
            actions: VecDeque::new(),
        }
    }

    /// Its state.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Its priority at the moment.
    #[must_use]
    pub fn priority(&self) -> u8 {
        self.priority
    }

    /// When [`Self::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timer
    }

    /// What is to be done next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Skew_Time: the higher the priority, the sooner (RFC 9568, 6.1; version 2: RFC 3768, 6.1, in parts of a second).
    #[must_use]
    pub fn skew(&self) -> Duration {
        let unit = match self.config.version {
            Version::V2 => Duration::from_secs(1),
            Version::V3 => self.active_interval.duration(),
        };
        unit * (256 - u32::from(self.priority)) / 256
    }

    /// Active_Down_Interval.
    #[must_use]
    pub fn active_down(&self) -> Duration {
        self.active_interval.duration() * u32::from(self.config.down_intervals) + self.skew()
    }

    /// The start (RFC 9568, 6.4.1, event Startup).
    pub fn handle_startup(&mut self, now: Instant) {
        if self.state != State::Initialize {
            return;
        }
        self.active_interval = self.config.interval;
        if self.priority == 255 {
            self.become_active(now);
            return;
        }
        self.enter(State::Backup);
        let wait = if self.config.start_active {
            self.config.interval.duration() + self.config.interval.duration() / 256
        } else {
            self.active_down()
        };
        self.timer = Some(now + wait);
    }

    /// The end (event Shutdown, 6.4.2 and 6.4.3).
    pub fn handle_shutdown(&mut self) {
        if self.state == State::Active {
            self.actions.push_back(Action::Advertise(0));
            self.actions.push_back(Action::ReleaseAddresses);
        }
        self.timer = None;
        if self.state != State::Initialize {
            self.enter(State::Initialize);
        }
    }

    /// Something that the router needs is missing, or back.
    pub fn handle_fault(&mut self, missing: bool, now: Instant) {
        match (missing, self.state) {
            (true, State::Active | State::Backup) => {
                if self.state == State::Active {
                    // Where it still gets out, the others need not wait.
                    self.actions.push_back(Action::Advertise(0));
                    self.actions.push_back(Action::ReleaseAddresses);
                }
                self.timer = None;
                self.enter(State::Fault);
            }
            (false, State::Fault) => {
                self.state = State::Initialize;
                self.handle_startup(now);
            }
            _ => {}
        }
    }

    /// What is tracked has changed the priority. It is kept between 1 and 254; the owner's stays 255.
    pub fn handle_priority(&mut self, priority: i32, now: Instant) {
        if self.config.priority == 255 {
            return;
        }
        self.priority = u8::try_from(priority.clamp(1, 254)).unwrap_or(1);
        if self.state == State::Backup
            && let Some(heard) = self.heard
        {
            self.timer = Some((heard + self.active_down()).max(now));
        }
    }

    /// The own address on the link is another one.
    pub fn handle_primary(&mut self, primary: IpAddr) {
        self.primary = primary;
    }

    /// An advertisement that was found good.
    pub fn handle_advertisement(&mut self, advertisement: &Advertisement, source: IpAddr, now: Instant) {
        match self.state {
            State::Backup => self.heard_in_backup(advertisement, now),
            State::Active => self.heard_when_active(advertisement, source, now),
            State::Initialize | State::Fault => {}
        }
    }

    /// RFC 9568, 6.4.2, (400) to (450).
    fn heard_in_backup(&mut self, advertisement: &Advertisement, now: Instant) {
        if advertisement.priority == 0 {
            self.timer = Some(now + self.skew());
            return;
        }
        let lower = advertisement.priority < self.priority;
        if lower && self.config.preempt {
            let since = *self.enduring.get_or_insert(now);
            if now.duration_since(since) >= self.config.preempt_delay {
                // The timer goes on; at its end the addresses are taken.
                return;
            }
        } else {
            self.enduring = None;
        }
        self.learn(advertisement);
        self.heard = Some(now);
        self.timer = Some(now + self.active_down());
    }

    /// RFC 9568, 6.4.3, (700) to (770).
    fn heard_when_active(&mut self, advertisement: &Advertisement, source: IpAddr, now: Instant) {
        if advertisement.priority == 0 {
            self.advertise(now);
            return;
        }
        let stronger = advertisement.priority > self.priority
            || advertisement.priority == self.priority && source > self.primary;
        if stronger {
            self.learn(advertisement);
            self.step_back(now);
        } else if self.config.answer_lower {
            self.advertise(now);
            self.actions.push_back(Action::Announce);
        }
    }

    fn learn(&mut self, advertisement: &Advertisement) {
        if self.config.version == Version::V3 {
            self.active_interval = advertisement.interval;
        }
    }

    /// The timer has run out.
    pub fn handle_timeout(&mut self, now: Instant) {
        let Some(due) = self.timer.filter(|due| *due <= now) else { return };
        let late = now.duration_since(due);
        match self.state {
            State::Backup if late > self.active_interval.duration() => {
                // This process slept; messages of a working router may be waiting to be read.
                self.timer = Some(now + self.active_interval.duration());
            }
            State::Backup => self.become_active(now),
            State::Active if late > self.takeover() => {
                // So long that somebody else has the addresses by now; who they belong to is heard soon.
                self.step_back(now);
            }
            State::Active => self.advertise(now),
            State::Initialize | State::Fault => self.timer = None,
        }
    }

    /// After so much silence every other router has taken over.
    fn takeover(&self) -> Duration {
        self.config.interval.duration() * (u32::from(self.config.down_intervals) + 1)
    }

    fn advertise(&mut self, now: Instant) {
        self.actions.push_back(Action::Advertise(self.priority));
        self.timer = Some(now + self.config.interval.duration());
    }

    fn become_active(&mut self, now: Instant) {
        self.enduring = None;
        self.heard = None;
        self.active_interval = self.config.interval;
        self.advertise(now);
        self.actions.push_back(Action::TakeAddresses);
        self.enter(State::Active);
    }

    fn step_back(&mut self, now: Instant) {
        self.actions.push_back(Action::ReleaseAddresses);
        self.heard = Some(now);
        self.enduring = None;
        self.timer = Some(now + self.active_down());
        self.enter(State::Backup);
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.actions.push_back(Action::Entered(state));
    }
}
