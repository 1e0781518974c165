//! The check machine and the supervisor under a virtual clock.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant, SystemTime};

use lb_userspace::health::{
    CheckChange, CheckMachine, CheckVerdict, Failure, FailureReason, HealthEvent, Supervisor, WeightChange,
    server_key,
};
use lb_userspace::model::{
    Check, CheckKind, CheckPolicy, CheckTarget, FULL_SHARE, ForwardingMethod, Model, Notifications, Protocol,
    RealServer, RealServerHealth, Scheduler, ServiceHealth, ServiceKey, Settings, VirtualService,
};
use proptest::prelude::*;

fn policy(rise: u32, fall: u32) -> CheckPolicy {
    CheckPolicy {
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(3),
        retry_delay: Duration::from_secs(1),
        rise,
        fall,
        warmup: Duration::ZERO,
    }
}

/// Runs a machine over results (`+`, `-`), each taking `took`; returns the verdict after each and when each began.
fn play(policy: CheckPolicy, passing: bool, took: Duration, results: &str) -> (String, Vec<u64>) {
    let start = Instant::now();
    let mut machine = CheckMachine::new(policy, passing, start, 0.0);
    let (mut verdicts, mut begun) = (String::new(), Vec::new());
    for result in results.chars() {
        let now = machine.poll_timeout().unwrap();
        begun.push((now - start).as_secs());
        machine.begin(now);
        assert_eq!(machine.poll_timeout(), None, "two runs at once");
        let turned = machine.finish(now + took, result == '+');
        assert_eq!(
            turned.is_some(),
            verdicts.chars().last().map_or(passing, |v| v == '+') != machine.passing()
        );
        verdicts.push(if machine.passing() { '+' } else { '-' });
    }
    (verdicts, begun)
}

#[test]
fn verdicts_turn_after_rise_and_fall() {
    for (rise, fall, results, verdicts) in [
        (1, 1, "+-+-", "+-+-"),
        (1, 2, "--++", "+-++"),
        (1, 3, "--+--+---+", "++++++++-+"),
        (2, 1, "-+-++-", "----+-"),
        (3, 2, "--+++--", "+---++-"),
    ] {
        assert_eq!(play(policy(rise, fall), true, Duration::ZERO, results).0, verdicts, "{rise} {fall}");
    }
    assert_eq!(play(policy(2, 1), false, Duration::ZERO, "+++").0, "-++");
}

#[test]
fn a_failure_is_looked_into_after_the_retry_delay_and_then_at_the_interval() {
    let zero = Duration::ZERO;
    assert_eq!(play(policy(1, 3), true, zero, "+----+").1, [0, 10, 11, 12, 22, 32]);
    assert_eq!(play(policy(1, 1), true, zero, "-++").1, [0, 10, 20]);
}

#[test]
fn slow_runs_delay_the_next_and_keep_the_rhythm() {
    assert_eq!(play(policy(1, 1), true, Duration::from_secs(4), "++++").1, [0, 10, 20, 30]);
    // Slower than the interval: one after the other, never two at once.
    assert_eq!(play(policy(1, 1), true, Duration::from_secs(15), "++++").1, [0, 15, 30, 45]);
    assert_eq!(play(policy(1, 2), true, Duration::from_secs(3), "--++").1, [0, 4, 14, 24]);
}

#[test]
fn the_warm_up_spreads_the_first_run() {
    let start = Instant::now();
    let spread = |part| {
        let policy = CheckPolicy { warmup: Duration::from_secs(8), ..policy(1, 1) };
        CheckMachine::new(policy, true, start, part).poll_timeout().unwrap() - start
    };
    assert_eq!(spread(0.0), Duration::ZERO);
    assert_eq!(spread(0.25), Duration::from_secs(2));
    assert_eq!(spread(7.0), Duration::from_secs(8));
}

proptest! {
    #[test]
    fn a_verdict_never_turns_without_enough_results_in_a_row(
        rise in 1u32..5, fall in 1u32..5, results in prop::collection::vec(any::<bool>(), 0..200),
    ) {
        let text: String = results.iter().map(|good| if *good { '+' } else { '-' }).collect();
        let (verdicts, begun) = play(policy(rise, fall), true, Duration::from_millis(5), &text);
        prop_assert!(begun.windows(2).all(|pair| pair[0] <= pair[1]));
        let mut before = true;
        for (index, after) in verdicts.chars().map(|verdict| verdict == '+').enumerate() {
            if after != before {
                let needed = if after { rise } else { fall } as usize;
                prop_assert!(index + 1 >= needed);
                prop_assert!(results[index + 1 - needed..=index].iter().all(|good| *good == after));
            }
            before = after;
        }
    }
}

const KEY: ServiceKey =
    ServiceKey { protocol: Protocol::Tcp, address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), port: 80 };

fn check() -> Check {
    Check { kind: CheckKind::Tcp, target: CheckTarget::default(), policy: policy(1, 1) }
}

fn server(number: u8, weight: u32) -> RealServer {
    RealServer {
        address: IpAddr::from([10, 0, 0, number]),
        port: 80,
        weight,
        forwarding: ForwardingMethod::Dr,
        share: FULL_SHARE,
        health: RealServerHealth { checks: [check()].into(), ..RealServerHealth::default() },
    }
}

fn model(health: ServiceHealth, real_servers: Vec<RealServer>) -> Model {
    Model {
        settings: Settings::default(),
        interfaces: Vec::new(),
        services: vec![VirtualService {
            key: KEY,
            name: "web".to_owned(),
            scheduler: Scheduler::Wlc,
            real_servers,
            health,
            always_on: false,
        }],
        notifications: Notifications::default(),
        vrrp: Default::default(),
    }
}

struct Bench {
    supervisor: Supervisor,
    now: Instant,
}

impl Bench {
    fn new(health: ServiceHealth, servers: Vec<RealServer>) -> Self {
        let (now, alpha) = (Instant::now(), health.alpha);
        let mut bench =
            Self { supervisor: Supervisor::new(model(health, servers), now, SystemTime::now()), now };
        // A quorum that is there from the start is told, as keepalived does it.
        let expected = if alpha { Vec::new() } else { vec!["quorum true"] };
        let events = bench.events();
        assert_eq!(events.iter().map(|event| &event[..11]).collect::<Vec<_>>(), expected);
        bench
    }

    fn reload(&mut self, health: ServiceHealth, servers: Vec<RealServer>) {
        self.supervisor.configure(model(health, servers), self.now, SystemTime::now());
    }

    fn says(&mut self, number: u8, result: Result<Option<WeightChange>, FailureReason>) {
        let verdict = CheckVerdict {
            passing: result.is_ok(),
            weight: result.ok().flatten(),
            failure: result.err().map(|reason| Failure::new(reason, "for a test")),
        };
        let change = CheckChange {
            service: KEY,
            server: (IpAddr::from([10, 0, 0, number]), 80),
            index: 0,
            check: check(),
            verdict,
        };
        assert!(self.supervisor.handle_change(change, self.now, SystemTime::now()));
    }

    fn down(&mut self, number: u8) {
        self.says(number, Err(FailureReason::Refused));
    }

    fn up(&mut self, number: u8) {
        self.says(number, Ok(None));
    }

    /// Last byte of the address and weight of each real server that the datapath gets.
    fn installed(&mut self) -> Vec<(u8, u32)> {
        let effective = self.supervisor.effective(self.now);
        let servers = &effective.services[0].real_servers;
        let number = |address: IpAddr| match address {
            IpAddr::V4(address) => address.octets()[3],
            IpAddr::V6(_) => 0,
        };
        servers.iter().map(|server| (number(server.address), server.weight)).collect()
    }

    fn events(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.supervisor.poll_event())
            .map(|event| match event {
                HealthEvent::Server { server, up, reason, .. } => {
                    format!("server {} {up} {}", server.0, reason.unwrap_or_default()).trim_end().to_owned()
                }
                HealthEvent::Quorum { up, live_weight, .. } => format!("quorum {up} {live_weight}"),
                HealthEvent::Panic { on, failed, checked, .. } => format!("panic {on} {failed}/{checked}"),
            })
            .collect()
    }
}

#[test]
fn a_failed_server_is_removed_or_quiesced() {
    let mut inhibited = server(2, 5);
    inhibited.health.inhibit_on_failure = true;
    let mut bench = Bench::new(ServiceHealth::default(), vec![server(1, 3), inhibited, server(3, 1)]);
    bench.down(1);
    bench.down(2);
    assert_eq!(bench.installed(), [(2, 0), (3, 1)]);
    assert_eq!(
        bench.events(),
        ["server 10.0.0.1 false refused: for a test", "server 10.0.0.2 false refused: for a test"]
    );
    bench.up(1);
    bench.up(2);
    assert_eq!(bench.installed(), [(1, 3), (2, 5), (3, 1)]);
    assert_eq!(bench.events(), ["server 10.0.0.1 true", "server 10.0.0.2 true"]);
}

#[test]
fn quorum_has_its_borders_and_the_sorry_server_serves_without_it() {
    let health = ServiceHealth {
        quorum: 30,
        hysteresis: 2,
        sorry_server: Some(server(9, 1)),
        ..ServiceHealth::default()
    };
    let mut bench = Bench::new(health.clone(), vec![server(1, 28), server(2, 3), server(3, 1)]);
    assert_eq!(bench.installed(), [(1, 28), (2, 3), (3, 1), (9, 0)]);
    // 29 and 28 are enough to keep it.
    bench.down(2);
    bench.down(3);
    assert_eq!(bench.installed(), [(1, 28), (9, 0)]);
    bench.says(1, Ok(Some(WeightChange::Set(27))));
    assert_eq!(bench.installed(), [(1, 0), (9, 1)], "the live server is quiesced, the sorry server serves");
    // 28 to 31 do not bring it back.
    bench.says(1, Ok(None));
    bench.up(2);
    assert_eq!(bench.installed(), [(1, 0), (2, 0), (9, 1)]);
    bench.up(3);
    assert_eq!(bench.installed(), [(1, 28), (2, 3), (3, 1), (9, 0)]);
    let quorum: Vec<String> =
        bench.events().into_iter().filter(|event| event.starts_with("quorum")).collect();
    assert_eq!(quorum, ["quorum false 27", "quorum true 32"]);

    let keep = ServiceHealth { keep_live_servers: true, ..health };
    let mut bench = Bench::new(keep, vec![server(1, 28), server(2, 3)]);
    bench.down(1);
    assert_eq!(bench.installed(), [(2, 3), (9, 1)]);
}

#[test]
fn without_a_sorry_server_what_is_left_goes_on() {
    let mut bench =
        Bench::new(ServiceHealth { quorum: 2, ..ServiceHealth::default() }, vec![server(1, 1), server(2, 1)]);
    bench.down(1);
    assert_eq!(bench.installed(), [(2, 1)]);
    bench.down(2);
    assert_eq!(bench.installed(), []);
    assert_eq!(bench.events()[1], "quorum false 1");
}

#[test]
fn a_panic_disbelieves_failures_but_not_intentions() {
    let health = ServiceHealth { panic_threshold: Some(50), ..ServiceHealth::default() };
    let mut bench = Bench::new(health, (1..=5).map(|number| server(number, 1)).collect());
    bench.says(5, Err(FailureReason::File));
    bench.down(1);
    bench.down(2);
    assert_eq!(bench.installed(), [(3, 1), (4, 1)], "two of four are not more than half");
    bench.down(3);
    assert_eq!(bench.installed(), [(1, 1), (2, 1), (3, 1), (4, 1)]);
    assert!(bench.events().contains(&"panic true 3/4".to_owned()));
    bench.up(3);
    assert_eq!(bench.installed(), [(3, 1), (4, 1)]);
    assert!(bench.events().contains(&"panic false 2/4".to_owned()));
}

#[test]
fn weights_follow_the_checks() {
    let mut bench = Bench::new(ServiceHealth::default(), vec![server(1, 10), server(2, 0)]);
    for (says, weight) in [
        (Some(WeightChange::Set(3)), 3),
        (Some(WeightChange::Set(253)), 253),
        (Some(WeightChange::Add(-4)), 6),
        (Some(WeightChange::Add(-10)), 0),
        (Some(WeightChange::Set(0)), 0),
        (None, 10),
    ] {
        bench.says(1, Ok(says));
        assert_eq!(bench.installed(), [(1, weight), (2, 0)], "{says:?}");
    }
    bench.says(1, Ok(Some(WeightChange::Add(-11))));
    assert_eq!(bench.installed(), [(2, 0)], "below zero is down");
    bench.says(2, Ok(Some(WeightChange::Set(7))));
    assert_eq!(bench.installed(), [(2, 0)], "a quiesced server stays quiesced");
}

#[test]
fn a_reload_keeps_what_is_known() {
    let mut bench = Bench::new(ServiceHealth::default(), vec![server(1, 1), server(2, 1)]);
    bench.down(1);
    bench.events();
    bench.reload(ServiceHealth::default(), vec![server(1, 4), server(3, 1)]);
    assert_eq!(bench.installed(), [(3, 1)], "the failed server does not come back by a reload");
    assert_eq!(bench.events(), Vec::<String>::new());
    let mut other = server(1, 4);
    other.health.checks = [Check { kind: CheckKind::Ping, ..check() }].into();
    bench.reload(ServiceHealth::default(), vec![other, server(3, 1)]);
    assert_eq!(bench.installed(), [(3, 1)], "nor by another check, before that has passed");
    let mut unchecked = server(1, 4);
    unchecked.health.checks = [].into();
    bench.reload(ServiceHealth::default(), vec![unchecked, server(3, 1)]);
    assert_eq!(bench.installed(), [(1, 4), (3, 1)], "without checks it is up");
    let late = CheckChange {
        service: KEY,
        server: server_key(&server(1, 1)),
        index: 0,
        check: check(),
        verdict: CheckVerdict { passing: false, weight: None, failure: None },
    };
    assert!(!bench.supervisor.handle_change(late, bench.now, SystemTime::now()), "nobody asks that any more");
}

#[test]
fn alpha_begins_down_and_everything_else_up() {
    let alpha = ServiceHealth { alpha: true, ..ServiceHealth::default() };
    let mut bench = Bench::new(alpha.clone(), vec![server(1, 1), server(2, 1)]);
    assert_eq!(bench.installed(), []);
    assert_eq!(bench.events(), Vec::<String>::new());
    bench.up(1);
    assert_eq!(bench.installed(), [(1, 1)]);
    assert_eq!(bench.events(), ["server 10.0.0.1 true", "quorum true 1"]);
    bench.reload(alpha, vec![server(1, 1), server(2, 1), server(3, 1)]);
    assert_eq!(bench.installed(), [(1, 1)]);
    bench.reload(ServiceHealth::default(), vec![server(1, 1), server(2, 1), server(4, 1)]);
    assert_eq!(bench.installed(), [(1, 1), (4, 1)]);
}

#[test]
fn a_slow_start_grows_to_the_full_weight() {
    let mut slow = server(1, 1);
    slow.health.slow_start = Some(Duration::from_secs(32));
    let mut bench = Bench::new(ServiceHealth::default(), vec![slow, server(2, 1)]);
    let share = |bench: &mut Bench| bench.supervisor.effective(bench.now).services[0].real_servers[0].share;
    assert_eq!(share(&mut bench), FULL_SHARE, "no slow start at the beginning");
    bench.down(1);
    bench.up(1);
    let (start, mut shares) = (bench.now, Vec::new());
    loop {
        shares.push(share(&mut bench));
        match bench.supervisor.poll_timeout(bench.now) {
            Some(next) => bench.now = next,
            None => break,
        }
    }
    assert_eq!(shares, [1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
    assert_eq!(bench.now - start, Duration::from_secs(32));
}
