//! rr and wrr pick what IPVS picked, from the first connection on and across edits.

mod golden;

use golden::{Overload, Recording};
use lb_common::sched::table::{Table, TableKind};

/// Walks the table as the datapath does, passing over overloaded servers. Leaves the number of entries used in `cursor`.
fn replay(table: &Table, recording: &Recording, cursor: &mut u64) -> Vec<u32> {
    let mut overload = Overload::default();
    let slots = table.slots();
    let mut pick = |index: usize| {
        let marks = overload.at(recording, index);
        let overloaded = |id| recording.list.iter().zip(marks).any(|(server, &mark)| server.id == id && mark);
        for step in 0..slots.len() as u64 {
            let id = slots[((*cursor + step) % slots.len() as u64) as usize];
            if !overloaded(id) {
                *cursor += step + 1;
                return id;
            }
        }
        0
    };
    (0..recording.picks.len()).map(&mut pick).collect()
}

fn check(kind: TableKind, file: &str, expected_cases: usize) {
    let file = golden::load(file);
    let cases = golden::cases(&file);
    assert_eq!(cases.len(), expected_cases);
    for case in &cases {
        let table = Table::new(kind, &case.list);
        assert_eq!(replay(&table, case, &mut 0), case.picks, "{}", case.name);
    }
    let edits = golden::edits(&file);
    assert_eq!(edits.iter().map(Vec::len).collect::<Vec<_>>(), [7, 7]);
    for steps in &edits {
        let mut table: Option<Table> = None;
        let mut cursor = 0;
        for step in steps {
            let next = match &table {
                None => Table::new(kind, &step.list),
                Some(table) => table.after(&step.list, cursor),
            };
            cursor = 0;
            assert_eq!(replay(&next, step, &mut cursor), step.picks, "{}", step.name);
            table = Some(next);
        }
    }
}

#[test]
fn rr_picks_as_ipvs_did() {
    check(TableKind::Rr, "sched-rr.json", 16);
}

#[test]
fn wrr_picks_as_ipvs_did() {
    check(TableKind::Wrr, "sched-wrr.json", 19);
}
