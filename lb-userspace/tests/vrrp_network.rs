//! Several virtual routers on a network: whatever it did to their messages and whatever happened to them, in the end one
//! of them is active.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod vrrp_simulation;

use std::time::Duration;

use lb_userspace::vrrp::{Centiseconds, RouterConfig, State, Version};
use proptest::prelude::*;
use vrrp_simulation::{CALM_DELAY, Incident, Simulation, Weather};

/// Longer than anything here takes: three of the longest intervals, its skew, and the longest delay of preemption, twice.
const SETTLED: Duration = Duration::from_secs(30);

/// What the hosts of a network have in common, and what each has for itself.
fn configs(hosts: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Vec<RouterConfig>> {
    let host = (
        1u8..=254,
        any::<bool>(),
        prop::sample::select(&[0u64, 0, 500, 2500][..]),
        interval(),
        any::<bool>(),
    );
    (any::<bool>(), interval_of_all(), prop::collection::vec(host, hosts)).prop_map(|(v2, seconds, hosts)| {
        let hosts =
            hosts.into_iter().map(|(priority, preempt, delay, hundredths, start_active)| RouterConfig {
                version: if v2 { Version::V2 } else { Version::V3 },
                vrid: 1,
                priority,
                // Version 2 wants the same of everybody.
                interval: Centiseconds::new(if v2 { seconds } else { hundredths }).unwrap(),
                preempt,
                preempt_delay: Duration::from_millis(delay),
                down_intervals: 3,
                start_active,
                start_delay: Duration::ZERO,
                answer_lower: true,
                grouped: false,
            });
        hosts.collect()
    })
}

fn interval() -> impl Strategy<Value = u16> {
    prop::sample::select(&[10u16, 20, 50, 100, 200][..])
}

fn interval_of_all() -> impl Strategy<Value = u16> {
    prop::sample::select(&[100u16, 200][..])
}

fn weather() -> impl Strategy<Value = Weather> {
    (0u8..60, 0u8..40, 0u16..400).prop_map(|(loss, doubled, delay)| Weather { loss, doubled, delay })
}

fn incident() -> impl Strategy<Value = Incident> {
    prop_oneof![
        1 => Just(Incident::Crash),
        1 => Just(Incident::Stop),
        3 => Just(Incident::Start),
        1 => Just(Incident::Fault),
        2 => Just(Incident::Recovery),
        3 => (-10..300i32).prop_map(Incident::Priority),
        2 => Just(Incident::Resign),
        2 => any::<bool>().prop_map(Incident::Reclaim),
        1 => (1u16..10_000).prop_map(Incident::Sleep),
        6 => (0usize..5, any::<bool>()).prop_map(|(other, hears)| Incident::Hears(other, hears)),
    ]
}

/// When after the one before, to whom, what.
type Story = Vec<(u16, usize, Incident)>;

fn story() -> impl Strategy<Value = Story> {
    prop::collection::vec((0u16..4000, 0usize..5, incident()), 0..25)
}

fn single(configs: &[RouterConfig]) -> Vec<Vec<RouterConfig>> {
    configs.iter().map(|config| vec![config.clone()]).collect()
}

/// Lets all of a story happen, then ends faults and storms. At least one host is there then.
fn live_through(simulation: &mut Simulation, count: usize, story: &Story) {
    for (pause, host, incident) in story {
        simulation.run(Duration::from_millis((*pause).into()));
        let incident = match *incident {
            Incident::Hears(other, hears) => Incident::Hears(other % count, hears),
            other => other,
        };
        simulation.happens(host % count, incident);
    }
    if (0..count).all(|host| !simulation.is_running(host)) {
        simulation.happens(0, Incident::Start);
    }
    (0..count).for_each(|host| simulation.happens(host, Incident::Recovery));
    simulation.mend();
    simulation.set_weather(Weather::CALM);
    simulation.run(SETTLED);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// One, not two and not none, and it stays.
    #[test]
    fn one_active_router_after_the_storm(
        configs in configs(2..=5), weather in weather(), story in story(), seed: u64,
    ) {
        let mut simulation = Simulation::new(single(&configs), weather, seed);
        live_through(&mut simulation, configs.len(), &story);
        let active = simulation.active();
        prop_assert_eq!(active.len(), 1, "{:?} at {:?}", active, simulation.now());
        simulation.take_least_active();
        simulation.run(SETTLED);
        prop_assert_eq!(simulation.active(), active);
        prop_assert_eq!(simulation.take_least_active(), 1, "not all the time");
    }

    /// Among those that preempt, the highest priority.
    #[test]
    fn the_highest_priority_is_active_where_all_preempt(
        configs in configs(2..=5), weather in weather(), story in story(), seed: u64,
    ) {
        let configs: Vec<RouterConfig> =
            configs.into_iter().map(|config| RouterConfig { preempt: true, ..config }).collect();
        let mut simulation = Simulation::new(single(&configs), weather, seed);
        live_through(&mut simulation, configs.len(), &story);
        (0..configs.len()).for_each(|host| simulation.happens(host, Incident::Reclaim(false)));
        simulation.run(SETTLED);
        let running: Vec<usize> = (0..configs.len()).filter(|host| simulation.is_running(*host)).collect();
        let highest = running.iter().map(|host| simulation.router(*host).priority()).max();
        let active = simulation.active();
        prop_assert_eq!(active.len(), 1);
        prop_assert_eq!(Some(simulation.router(active[0]).priority()), highest);
    }

    /// From the last word of the active router to the next one being active: Active_Down_Interval of the fastest, which
    /// has the skew in it.
    #[test]
    fn the_next_takes_over_within_active_down(
        configs in configs(2..=5), weather in weather(), story in story(), seed: u64, pause in 0u64..3000,
    ) {
        let mut simulation = Simulation::new(single(&configs), weather, seed);
        live_through(&mut simulation, configs.len(), &story);
        (0..configs.len()).for_each(|host| simulation.happens(host, Incident::Start));
        simulation.run(SETTLED + Duration::from_millis(pause));
        let active = simulation.active();
        prop_assert_eq!(active.len(), 1);
        simulation.happens(active[0], Incident::Crash);
        let others = (0..configs.len()).filter(|host| *host != active[0]);
        let bound = others.map(|host| simulation.router(host).active_down()).min().unwrap() + CALM_DELAY;
        simulation.run(bound);
        prop_assert!(!simulation.active().is_empty(), "nobody after {bound:?}");
        simulation.run(SETTLED);
        prop_assert_eq!(simulation.active().len(), 1);
    }

    /// A stop is announced: the skew of the fastest is all that passes.
    #[test]
    fn a_stop_costs_only_the_skew(configs in configs(2..=5), seed: u64, pause in 0u64..3000) {
        let mut simulation = Simulation::new(single(&configs), Weather::CALM, seed);
        simulation.run(SETTLED + Duration::from_millis(pause));
        let active = simulation.active();
        prop_assert_eq!(active.len(), 1);
        simulation.happens(active[0], Incident::Stop);
        let others = (0..configs.len()).filter(|host| *host != active[0]);
        let bound = others.map(|host| simulation.router(host).skew()).min().unwrap() + CALM_DELAY;
        simulation.run(bound);
        prop_assert!(!simulation.active().is_empty(), "nobody after {bound:?}");
        simulation.run(SETTLED);
        prop_assert_eq!(simulation.active().len(), 1);
    }

    /// An orderly switchover: another host is active afterwards, and there was one all the time.
    #[test]
    fn a_switchover_never_leaves_the_addresses_alone(
        configs in configs(2..=5), weather in weather(), story in story(), seed: u64, pause in 0u64..3000,
    ) {
        let mut simulation = Simulation::new(single(&configs), weather, seed);
        live_through(&mut simulation, configs.len(), &story);
        (0..configs.len()).for_each(|host| simulation.happens(host, Incident::Start));
        simulation.run(SETTLED + Duration::from_millis(pause));
        let before = simulation.active();
        prop_assert_eq!(before.len(), 1);
        simulation.take_least_active();
        simulation.happens(before[0], Incident::Resign);
        simulation.run(SETTLED);
        let after = simulation.active();
        prop_assert_eq!(after.len(), 1);
        prop_assert_ne!(before[0], after[0]);
        prop_assert_eq!(simulation.take_least_active(), 1, "nobody for a moment");
        // A second one, wherever it leads.
        simulation.happens(after[0], Incident::Resign);
        simulation.run(SETTLED);
        prop_assert_eq!(simulation.active().len(), 1);
        prop_assert_eq!(simulation.take_least_active(), 1, "nobody for a moment in the second one");
    }

    /// In a storm a switchover may fail, but the one that was asked stays if nobody takes over.
    #[test]
    fn a_switchover_without_others_comes_to_nothing(configs in configs(2..=5), seed: u64) {
        let mut simulation = Simulation::new(single(&configs), Weather::CALM, seed);
        simulation.run(SETTLED);
        let active = simulation.active()[0];
        (0..configs.len()).filter(|host| *host != active).for_each(|host| simulation.happens(host, Incident::Crash));
        simulation.take_least_active();
        simulation.happens(active, Incident::Resign);
        simulation.run(SETTLED);
        prop_assert_eq!(simulation.active(), [active]);
        prop_assert_eq!(simulation.take_least_active(), 1);
        prop_assert!(!simulation.router(active).is_held());
    }

    /// Networks that let messages through in one direction only. With preemption there is one outcome: from the highest
    /// priority down, whoever hears nobody that is active already is active.
    #[test]
    fn partitions_have_the_active_routers_that_they_must_have(
        configs in configs(2..=5), links in prop::collection::vec(any::<bool>(), 25), seed: u64,
    ) {
        let count = configs.len();
        let configs: Vec<RouterConfig> = configs
            .into_iter()
            .enumerate()
            .map(|(host, config)| RouterConfig {
                preempt: true,
                // No two are the same: a backup does not preempt its equal, so that the first would decide.
                priority: (config.priority / 8).max(1) * 8 - host as u8,
                ..config
            })
            .collect();
        let mut simulation = Simulation::new(single(&configs), Weather::CALM, seed);
        simulation.run(SETTLED);
        for to in 0..count {
            for from in (0..count).filter(|from| *from != to) {
                simulation.happens(to, Incident::Hears(from, links[to * 5 + from]));
            }
        }
        simulation.run(SETTLED * 3);
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by_key(|host| std::cmp::Reverse(configs[*host].priority));
        let mut expected: Vec<usize> = Vec::new();
        for host in order.iter().copied() {
            if !expected.iter().any(|active| links[host * 5 + active]) {
                expected.push(host);
            }
        }
        expected.sort_unstable();
        prop_assert_eq!(simulation.active(), expected);
        simulation.mend();
        simulation.run(SETTLED);
        prop_assert_eq!(simulation.active(), [order[0]]);
    }

    /// Sync groups on two networks: both sides of a host are in the same state, and one host has them.
    #[test]
    fn both_sides_of_a_group_are_on_one_host(
        inside in configs(2..=4), priorities in prop::collection::vec(1u8..=254, 4),
        weather in weather(), story in story(), seed: u64,
    ) {
        let configs: Vec<Vec<RouterConfig>> = inside
            .iter()
            .zip(priorities)
            .map(|(config, priority)| {
                let inside = RouterConfig { grouped: true, ..config.clone() };
                vec![inside.clone(), RouterConfig { priority, ..inside }]
            })
            .collect();
        let count = configs.len();
        let mut simulation = Simulation::new(configs, weather, seed);
        live_through(&mut simulation, count, &story);
        simulation.run(SETTLED);
        for host in (0..count).filter(|host| simulation.is_running(*host)) {
            let states = simulation.states(host);
            prop_assert!(states[0] == states[1], "{:?} on host {}", states, host);
            prop_assert!(matches!(states[0], State::Active | State::Backup));
        }
        let active = simulation.active();
        prop_assert_eq!(active.len(), 1);
        // And a switchover moves both of them, with somebody active on both all the time. Of more than two hosts, those that
        // take over at once may each win one network.
        if count == 2 && (0..count).all(|host| simulation.is_running(host)) {
            simulation.take_least_active();
            simulation.happens(active[0], Incident::Resign);
            simulation.run(SETTLED);
            prop_assert_eq!(simulation.take_least_active(), 1, "nobody for a moment");
            prop_assert_eq!(simulation.active().len(), 1);
            prop_assert_ne!(simulation.active()[0], active[0]);
        }
    }
}
