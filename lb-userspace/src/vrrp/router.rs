//! One virtual router: RFC 9568, 6 (and RFC 3768, 6, which differs in its timers), with what keepalived adds.
//!
//! Numbers in parentheses are the steps of 6.4 as RFC 5798 counts them.

mod heard;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{Action, Advertisement, Centiseconds, Reason, Reject, State, Version};

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
    /// How long the router does nothing after its start (keepalived's `vrrp_startup_delay`).
    pub start_delay: Duration,
    /// Answer advertisements of lower priority at once, so that the other notices (RFC 9568, 6.4.3; keepalived's
    /// default, off with `lower_prio_no_advert`).
    pub answer_lower: bool,
    /// Member of a sync group: it takes over only together with the others.
    pub grouped: bool,
}

/// A virtual router. Sans-IO: time is an argument.
#[derive(Debug, Clone)]
pub struct VirtualRouter {
    config: RouterConfig,
    /// The configured priority with what is tracked; 255 stays as it is.
    priority: u8,
    state: State,
    /// Interval of the active router (version 3 learns it).
    active_interval: Centiseconds,
    timer: Option<Instant>,
    /// When the delay of the start is over; none before the start.
    start: Option<Instant>,
    /// When a backup's timer would run out if there were no skew; none where the skew has no part in it.
    unskewed: Option<Instant>,
    /// Since when a lower priority has been endured.
    enduring: Option<Instant>,
    /// When a lower priority was last answered.
    answered: Option<Instant>,
    /// Silence has lasted long enough, but the sync group is not ready.
    wants_active: bool,
    /// Until when a member of a sync group leaves the takeover to others.
    aside: Option<Instant>,
    /// Handed over on purpose: a lower priority is not preempted.
    held: bool,
    /// Handing over: the addresses stay here until another router has them.
    resigning: bool,
    actions: VecDeque<Action>,
}

impl VirtualRouter {
    /// A router that has not been started.
    #[must_use]
    pub fn new(config: RouterConfig) -> Self {
        Self {
            priority: config.priority,
            active_interval: config.interval,
            config,
            state: State::Initialize,
            timer: None,
            start: None,
            unskewed: None,
            enduring: None,
            answered: None,
            wants_active: false,
            aside: None,
            held: false,
            resigning: false,
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

    /// Its settings.
    #[must_use]
    pub fn config(&self) -> &RouterConfig {
        &self.config
    }

    /// Interval of the active router, as far as it is known.
    #[must_use]
    pub fn active_interval(&self) -> Centiseconds {
        self.active_interval
    }

    /// Whether it was told to hand over and has not been told otherwise since.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// Whether silence has lasted long enough and only the sync group is not ready.
    #[must_use]
    pub fn wants_active(&self) -> bool {
        self.wants_active
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
        self.skew_of(self.priority)
    }

    fn skew_of(&self, priority: u8) -> Duration {
        let unit = match self.config.version {
            Version::V2 => Duration::from_secs(1),
            Version::V3 => self.active_interval.duration(),
        };
        unit * (256 - u32::from(priority)) / 256
    }

    /// Active_Down_Interval.
    #[must_use]
    pub fn active_down(&self) -> Duration {
        self.silence() + self.skew()
    }

    fn silence(&self) -> Duration {
        self.active_interval.duration() * u32::from(self.config.down_intervals)
    }

    /// Sets the timer to Active_Down_Interval.
    fn wait_for_silence(&mut self, now: Instant) {
        self.wait_for_skew(now + self.silence());
    }

    /// Sets the timer to an instant that no priority changes.
    fn wait_until(&mut self, due: Instant) {
        self.unskewed = None;
        self.timer = Some(due);
    }

    /// Sets the timer to Skew_Time after an instant. The skew follows the priority as long as the timer runs.
    fn wait_for_skew(&mut self, since: Instant) {
        self.unskewed = Some(since);
        self.timer = Some(since + self.skew());
    }

    /// The start (RFC 9568, 6.4.1, event Startup).
    pub fn handle_startup(&mut self, now: Instant) {
        if self.state == State::Initialize && self.start.is_none() {
            self.begin_after_delay(Reason::Startup, now);
        }
    }

    fn begin_after_delay(&mut self, reason: Reason, now: Instant) {
        let start = *self.start.get_or_insert(now + self.config.start_delay);
        if start <= now {
            self.begin(reason, now);
            return;
        }
        self.wait_until(start);
        if self.state != State::Initialize {
            self.enter(State::Initialize, reason);
        }
    }

    fn begin(&mut self, reason: Reason, now: Instant) {
        self.active_interval = self.config.interval;
        if self.priority == 255 && !self.config.grouped {
            // (110) to (145)
            self.become_active(Reason::Owner, now);
            return;
        }
        // (150) to (170)
        self.enter(State::Backup, reason);
        if self.priority == 255 {
            self.wait_until(now);
        } else if self.config.start_active {
            self.wait_until(now + self.config.interval.duration() + self.skew_of(255));
        } else {
            self.wait_for_silence(now);
        }
    }

    /// The end (event Shutdown, (345) to (355) and (655) to (670)).
    pub fn handle_shutdown(&mut self) {
        self.give_up();
        self.timer = None;
        self.start = None;
        self.held = false;
        if self.state != State::Initialize {
            self.enter(State::Initialize, Reason::Shutdown);
        }
    }

    fn give_up(&mut self) {
        if self.state == State::Active {
            // Where it still gets out, the others need not wait for the silence.
            self.actions.push_back(Action::Advertise(0));
            self.actions.push_back(Action::ReleaseAddresses);
        }
        self.wants_active = false;
        self.resigning = false;
        self.enduring = None;
        self.aside = None;
    }

    /// Something that the router needs is missing, or back (none). A router that is missing something from the beginning
    /// starts with its fault.
    pub fn handle_fault(&mut self, missing: Option<Reason>, now: Instant) {
        match (missing, self.state) {
            (Some(reason), State::Active | State::Backup | State::Initialize) => {
                self.give_up();
                self.timer = None;
                self.start.get_or_insert(now + self.config.start_delay);
                self.enter(State::Fault, reason);
            }
            (None, State::Fault) => self.begin_after_delay(Reason::Recovered, now),
            _ => {}
        }
    }

    /// What is tracked has changed the priority. It is kept between 1 and 254; the owner's stays 255.
    pub fn handle_priority(&mut self, priority: i32, now: Instant) {
        if self.config.priority == 255 {
            return;
        }
        let priority = u8::try_from(priority.clamp(1, 254)).unwrap_or(1);
        if priority == self.priority {
            return;
        }
        self.priority = priority;
        if self.state == State::Backup
            && let Some(unskewed) = self.unskewed
        {
            self.timer = Some((unskewed + self.skew()).max(now));
        }
    }

    /// Takes on other settings, as a reload brings them; state and timers go on.
    pub fn reconfigure(&mut self, config: RouterConfig) {
        if self.config.priority == self.priority || config.priority == 255 {
            self.priority = config.priority;
        }
        if self.state == State::Active || self.config.interval == self.active_interval {
            self.active_interval = config.interval;
        }
        self.config = config;
    }

    /// Hands over on purpose: asks the others to take over, and serves until one of them does. From then on it waits as a
    /// backup that preempts nobody, and takes over only after silence.
    pub fn handle_resign(&mut self, now: Instant) {
        self.held = true;
        if self.state == State::Active {
            self.resigning = true;
            self.actions.push_back(Action::Advertise(0));
            // Long enough for the lowest priority to take over.
            self.timer = Some(now + self.config.interval.duration() * 2);
        }
    }

    /// Ends what [`Self::handle_resign`] began; with `at_once` the addresses are taken without waiting for silence, which
    /// makes sense only with the higher priority.
    pub fn handle_reclaim(&mut self, at_once: bool, now: Instant) {
        self.held = false;
        self.aside = None;
        if self.resigning {
            self.resigning = false;
            self.advertise(now);
        } else if at_once && self.state == State::Backup {
            self.ready(Reason::Manual, now);
        }
    }

    /// An advertisement that was found good. `source` sent it, `own` is the own address on the path by which it came.
    ///
    /// # Errors
    ///
    /// [`Reject::DuplicateOwner`] where another router claims to own the addresses that this one owns.
    pub fn handle_advertisement(
        &mut self,
        advertisement: &Advertisement,
        source: IpAddr,
        own: IpAddr,
        now: Instant,
    ) -> Result<(), Reject> {
        if self.config.priority == 255 && advertisement.priority == 255 {
            return Err(Reject::DuplicateOwner);
        }
        match self.state {
            State::Backup => self.heard_in_backup(advertisement, now),
            State::Active => self.heard_when_active(advertisement, source, own, now),
            State::Initialize | State::Fault => {}
        }
        Ok(())
    }

    /// The timer has run out.
    pub fn handle_timeout(&mut self, now: Instant) {
        let Some(due) = self.timer.filter(|due| *due <= now) else { return };
        let late = now.duration_since(due);
        match self.state {
            State::Initialize => {
                self.timer = None;
                self.begin(Reason::Startup, now);
            }
            State::Backup if late > self.active_interval.duration() => {
                // This process slept; messages of a working router may be waiting to be read.
                self.wait_until(now + self.active_interval.duration());
            }
            State::Backup => self.ready(Reason::Silence, now),
            State::Active if late > self.takeover() => {
                // So long that somebody else has the addresses by now; who they belong to is heard soon.
                self.step_back(Reason::Slept, now);
            }
            State::Active => {
                if self.resigning {
                    // Nobody took over: serving matters more.
                    self.resigning = false;
                    self.held = false;
                }
                self.advertise(now);
            }
            State::Fault => self.timer = None,
        }
    }

    /// After so much silence every other router has taken over.
    fn takeover(&self) -> Duration {
        self.config.interval.duration() * (u32::from(self.config.down_intervals) + 1)
    }

    /// Nothing keeps the router from taking over, except its sync group.
    fn ready(&mut self, reason: Reason, now: Instant) {
        if let Some(until) = self.aside.filter(|until| *until > now) {
            self.wait_until(until);
        } else if self.config.grouped {
            self.wants_active = true;
            self.wait_for_silence(now);
        } else {
            self.become_active(reason, now);
        }
    }

    /// The sync group is ready: takes over from the state of a backup.
    pub(super) fn lead(&mut self, reason: Reason, now: Instant) {
        if self.state == State::Backup {
            self.become_active(reason, now);
        }
    }

    /// Another member of the sync group has stepped back.
    pub(super) fn follow_back(&mut self, now: Instant) {
        if self.state == State::Active {
            self.step_back(Reason::Group, now);
        }
        self.wants_active = false;
    }

    /// Has a backup leave the next takeover to the others: two intervals more than it would wait, whatever it hears.
    pub(super) fn stand_aside(&mut self, now: Instant) {
        if self.state == State::Backup {
            self.aside = Some(now + self.active_down() + self.active_interval.duration() * 2);
        }
    }

    fn advertise(&mut self, now: Instant) {
        self.actions.push_back(Action::Advertise(self.priority));
        self.timer = Some(now + self.config.interval.duration());
    }

    fn become_active(&mut self, reason: Reason, now: Instant) {
        self.enduring = None;
        self.unskewed = None;
        self.aside = None;
        self.wants_active = false;
        self.held = false;
        self.active_interval = self.config.interval;
        self.state = State::Active;
        self.advertise(now);
        self.actions.push_back(Action::TakeAddresses);
        self.enter(State::Active, reason);
    }

    fn step_back(&mut self, reason: Reason, now: Instant) {
        self.actions.push_back(Action::ReleaseAddresses);
        self.resigning = false;
        self.enduring = None;
        self.wait_for_silence(now);
        self.enter(State::Backup, reason);
    }

    fn enter(&mut self, state: State, reason: Reason) {
        self.state = state;
        self.actions.push_back(Action::Entered(state, reason));
    }
}
