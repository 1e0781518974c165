//! Hosts with virtual routers on networks under a virtual clock, which lose, double and delay messages, and let them
//! through in one direction only.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use lb_userspace::vrrp::{Action, Advertisement, Reason, RouterConfig, State, Version, VirtualRouter, group};

/// What a network does to messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    /// Lost ones, in percent.
    pub(crate) loss: u8,
    /// Doubled ones, in percent.
    pub(crate) doubled: u8,
    /// Each message is late by up to so many milliseconds, so that they overtake each other.
    pub(crate) delay: u16,
}

impl Weather {
    /// Everything arrives after [`CALM_DELAY`].
    pub(crate) const CALM: Self = Self { loss: 0, doubled: 0, delay: 0 };
}

/// How long a message is under way when nothing holds it up.
pub(crate) const CALM_DELAY: Duration = Duration::from_micros(300);

/// Something that happens to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Incident {
    /// It dies without a word.
    Crash,
    /// It is stopped.
    Stop,
    /// It comes back from either as if new.
    Start,
    /// Something is missing.
    Fault,
    /// Nothing is missing any more.
    Recovery,
    /// Its priority changes.
    Priority(i32),
    /// An operator hands over.
    Resign,
    /// An operator takes back, at once or not.
    Reclaim(bool),
    /// It does not run for so many milliseconds.
    Sleep(u16),
    /// It does not hear another host any more, or hears it again. The other way is not concerned.
    Hears(usize, bool),
}

struct Host {
    /// One per network; several are a sync group.
    routers: Vec<VirtualRouter>,
    config: Vec<RouterConfig>,
    running: bool,
    missing: bool,
    asleep_until: Instant,
}

struct Message {
    due: Instant,
    network: usize,
    from: usize,
    to: usize,
    advertisement: Advertisement,
}

/// Hosts and their networks.
pub(crate) struct Simulation {
    hosts: Vec<Host>,
    /// `hears[to][from]`
    hears: Vec<Vec<bool>>,
    origin: Instant,
    now: Instant,
    flying: Vec<Message>,
    weather: Weather,
    luck: u64,
    /// The least number of active hosts since it was last asked for.
    least_active: usize,
}

/// The address of a host on every network: a higher number has a higher address.
pub(crate) fn address(host: usize) -> IpAddr {
    IpAddr::from([192, 0, 2, host as u8 + 1])
}

impl Simulation {
    /// All hosts start at once. Each has one configuration per network.
    pub(crate) fn new(configs: Vec<Vec<RouterConfig>>, weather: Weather, seed: u64) -> Self {
        let now = Instant::now();
        let count = configs.len();
        let hosts = configs.into_iter().map(|config| Host {
            routers: Vec::new(),
            config,
            running: false,
            missing: false,
            asleep_until: now,
        });
        let mut simulation = Self {
            hosts: hosts.collect(),
            hears: vec![vec![true; count]; count],
            origin: now,
            now,
            flying: Vec::new(),
            weather,
            luck: seed,
            least_active: 0,
        };
        for host in 0..count {
            simulation.happens(host, Incident::Start);
        }
        simulation
    }

    pub(crate) fn now(&self) -> Duration {
        self.now - self.origin
    }

    pub(crate) fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    /// Everybody hears everybody.
    pub(crate) fn mend(&mut self) {
        self.hears.iter_mut().flatten().for_each(|hears| *hears = true);
    }

    pub(crate) fn is_running(&self, host: usize) -> bool {
        self.hosts[host].running
    }

    /// The virtual router of a host on the first network.
    pub(crate) fn router(&self, host: usize) -> &VirtualRouter {
        &self.hosts[host].routers[0]
    }

    /// The states of a host.
    pub(crate) fn states(&self, host: usize) -> Vec<State> {
        self.hosts[host].routers.iter().map(VirtualRouter::state).collect()
    }

    /// The hosts with an active virtual router on the first network.
    pub(crate) fn active(&self) -> Vec<usize> {
        self.active_on(0)
    }

    fn active_on(&self, network: usize) -> Vec<usize> {
        let active = |host: &Host| host.running && host.routers[network].state() == State::Active;
        let hosts = self.hosts.iter().enumerate();
        hosts.filter(|(_, host)| active(host)).map(|(index, _)| index).collect()
    }

    /// The least number of active hosts on any network at any time since the last call.
    pub(crate) fn take_least_active(&mut self) -> usize {
        let now = self.count_least_active();
        std::mem::replace(&mut self.least_active, now)
    }

    fn count_least_active(&self) -> usize {
        let networks = 0..self.hosts[0].config.len();
        networks.map(|network| self.active_on(network).len()).min().unwrap_or_default()
    }

    pub(crate) fn happens(&mut self, host: usize, incident: Incident) {
        let now = self.now;
        let place = &mut self.hosts[host];
        match incident {
            Incident::Crash => place.running = false,
            Incident::Stop if place.running => {
                place.routers.iter_mut().for_each(VirtualRouter::handle_shutdown);
                self.carry_out(host);
                self.hosts[host].running = false;
            }
            Incident::Start if !place.running => {
                place.routers = place.config.iter().cloned().map(VirtualRouter::new).collect();
                (place.running, place.missing, place.asleep_until) = (true, false, now);
                self.each(host, VirtualRouter::handle_startup);
            }
            Incident::Fault | Incident::Recovery => {
                place.missing = incident == Incident::Fault;
                let missing = place.missing.then(|| Reason::Missing("eth0 is down".to_owned()));
                self.each(host, |router, now| router.handle_fault(missing.clone(), now));
            }
            Incident::Priority(priority) => {
                self.each(host, |router, now| router.handle_priority(priority, now));
            }
            Incident::Resign => self.each(host, VirtualRouter::handle_resign),
            Incident::Reclaim(at_once) => self.each(host, |router, now| router.handle_reclaim(at_once, now)),
            Incident::Sleep(milliseconds) => {
                place.asleep_until = now + Duration::from_millis(milliseconds.into());
            }
            Incident::Hears(other, hears) => self.hears[host][other] = hears,
            Incident::Stop | Incident::Start => {}
        }
    }

    fn each(&mut self, host: usize, handle: impl Fn(&mut VirtualRouter, Instant)) {
        let now = self.now;
        for network in 0..self.hosts[host].routers.len() {
            self.with(host, network, |router| handle(router, now));
        }
    }

    fn with(&mut self, host: usize, network: usize, handle: impl FnOnce(&mut VirtualRouter)) {
        let now = self.now;
        let place = &mut self.hosts[host];
        if !place.running {
            return;
        }
        let missing =
            vec![place.missing.then(|| Reason::Missing("eth0 is down".to_owned())); place.routers.len()];
        let mut routers: Vec<&mut VirtualRouter> = place.routers.iter_mut().collect();
        let before = group::states(&routers);
        handle(routers[network]);
        if routers.len() > 1 {
            group::settle(&mut routers, &missing, &before, now);
        }
        self.carry_out(host);
    }

    /// Sends what the routers of a host have to say.
    fn carry_out(&mut self, from: usize) {
        for network in 0..self.hosts[from].routers.len() {
            while let Some(action) = self.hosts[from].routers[network].poll_action() {
                if let Action::Advertise(priority) = action {
                    self.send(from, network, priority);
                }
            }
        }
        self.least_active = self.least_active.min(self.count_least_active());
    }

    fn send(&mut self, from: usize, network: usize, priority: u8) {
        let config = self.hosts[from].routers[network].config();
        let interval = config.interval;
        let advertisement = Advertisement {
            vrid: config.vrid,
            priority,
            interval,
            addresses: vec![IpAddr::from([192, 0, 2, 100])],
        };
        for to in (0..self.hosts.len()).filter(|to| *to != from) {
            if self.percent() < self.weather.loss {
                continue;
            }
            let copies = 1 + usize::from(self.percent() < self.weather.doubled);
            for _ in 0..copies {
                let late = self.next() % (u64::from(self.weather.delay) + 1);
                let due = self.now + CALM_DELAY + Duration::from_millis(late);
                self.flying.push(Message { due, network, from, to, advertisement: advertisement.clone() });
            }
        }
    }

    /// SplitMix64: a case is one number.
    fn next(&mut self) -> u64 {
        self.luck = self.luck.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.luck ^ (self.luck >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn percent(&mut self) -> u8 {
        (self.next() % 100) as u8
    }

    /// When something happens next on a host: its timers, and what was held up while it slept.
    fn due(&self, host: usize) -> Option<Instant> {
        let host = &self.hosts[host];
        let timers = host.routers.iter().filter_map(VirtualRouter::poll_timeout);
        timers.min().filter(|_| host.running).map(|due| due.max(host.asleep_until))
    }

    fn arrival(&self, message: &Message) -> Instant {
        message.due.max(self.hosts[message.to].asleep_until)
    }

    /// Lets time pass. Timers go first: a host that wakes up does not know yet what it has missed.
    pub(crate) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let timer = (0..self.hosts.len()).filter_map(|host| Some((self.due(host)?, host))).min();
            let arrivals = self.flying.iter().enumerate();
            let message = arrivals.map(|(index, message)| (self.arrival(message), index)).min();
            let (at, next) = match (timer, message) {
                (Some((timer, host)), Some((message, _))) if timer <= message => (timer, Ok(host)),
                (Some((timer, host)), None) => (timer, Ok(host)),
                (_, Some((message, index))) => (message, Err(index)),
                (None, None) => break,
            };
            if at > end {
                break;
            }
            self.now = self.now.max(at);
            match next {
                Ok(host) => self.each(host, VirtualRouter::handle_timeout),
                Err(index) => self.deliver(index),
            }
        }
        self.now = end;
    }

    fn deliver(&mut self, index: usize) {
        // The others stay in the order in which they were sent.
        let message = self.flying.remove(index);
        let Message { network, from, to, advertisement, .. } = message;
        if !self.hears[to][from] || !self.hosts[to].running {
            return;
        }
        let config = self.hosts[to].routers[network].config();
        // What decoding sees to.
        assert!(config.version == Version::V3 || config.interval == advertisement.interval);
        let now = self.now;
        self.with(to, network, |router| {
            // Nobody owns the addresses here.
            assert_eq!(router.handle_advertisement(&advertisement, address(from), address(to), now), Ok(()));
        });
    }
}
