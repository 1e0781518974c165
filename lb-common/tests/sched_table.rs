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

/// IPVS's weighted round robin, pick by pick, as the recordings describe it.
#[derive(Default)]
struct Walk {
    list: Vec<Candidate>,
    next: usize,
    cw: u32,
}

impl Walk {
    /// Greatest common divisor of the weights, and the value at which `cw` starts over.
    fn bounds(&self) -> (u32, u32) {
        let step = self.list.iter().fold(0, |all, server| gcd(all, server.weight)).max(1);
        let most = self.list.iter().map(|server| server.weight).max().unwrap_or(0);
        (step, (most + 1).saturating_sub(step))
    }

    fn change(&mut self, list: &[Candidate]) {
        (self.list, self.next) = (list.to_vec(), 0);
        let (step, highest) = self.bounds();
        if self.cw == 0 || self.cw > highest {
            self.cw = highest;
        } else if step > 1 {
            self.cw = self.cw / step * step + 1;
        }
    }

    fn pick(&mut self) -> u32 {
        let (step, highest) = self.bounds();
        if highest == 0 {
            return 0;
        }
        loop {
            if self.next == self.list.len() {
                self.next = 0;
                self.cw = if self.cw > step { self.cw - step } else { highest };
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
    fn wrr_walks_as_ipvs_through_any_edits(
        weights in proptest::collection::vec(0..13_u32, 1..8),
        edits in proptest::collection::vec((0..8_usize, 0..13_u32, 0..40_u64), 1..12),
        // A common factor makes levels and weights differ.
        factor in 1..4_u32,
    ) {
        let mut list: Vec<Candidate> = servers(&weights.iter().map(|weight| weight * factor).collect::<Vec<_>>());
        let mut walk = Walk::default();
        for added in (0..list.len()).rev() {
            walk.change(&list[added..]);
        }
        let mut table = Table::new(TableKind::Wrr, &list);
        for (place, weight, picks) in edits {
            for cursor in 0..picks {
                let slots = table.slots();
                let id = slots.get((cursor % slots.len().max(1) as u64) as usize).copied().unwrap_or(0);
                prop_assert_eq!(id, walk.pick(), "pick {} of {:?}", cursor, list);
            }
            let place = place % list.len();
            if list[place].weight != weight * factor {
                list[place].weight = weight * factor;
                walk.change(&list);
            }
            // Where nothing changed, the walk is not disturbed either.
            table = table.after(&list, picks);
        }
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
        for kind in [TableKind::Rr, TableKind::Wrr, TableKind::Sh { fallback: false }, TableKind::Mh { table_size: table_size % 5000 }] {
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
    let before = build(TableKind::Sh { fallback: false }, &list);
    list.remove(3);
    let after = build(TableKind::Sh { fallback: false }, &list);
    let of_others =
        before.iter().zip(&after).filter(|(before, after)| **before != 4 && before != after).count();
    // All but the first run of the others' 224 buckets: IPVS's sh is not consistent hashing, mh is.
    assert!(of_others > 150, "{of_others}");
}

#[test]
fn quiescing_in_sh_refuses_and_moves_no_other() {
    let mut list = servers(&[1; 8]);
    let before = build(TableKind::Sh { fallback: false }, &list);
    list[3].weight = 0;
    let expected: Vec<u32> = before.into_iter().map(|id| if id == 4 { 0 } else { id }).collect();
    assert_eq!(build(TableKind::Sh { fallback: false }, &list), expected);
    assert_eq!(expected.len(), 256);
}
