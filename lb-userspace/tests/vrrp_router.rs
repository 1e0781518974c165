//! The virtual router: its transitions one by one.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::net::IpAddr;
use std::time::{Duration, Instant};

use lb_userspace::vrrp::{
    Action, Advertisement, Centiseconds, Reason, RouterConfig, State, Version, VirtualRouter,
};

fn config(priority: u8) -> RouterConfig {
    RouterConfig {
        version: Version::V3,
        vrid: 1,
        priority,
        interval: Centiseconds::SECOND,
        preempt: true,
        preempt_delay: Duration::ZERO,
        down_intervals: 3,
        start_active: false,
        start_delay: Duration::ZERO,
        answer_lower: true,
        grouped: false,
    }
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn heard(priority: u8, hundredths: u16) -> Advertisement {
    Advertisement {
        vrid: 1,
        priority,
        interval: Centiseconds::new(hundredths).unwrap(),
        addresses: vec![address(100)],
    }
}

fn actions(router: &mut VirtualRouter) -> Vec<Action> {
    std::iter::from_fn(|| router.poll_action()).collect()
}

/// A router after its start; its address is 192.0.2.5.
fn started(config: RouterConfig, now: Instant) -> VirtualRouter {
    let mut router = VirtualRouter::new(config);
    router.handle_startup(now);
    actions(&mut router);
    router
}

fn active(config: RouterConfig, now: Instant) -> VirtualRouter {
    let mut router = started(config, now);
    let due = router.poll_timeout().unwrap();
    router.handle_timeout(due);
    actions(&mut router);
    router
}

const MILLISECOND: Duration = Duration::from_millis(1);

#[test]
fn timers_of_both_versions() {
    let router = |version, priority, hundredths| {
        let interval = Centiseconds::new(hundredths).unwrap();
        VirtualRouter::new(RouterConfig { version, interval, ..config(priority) })
    };
    // Measured with keepalived: 121.9 ms for priority 100 at 200 ms, 609 ms in version 2.
    assert_eq!(router(Version::V3, 100, 20).skew(), Duration::from_micros(121_875));
    assert_eq!(router(Version::V2, 100, 100).skew(), Duration::from_micros(609_375));
    assert_eq!(router(Version::V3, 254, 100).active_down(), Duration::from_nanos(3_007_812_500));
    assert_eq!(router(Version::V3, 1, 1).active_down(), Duration::from_nanos(30_000_000 + 9_960_937));
}

#[test]
fn the_start() {
    let now = Instant::now();
    let mut owner = VirtualRouter::new(config(255));
    owner.handle_startup(now);
    assert_eq!(
        actions(&mut owner),
        [Action::Advertise(255), Action::TakeAddresses, Action::Entered(State::Active, Reason::Owner)]
    );
    assert_eq!(owner.poll_timeout(), Some(now + Duration::from_secs(1)));
    let mut backup = VirtualRouter::new(config(100));
    backup.handle_startup(now);
    assert_eq!(actions(&mut backup), [Action::Entered(State::Backup, Reason::Startup)]);
    assert_eq!(backup.poll_timeout(), Some(now + backup.active_down()));
    let eager = started(RouterConfig { start_active: true, ..config(100) }, now);
    assert!(eager.poll_timeout().unwrap() - now < Duration::from_millis(1010));
}

#[test]
fn silence_makes_active_and_the_order_is_advertisement_first() {
    let now = Instant::now();
    let mut router = started(config(100), now);
    router.handle_timeout(now + Duration::from_secs(1));
    assert_eq!(actions(&mut router), [], "not due yet");
    let due = router.poll_timeout().unwrap();
    router.handle_timeout(due + MILLISECOND);
    assert_eq!(
        actions(&mut router),
        [Action::Advertise(100), Action::TakeAddresses, Action::Entered(State::Active, Reason::Silence)]
    );
    let due = router.poll_timeout().unwrap();
    router.handle_timeout(due);
    assert_eq!(actions(&mut router), [Action::Advertise(100)]);
}

#[test]
fn what_a_backup_hears() {
    let now = Instant::now();
    let later = now + Duration::from_secs(1);
    // Priority heard, preemption, new timer: none leaves the old one.
    let hear = |priority: u8, config: RouterConfig| {
        let mut router = started(config, now);
        let before = router.poll_timeout().unwrap();
        router.handle_advertisement(&heard(priority, 200), address(9), address(5), later).unwrap();
        assert_eq!((router.state(), actions(&mut router)), (State::Backup, vec![]));
        let after = router.poll_timeout().unwrap();
        (after != before).then(|| after - later)
    };
    let keep = RouterConfig { preempt: false, ..config(100) };
    // The interval of the active router is learnt: 3 * 2 s and a skew of 156/256 of 2 s.
    let learnt = Duration::from_nanos(6_000_000_000 + 1_218_750_000);
    assert_eq!(hear(150, config(100)), Some(learnt));
    assert_eq!(hear(100, config(100)), Some(learnt));
    assert_eq!(hear(99, config(100)), None, "it is preempted when the timer runs out");
    assert_eq!(hear(99, keep.clone()), Some(learnt));
    assert_eq!(hear(0, config(100)), Some(Duration::from_micros(609_375)));
    assert_eq!(hear(0, keep), Some(Duration::from_micros(609_375)));
}

#[test]
fn a_lower_priority_is_endured_for_the_preempt_delay() {
    let start = Instant::now();
    let delay = Duration::from_secs(10);
    let mut router = started(RouterConfig { preempt_delay: delay, ..config(100) }, start);
    let mut now = start;
    while router.state() == State::Backup {
        now += Duration::from_secs(1);
        router.handle_advertisement(&heard(50, 100), address(9), address(5), now).unwrap();
        if router.poll_timeout().unwrap() <= now {
            router.handle_timeout(now);
        }
        assert!(now - start < Duration::from_secs(30), "never");
    }
    assert!(now - start >= delay, "{:?}", now - start);
}

#[test]
fn what_an_active_router_hears() {
    let now = Instant::now();
    let hear = |priority: u8, from: u8, config: RouterConfig| {
        let mut router = active(config, now);
        let at = router.poll_timeout().unwrap() - MILLISECOND;
        router.handle_advertisement(&heard(priority, 100), address(from), address(5), at).unwrap();
        (router.state(), actions(&mut router))
    };
    let yields =
        |reason| (State::Backup, vec![Action::ReleaseAddresses, Action::Entered(State::Backup, reason)]);
    let answers = (State::Active, vec![Action::Advertise(100), Action::Announce]);
    assert_eq!(
        hear(101, 1, config(100)),
        yields(Reason::HigherPriority { priority: 101, source: address(1) })
    );
    assert_eq!(hear(100, 9, config(100)), yields(Reason::HigherAddress { source: address(9) }));
    assert_eq!(hear(100, 1, config(100)), answers, "equal priority, lower address");
    assert_eq!(hear(99, 9, config(100)), answers);
    let silent = RouterConfig { answer_lower: false, ..config(100) };
    assert_eq!(hear(99, 9, silent), (State::Active, vec![]));
    assert_eq!(hear(0, 9, config(100)), (State::Active, vec![Action::Advertise(100)]));
}

#[test]
fn the_end_and_faults_give_the_addresses_up() {
    let now = Instant::now();
    let mut router = active(config(100), now);
    router.handle_shutdown();
    let gone = [
        Action::Advertise(0),
        Action::ReleaseAddresses,
        Action::Entered(State::Initialize, Reason::Shutdown),
    ];
    assert_eq!((actions(&mut router), router.poll_timeout()), (gone.to_vec(), None));
    let mut router = active(config(100), now);
    let missing = Reason::Missing("eth0 is down".to_owned());
    router.handle_fault(Some(missing.clone()), now);
    let fault =
        [Action::Advertise(0), Action::ReleaseAddresses, Action::Entered(State::Fault, missing.clone())];
    assert_eq!(actions(&mut router), fault);
    router.handle_advertisement(&heard(1, 100), address(9), address(5), now).unwrap();
    assert_eq!((router.state(), router.poll_timeout()), (State::Fault, None));
    router.handle_fault(None, now);
    assert_eq!(actions(&mut router), [Action::Entered(State::Backup, Reason::Recovered)]);
    let mut backup = started(config(100), now);
    backup.handle_shutdown();
    assert_eq!(actions(&mut backup), [Action::Entered(State::Initialize, Reason::Shutdown)]);
}

#[test]
fn tracking_moves_the_priority_within_its_bounds() {
    let now = Instant::now();
    let mut router = started(config(100), now);
    router.handle_advertisement(&heard(200, 100), address(9), address(5), now).unwrap();
    for (asked, got) in [(300, 254), (-5, 1), (0, 1), (90, 90)] {
        router.handle_priority(asked, now);
        assert_eq!(router.priority(), got);
        assert_eq!(router.poll_timeout(), Some(now + router.active_down()), "the skew follows");
    }
    let mut owner = active(config(255), now);
    owner.handle_priority(10, now);
    assert_eq!(owner.priority(), 255);
}

#[test]
fn a_router_that_slept_yields_and_does_not_fight() {
    let now = Instant::now();
    let mut router = active(config(100), now);
    let due = router.poll_timeout().unwrap();
    router.handle_timeout(due + Duration::from_secs(5));
    assert_eq!(
        actions(&mut router),
        [Action::ReleaseAddresses, Action::Entered(State::Backup, Reason::Slept)]
    );
    let mut router = started(config(100), now);
    let due = router.poll_timeout().unwrap();
    router.handle_timeout(due + Duration::from_secs(5));
    assert_eq!((router.state(), actions(&mut router)), (State::Backup, vec![]));
    // Nobody was there after all.
    let due = router.poll_timeout().unwrap();
    router.handle_timeout(due);
    assert_eq!(router.state(), State::Active);
}

#[test]
fn a_flood_of_lower_priorities_gets_few_answers() {
    let now = Instant::now();
    let mut router = active(config(100), now);
    let at = router.poll_timeout().unwrap() - Duration::from_millis(990);
    let mut answers = 0;
    for step in 0..900 {
        let later = at + MILLISECOND * step;
        router.handle_advertisement(&heard(1, 100), address(9), address(5), later).unwrap();
        answers += actions(&mut router).iter().filter(|action| **action == Action::Announce).count();
    }
    assert_eq!((router.state(), answers), (State::Active, 9));
}
