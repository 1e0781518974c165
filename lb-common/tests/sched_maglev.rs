//! Maglev tables: how even they are and how little they change, against figures computed from the Maglev paper's algorithm.

use lb_common::sched::maglev::TABLE_SIZES;
use lb_common::sched::table::{Candidate, TableKind, build};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Servers 10.`seed`.x.y of weight 1.
fn servers(count: u32, seed: u32) -> Vec<Candidate> {
    let server = |id| Candidate {
        id,
        weight: 1,
        last_weight: 1,
        address: Ipv4Addr::from(0x0a00_0000 + (seed << 16) + id).into(),
        port: 80,
    };
    (1..=count).rev().map(server).collect()
}

fn table(table_size: u32, list: &[Candidate]) -> Vec<u32> {
    let slots = build(TableKind::Mh { table_size }, list);
    assert_eq!(slots.len(), table_size as usize);
    slots
}

fn entries(slots: &[u32]) -> BTreeMap<u32, u32> {
    let mut entries = BTreeMap::new();
    for &id in slots {
        *entries.entry(id).or_default() += 1;
    }
    entries
}

#[test]
fn equal_servers_differ_by_one_entry_at_most() {
    for table_size in TABLE_SIZES {
        for count in [1, 2, 3, 7, 100, 160, 1000] {
            let entries = entries(&table(table_size, &servers(count, 0)));
            assert!(!entries.contains_key(&0));
            assert_eq!(entries.len(), count.min(table_size) as usize);
            let (least, most) = (entries.values().min(), entries.values().max());
            assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1), "{table_size} {count}");
        }
    }
}

/// Largest share over average share, as computed for 16381 and 65537 entries.
#[test]
fn the_largest_share_is_as_published() {
    for (table_size, count, published) in [
        (16381, 100, 1.0012),
        (16381, 160, 1.0060),
        (16381, 1000, 1.0378),
        (65521, 100, 1.0010),
        (65521, 1000, 1.0071),
    ] {
        let entries = entries(&table(table_size, &servers(count, 0)));
        let most = entries.values().copied().max().unwrap_or(0);
        let ratio = f64::from(most) * f64::from(count) / f64::from(table_size);
        assert!((ratio - published).abs() < 0.0005, "{table_size} entries, {count} servers: {ratio}");
    }
}

/// Percent of the entries that change when `removed` of `count` servers leave, in the mean over ten sets of servers.
fn changed_percent(table_size: u32, count: u32, removed: u32) -> f64 {
    let changed = |seed| {
        let mut list = servers(count, seed);
        let before = table(table_size, &list);
        let every = count / removed;
        list.retain(|server| server.id % every != seed % every);
        assert_eq!(list.len() as u32, count - removed);
        let after = table(table_size, &list);
        before.iter().zip(&after).filter(|(before, after)| before != after).count() as f64
    };
    (0..10).map(changed).sum::<f64>() / 10.0 / f64::from(table_size) * 100.0
}

/// Of these percentages, `removed / count` are the entries of the servers that left; the rest is what Maglev hashing moves
/// needlessly. The published figures are means as well.
#[test]
fn removing_servers_changes_as_many_entries_as_published() {
    for (count, removed, published_16381, published_65537) in [
        (10, 1, 10.46, 10.28),
        (100, 1, 2.36, 1.58),
        (100, 5, 6.89, 5.90),
        (160, 1, 2.24, 1.31),
        (1000, 1, 0.69, 0.69),
        (1000, 10, 4.44, 3.34),
        (1000, 100, 17.4, 13.6),
    ] {
        for (table_size, published) in [(16381, published_16381), (65521, published_65537)] {
            let percent = changed_percent(table_size, count, removed);
            let necessary = f64::from(removed) / f64::from(count) * 100.0;
            assert!(percent >= necessary * 0.95, "{table_size} entries, {removed} of {count}: {percent} %");
            assert!(
                (percent / published - 1.0).abs() < 0.05,
                "{table_size} entries, {removed} of {count}: {percent} % instead of {published} %"
            );
        }
    }
}

#[test]
fn quiescing_a_server_turns_its_entries_into_refusals_and_moves_no_other() {
    let mut list = servers(100, 0);
    let before = table(65521, &list);
    list[40].weight = 0;
    let after = table(65521, &list);
    let expected: Vec<_> = before.iter().map(|&id| if id == list[40].id { 0 } else { id }).collect();
    assert_eq!(after, expected);
    assert!(after.contains(&0));
}

#[test]
fn shares_follow_weights_within_one_percent() {
    let weights = [1, 2, 3, 4, 10, 30];
    let mut list = servers(6, 0);
    for (server, weight) in list.iter_mut().zip(weights) {
        (server.weight, server.last_weight) = (weight, weight);
    }
    let entries = entries(&table(65521, &list));
    for server in &list {
        let share = f64::from(entries[&server.id]) / 65521.0;
        let due = f64::from(server.weight) / f64::from(weights.iter().sum::<u32>());
        assert!((share / due - 1.0).abs() < 0.01, "weight {}: {share} instead of {due}", server.weight);
    }
}

#[test]
fn the_order_of_the_list_matters_little() {
    let list = servers(100, 0);
    let mut reversed = list.clone();
    reversed.reverse();
    let (one, other) = (table(65521, &list), table(65521, &reversed));
    let different = one.iter().zip(&other).filter(|(a, b)| a != b).count();
    assert!(different < 65521 / 50, "{different} entries differ");
}

#[test]
fn a_server_that_never_had_a_weight_has_no_entries() {
    let mut list = servers(3, 0);
    (list[0].weight, list[0].last_weight) = (0, 0);
    assert_eq!(entries(&table(251, &list)).keys().copied().collect::<Vec<_>>(), [1, 2]);
    for server in &mut list {
        (server.weight, server.last_weight) = (0, 0);
    }
    assert!(build(TableKind::Mh { table_size: 251 }, &list).is_empty());
}
