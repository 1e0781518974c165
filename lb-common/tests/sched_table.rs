//! Properties of rr, wrr and sh tables for any weights.

use lb_common::sched::table::{CYCLE_CAP, Candidate, Table, TableKind, build};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

fn servers(weights: &[u32]) -> Vec<Candidate> {
    let server = |(&weight, id): (&u32, u32)| Candidate {
        id,
        weight,
        last_weight: weight,
        address: Ipv4Addr::from(0x0a00_0000 + id).into(),
        port: 80,
    };
    weights.iter().zip(1..).map(server).collect()
}

fn entries(slots: &[u32]) -> BTreeMap<u32, u64> {
    let mut entries = BTreeMap::new();
    for &id in slots {
        *entries.entry(id).or_default() += 1;
    }
    entries
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// IPVS's walk as golden data describes it, pick by pick: what a cycle has to be equal to.
struct Walk<'a> {
    list: &'a [Candidate],
    next: usize,
    cw: u32,
}

impl Walk<'_> {
    fn pick(&mut self) -> u32 {
        let gcd = self.list.iter().fold(0, |all, server| gcd(all, server.weight));
        let highest = self.list.iter().map(|server| server.weight).max().unwrap_or(0) - (gcd - 1);
        loop {
            if self.next == self.list.len() {
                self.next = 0;
                self.cw = if self.cw > gcd { self.cw - gcd } else { highest };
            }
            let server = &self.list[self.next];
            self.next += 1;
            if server.weight >= self.cw {
                return server.id;
            }
        }
    }
}

/// Any weight at all, with the usual ones and the edges often.
fn weight() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), 1..10_u32, 1..2000_u32, Just(u32::MAX), any::<u32>()]
}

proptest! {
    #[test]
    fn the_wrr_cycle_is_ipvs_s_walk(weights in proptest::collection::vec(0..30_u32, 1..12), cursor in 0..200_u64, edited in 0..30_u32) {
        let mut list = servers(&weights);
        // The first list's level follows from its history, which the recordings pin down; start from a new one.
        let one = Table::new(TableKind::Wrr, &list);
        let start = list.iter().map(|server| server.weight).max().unwrap_or(0);
        prop_assume!(start > 0);
        let all = list.iter().fold(0, |all, server| gcd(all, server.weight));
        let levels: Vec<u32> = (1..=start).step_by(all as usize).collect();
        let walks = |table: &Table, list: &[Candidate]| levels.iter().any(|&cw| {
            let mut walk = Walk { list, next: 0, cw };
            table.slots().iter().all(|&id| id == walk.pick())
        });
        prop_assert!(walks(&one, &list));

        // Without a change the cycle goes on; after one it starts at the head, on a level of its own.
        let same = one.after(&list, cursor);
        let length = one.slots().len();
        let expected: Vec<u32> = (0..length).map(|step| one.slots()[(cursor as usize + step) % length]).collect();
        prop_assert_eq!(same.slots(), expected);
        list[0].weight = edited;
        let other = one.after(&list, cursor);
        let again = same.after(&list, 0);
        prop_assert_eq!(other.slots(), again.slots(), "going on twice is going on once");
    }

    #[test]
    fn wrr_shares_are_exact_over_a_cycle(weights in proptest::collection::vec(0..100_u32, 0..100)) {
        let list = servers(&weights);
        let entries = entries(&build(TableKind::Wrr, &list));
        let all = weights.iter().copied().fold(0, gcd).max(1);
        for server in &list {
            let due = u64::from(server.weight / all);
            prop_assert_eq!(entries.get(&server.id).copied().unwrap_or(0), due);
        }
    }

    #[test]
    fn a_capped_cycle_keeps_shares_within_the_stated_error(weights in proptest::collection::vec(weight(), 1..300)) {
        let list = servers(&weights);
        let slots = build(TableKind::Wrr, &list);
        prop_assert!(slots.len() <= CYCLE_CAP);
        let entries = entries(&slots);
        let sum: f64 = weights.iter().copied().map(f64::from).sum();
        let eligible = weights.iter().filter(|&&weight| weight > 0).count() as f64;
        for server in &list {
            let got = entries.get(&server.id).copied().unwrap_or(0);
            prop_assert_eq!(got > 0, server.weight > 0);
            if got > 0 {
                let share = f64::from(server.weight) / sum;
                let error = (got as f64 / slots.len() as f64 - share).abs();
                let stated = (1.0 + eligible * share) / (CYCLE_CAP as f64 - 2.0 * eligible);
                prop_assert!(error <= stated, "weight {} of {}: error {}, stated {}", server.weight, sum, error, stated);
            }
        }
    }

    #[test]
    fn rr_visits_every_eligible_server_once_in_list_order(weights in proptest::collection::vec(weight(), 0..50)) {
        let list = servers(&weights);
        let eligible: Vec<u32> = list.iter().filter(|server| server.weight > 0).map(|server| server.id).collect();
        prop_assert_eq!(build(TableKind::Rr, &list), eligible);
    }

    #[test]
    fn rr_goes_on_behind_the_last_pick_when_any_servers_leave(
        count in 1..20_u32, cursor in 1..60_u64, gone in proptest::collection::btree_set(1..20_u32, 0..20)
    ) {
        let mut list = servers(&vec![1; count as usize]);
        let table = Table::new(TableKind::Rr, &list);
        let last = table.slots()[((cursor - 1) % u64::from(count)) as usize];
        list.retain(|server| !gone.contains(&server.id));
        let next = table.after(&list, cursor);
        // Ids follow the list order here: behind the last pick are those with greater ids.
        let expected = list.iter().map(|server| server.id).find(|&id| id > last).or(list.first().map(|server| server.id));
        prop_assert_eq!(next.slots().first().copied(), expected);
        prop_assert_eq!(next.slots().len(), list.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn nothing_panics_for_any_list(
        weights in proptest::collection::vec(weight(), 0..=2000), cursor: u64, cut in 0..2000_usize, table_size: u32
    ) {
        let list = servers(&weights);
        let rest = &list[cut.min(list.len())..];
        for kind in [TableKind::Rr, TableKind::Wrr, TableKind::Sh, TableKind::Mh { table_size: table_size % 5000 }] {
            let table = Table::new(kind, &list);
            let eligible = |id: u32| id == 0 || list[id as usize - 1].weight > 0;
            prop_assert!(table.slots().iter().all(|&id| eligible(id)));
            let next = table.after(rest, cursor).after(&list, cursor).after(&[], cursor);
            prop_assert!(next.slots().is_empty());
        }
    }
}

#[test]
fn a_server_that_leaves_wrr_leaves_the_order_of_the_others() {
    let mut list = servers(&[4, 3, 2, 1]);
    let before: Vec<u32> = build(TableKind::Wrr, &list).into_iter().filter(|&id| id != 2).collect();
    list.remove(1);
    assert_eq!(build(TableKind::Wrr, &list), before);
}

#[test]
fn an_excessive_weight_still_leaves_the_others_an_entry() {
    let slots = build(TableKind::Wrr, &servers(&[1, u32::MAX]));
    let entries = entries(&slots);
    assert_eq!(entries[&1], 1);
    assert!(entries[&2] > 65_000 && slots.len() <= CYCLE_CAP, "{entries:?}");
}

#[test]
fn sh_moves_flows_of_the_others_when_a_server_leaves() {
    let mut list = servers(&[1; 8]);
    let before = build(TableKind::Sh, &list);
    list.remove(3);
    let after = build(TableKind::Sh, &list);
    let of_others =
        before.iter().zip(&after).filter(|(before, after)| **before != 4 && before != after).count();
    // All but the first run of the others' 224 buckets: IPVS's sh is not consistent hashing, mh is.
    assert!(of_others > 150, "{of_others}");
}

#[test]
fn quiescing_in_sh_refuses_and_moves_no_other() {
    let mut list = servers(&[1; 8]);
    let before = build(TableKind::Sh, &list);
    list[3].weight = 0;
    let expected: Vec<u32> = before.into_iter().map(|id| if id == 4 { 0 } else { id }).collect();
    assert_eq!(build(TableKind::Sh, &list), expected);
    assert_eq!(expected.len(), 256);
}
