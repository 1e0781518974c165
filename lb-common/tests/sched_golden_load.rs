//! lc and wlc pick what IPVS picked, given the connection counts it had before each connection.

mod golden;

use golden::{Overload, Recording};
use lb_common::sched::pick::{Best, LoadKind};

fn replay(kind: LoadKind, recording: &Recording) -> Vec<u32> {
    let mut overload = Overload::default();
    let mut pick = |index: usize| {
        let marks = overload.at(recording, index);
        let largest = recording.list.iter().map(|server| server.weight).max().unwrap_or(0);
        let mut best = Best::new();
        for ((server, &(active, inactive)), _) in
            recording.list.iter().zip(&recording.loads[index]).zip(marks).filter(|(_, mark)| !**mark)
        {
            best.offer(server.id, kind.scanned_weight(server.weight, largest), active, inactive);
        }
        best.winner()
    };
    (0..recording.picks.len()).map(&mut pick).collect()
}

fn check(kind: LoadKind, file: &str) {
    let file = golden::load(file);
    let cases = golden::cases(&file);
    assert_eq!(cases.len(), 40);
    let edits = golden::edits(&file);
    assert_eq!(edits.iter().map(Vec::len).collect::<Vec<_>>(), [7, 7]);
    for recording in cases.iter().chain(edits.iter().flatten()) {
        assert!(!recording.loads.is_empty(), "{}", recording.name);
        assert_eq!(replay(kind, recording), recording.picks, "{}", recording.name);
    }
}

#[test]
fn lc_picks_as_ipvs_did() {
    check(LoadKind::Lc, "sched-lc.json");
}

#[test]
fn wlc_picks_as_ipvs_did() {
    check(LoadKind::Wlc, "sched-wlc.json");
}
