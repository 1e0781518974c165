//! Virtual routers: any settings, any sequence of messages, orders, faults and times.

use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use lb_userspace::vrrp::{
    Action, Advertisement, Centiseconds, Reason, Reject, RouterConfig, State, Version, VirtualRouter, group,
};

use crate::input::{Input, host};
use crate::trail::Trail;

/// So many steps of an input are taken.
const MOST_STEPS: usize = 64;

struct Member {
    router: VirtualRouter,
    missing: Option<Reason>,
    /// Whether it has the addresses, by the actions so far.
    addresses: bool,
    /// The state, by the actions so far.
    told: State,
}

struct World {
    members: Vec<Member>,
    now: Instant,
    trail: Trail,
}

/// Settings, then steps. Two virtual routers are a sync group.
///
/// # Panics
///
/// Where actions contradict each other or the state, a timer is missing, or a refused message has changed something.
pub fn run(data: &[u8]) -> Trail {
    let mut input = Input::new(data);
    let count = 1 + usize::from(input.flag());
    let members = (0..count).map(|_| Member {
        router: VirtualRouter::new(config(&mut input, count > 1)),
        missing: None,
        addresses: false,
        told: State::Initialize,
    });
    let mut world = World { members: members.collect(), now: start(), trail: Trail::default() };
    for _ in 0..MOST_STEPS {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
    }
    world.trail
}

/// The same for all inputs, so that nothing depends on when they are run.
fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

fn config(input: &mut Input<'_>, grouped: bool) -> RouterConfig {
    let flags = input.byte();
    let seconds = |input: &mut Input<'_>| Duration::from_millis(u64::from(input.byte()) * 100);
    RouterConfig {
        version: if flags & 1 > 0 { Version::V2 } else { Version::V3 },
        vrid: 1,
        priority: input.byte().max(1),
        interval: interval(input),
        preempt: flags & 2 == 0,
        preempt_delay: if flags & 4 > 0 { seconds(input) } else { Duration::ZERO },
        down_intervals: if flags & 8 > 0 { input.byte().max(1) } else { 3 },
        start_active: flags & 16 > 0,
        start_delay: if flags & 32 > 0 { seconds(input) } else { Duration::ZERO },
        answer_lower: flags & 64 == 0,
        grouped,
    }
}

fn interval(input: &mut Input<'_>) -> Centiseconds {
    Centiseconds::new(input.word() & 0x0fff).unwrap_or(Centiseconds::SECOND)
}

impl World {
    fn step(&mut self, input: &mut Input<'_>) {
        let code = input.byte();
        let index = usize::from(code >> 7) % self.members.len();
        self.trail.note(code & 0x0f);
        match code & 0x0f {
            // The usual course of things.
            0..=2 => {
                let due = self.members.iter().filter_map(|member| member.router.poll_timeout()).min();
                self.now = due.unwrap_or(self.now).max(self.now);
                self.timeouts();
            }
            3 => {
                self.now += Duration::from_millis(input.word().into());
                self.timeouts();
            }
            // Time passes without anybody noticing.
            4 => self.now += Duration::from_millis(input.word().into()),
            5..=8 => self.advertisement(input, index),
            9 => self.all(|router, now| router.handle_startup(now)),
            10 => {
                self.all(|router, _| router.handle_shutdown());
                assert!(self.members.iter().all(|member| member.router.poll_timeout().is_none()));
            }
            11 => {
                let missing = input.flag().then(|| Reason::Missing("eth0 is down".to_owned()));
                self.members[index].missing.clone_from(&missing);
                let alone = self.members.len() == 1;
                self.with(index, |router, now| {
                    if alone {
                        router.handle_fault(missing, now);
                    }
                });
            }
            12 => {
                let priority = i32::from(input.word().cast_signed());
                self.with(index, |router, now| router.handle_priority(priority, now));
            }
            13 => self.all(VirtualRouter::handle_resign),
            14 => {
                let at_once = input.flag();
                self.all(|router, now| router.handle_reclaim(at_once, now));
            }
            _ => {
                let old = self.members[index].router.config();
                let new = config(input, old.grouped);
                // Another version is another virtual router.
                let new = RouterConfig { version: old.version, ..new };
                self.with(index, |router, _| router.reconfigure(new));
            }
        }
    }

    fn all(&mut self, handle: impl Fn(&mut VirtualRouter, Instant)) {
        for index in 0..self.members.len() {
            self.with(index, &handle);
        }
    }

    fn timeouts(&mut self) {
        for index in 0..self.members.len() {
            // A router that is started may be due at once, and one that is due may wait for its group.
            for _ in 0..3 {
                let due = self.members[index].router.poll_timeout();
                if due.is_none_or(|due| due > self.now) {
                    break;
                }
                self.with(index, VirtualRouter::handle_timeout);
            }
            let due = self.members[index].router.poll_timeout();
            assert!(due.is_none_or(|due| due > self.now), "due again and again");
        }
    }

    fn advertisement(&mut self, input: &mut Input<'_>, index: usize) {
        let advertisement = Advertisement {
            vrid: 1,
            priority: input.byte(),
            interval: interval(input),
            addresses: Vec::<IpAddr>::new(),
        };
        let (source, own) = (host(true, input.byte()), host(true, 128));
        let before = self.members[index].router.clone();
        let mut result = Ok(());
        self.with(index, |router, now| {
            result = router.handle_advertisement(&advertisement, source, own, now);
        });
        if let Err(reject) = result {
            assert_eq!(reject, Reject::DuplicateOwner);
            assert_eq!((advertisement.priority, before.priority()), (255, 255));
            let after = &self.members[index].router;
            assert_eq!(format!("{before:?}"), format!("{after:?}"), "a refused message changed something");
            self.trail.note(100);
        }
    }

    /// Has a virtual router handle something and its group follow, and judges what comes of it.
    fn with(&mut self, index: usize, handle: impl FnOnce(&mut VirtualRouter, Instant)) {
        let now = self.now;
        let missing: Vec<Option<Reason>> = self.members.iter().map(|member| member.missing.clone()).collect();
        let mut routers: Vec<&mut VirtualRouter> =
            self.members.iter_mut().map(|member| &mut member.router).collect();
        if routers.len() == 1 {
            handle(routers[0], now);
        } else {
            let before = group::states(&routers);
            handle(routers[index], now);
            group::settle(&mut routers, &missing, &before, now);
        }
        for member in &mut self.members {
            judge(member, now, &mut self.trail);
        }
    }
}

fn judge(member: &mut Member, now: Instant, trail: &mut Trail) {
    while let Some(action) = member.router.poll_action() {
        match action {
            Action::Advertise(0) => trail.note(20),
            Action::Advertise(_) => trail.note(21),
            Action::TakeAddresses => {
                assert!(!member.addresses, "taken twice");
                member.addresses = true;
            }
            Action::Announce => assert!(member.addresses, "announced without having them"),
            Action::ReleaseAddresses => {
                assert!(member.addresses, "released without having them");
                member.addresses = false;
            }
            Action::Entered(state, _) => {
                assert_ne!(state, member.told, "entered twice");
                member.told = state;
                trail.note(30 + state as u8);
            }
        }
    }
    let router = &member.router;
    assert_eq!(router.state(), member.told, "nobody was told");
    assert_eq!(router.state() == State::Active, member.addresses, "the active router has the addresses");
    let owner = router.config().priority == 255;
    assert!(if owner { router.priority() == 255 } else { (1..=254).contains(&router.priority()) });
    match router.state() {
        State::Backup | State::Active => {
            let due = router.poll_timeout();
            // As far as the longest interval, the most intervals and standing aside go.
            let most = Duration::from_secs(41 * (2 * 256 + 4));
            assert!(due.is_some_and(|due| due <= now + most), "{due:?}");
        }
        State::Fault => assert_eq!(router.poll_timeout(), None),
        State::Initialize => {}
    }
    trail.note(40 + u8::from(router.is_held()) * 2 + u8::from(router.wants_active()));
}

/// Short lives: a takeover, a failover, a switchover, a group.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let router = [0, 100, 0, 100];
    let owner = [0, 255, 0, 100];
    let slow = [0x3c | 1, 50, 1, 44, 20, 5, 30];
    let hears = |priority: u8, source: u8| [5, priority, 0, 100, source];
    vec![
        [&[0][..], &router, &[9, 0, 0, 10]].concat(),
        [&[0][..], &owner, &[9, 0], &hears(255, 9), &hears(100, 9), &[13], &hears(10, 9), &[14, 1]].concat(),
        [&[0][..], &router, &[9], &hears(200, 9), &hears(0, 9), &[0, 0], &hears(100, 200), &[12, 0, 7]]
            .concat(),
        [&[0][..], &router, &[9, 0, 13], &hears(50, 9), &hears(50, 9), &[14, 0, 0]].concat(),
        [&[0][..], &router, &[9, 0, 11, 1, 11, 0, 4, 99, 99, 0, 0, 4, 99, 99, 0]].concat(),
        [&[0][..], &slow, &[9, 3, 20, 0, 0], &hears(10, 3), &hears(10, 3), &[15], &slow].concat(),
        [&[1][..], &router, &router, &[9, 0, 0, 0], &hears(200, 9), &[0, 0, 11, 1, 0x8b, 0, 13, 14, 1]]
            .concat(),
    ]
}
