//! lc, wlc, sed, nq, ovf and fo pick what IPVS picked, given the connection counts it had before each connection.

mod golden;

use golden::{Overload, Recording};
use lb_common::sched::pick::{ActiveRule, Best, LoadKind};
use lb_common::sched::table::{TableKind, build};

fn replay(kind: LoadKind, recording: &Recording) -> Vec<u32> {
    let mut overload = Overload::default();
    let mut pick = |index: usize| {
        let marks = overload.at(recording, index);
        let largest = recording.list.iter().map(|server| server.weight).max().unwrap_or(0);
        let mut best = Best::new();
        for ((server, &(active, inactive)), _) in
            recording.list.iter().zip(&recording.loads[index]).zip(marks).filter(|(_, mark)| !**mark)
        {
            let weight = kind.scanned_weight(server.weight, largest);
            if matches!(kind, LoadKind::Lc | LoadKind::Wlc) {
                best.offer(server.id, weight, active, inactive);
            } else {
                let (load, weight) = ActiveRule::new(kind, false).apply(weight, active, inactive);
                best.offer_load(server.id, weight, load);
            }
        }
        best.winner()
    };
    (0..recording.picks.len()).map(&mut pick).collect()
}

fn check(kind: LoadKind, file: &str, count: usize) {
    let file = golden::load(file);
    let cases = golden::cases(&file);
    assert_eq!(cases.len(), count);
    let edits = golden::edits(&file);
    assert_eq!(edits.iter().map(Vec::len).collect::<Vec<_>>(), [7, 7]);
    for recording in cases.iter().chain(edits.iter().flatten()) {
        assert!(!recording.loads.is_empty(), "{}", recording.name);
        assert_eq!(replay(kind, recording), recording.picks, "{}", recording.name);
    }
}

#[test]
fn lc_picks_as_ipvs_did() {
    check(LoadKind::Lc, "sched-lc.json", 40);
}

#[test]
fn wlc_picks_as_ipvs_did() {
    check(LoadKind::Wlc, "sched-wlc.json", 40);
}

#[test]
fn sed_picks_as_ipvs_did() {
    check(LoadKind::Sed, "sched-sed.json", 38);
}

#[test]
fn nq_picks_as_ipvs_did() {
    check(LoadKind::Nq, "sched-nq.json", 36);
}

#[test]
fn ovf_picks_as_ipvs_did() {
    check(LoadKind::Ovf, "sched-ovf.json", 36);
}

#[test]
fn fo_picks_as_ipvs_did() {
    let file = golden::load("sched-fo.json");
    let cases = golden::cases(&file);
    let edits = golden::edits(&file);
    assert_eq!(cases.len(), 16);
    for recording in cases.iter().chain(edits.iter().flatten()) {
        let mut overload = Overload::default();
        for (index, pick) in recording.picks.iter().enumerate() {
            let marks = overload.at(recording, index);
            let free: Vec<_> = recording
                .list
                .iter()
                .zip(marks)
                .filter(|(_, mark)| !**mark)
                .map(|(server, _)| server.clone())
                .collect();
            let slots = build(TableKind::Fo, &free);
            assert_eq!(slots.first().copied().unwrap_or(0), *pick, "{} {index}", recording.name);
        }
    }
}

/// IPVS knows UDP flows as inactive connections only, and these three look at active ones.
#[test]
fn flows_of_udp_count() {
    let pick = |kind: LoadKind, servers: &[(u32, u32, u32)]| {
        let mut best = Best::new();
        for &(id, weight, flows) in servers {
            let (load, weight) = ActiveRule::new(kind, true).apply(weight, 0, flows);
            best.offer_load(id, weight, load);
        }
        best.winner()
    };
    assert_eq!(pick(LoadKind::Nq, &[(1, 1, 1), (2, 1, 0)]), 2);
    assert_eq!(pick(LoadKind::Sed, &[(1, 2, 3), (2, 1, 0)]), 2);
    assert_eq!(pick(LoadKind::Ovf, &[(1, 2, 3), (2, 1, 1)]), 2);
    assert_eq!(pick(LoadKind::Ovf, &[(1, 2, 3), (2, 1, 2)]), 0, "all of them are full");
}
