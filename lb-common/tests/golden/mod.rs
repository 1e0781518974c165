//! Reads the recordings beside this file (see README.md).
#![allow(clippy::unwrap_used, reason = "a recording that cannot be read fails the test")]
#![allow(dead_code, reason = "every test binary uses a part of it")]

use lb_common::sched::table::Candidate;
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A list of real servers and what IPVS picked from it.
pub(crate) struct Recording {
    pub(crate) name: String,
    pub(crate) list: Vec<Candidate>,
    /// 0: refused.
    pub(crate) picks: Vec<u32>,
    /// Before each pick, (active, inactive) connections of each server of the list. Empty if not recorded.
    pub(crate) loads: Vec<Vec<(u32, u32)>>,
    /// Upper and lower connection limit of every server.
    pub(crate) thresholds: Option<(u32, u32)>,
}

pub(crate) fn load(file: &str) -> Value {
    let path = format!("{}/tests/golden/{file}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

pub(crate) fn items(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

pub(crate) fn number(value: &Value) -> u32 {
    value.as_u64().unwrap().try_into().unwrap()
}

/// All `cases` of a file.
pub(crate) fn cases(file: &Value) -> Vec<Recording> {
    items(&file["cases"])
        .iter()
        .enumerate()
        .map(|(index, case)| recording(&format!("case {index}"), case))
        .collect()
}

/// All runs of `edits` of a file.
pub(crate) fn edits(file: &Value) -> Vec<Vec<Recording>> {
    let run = |(index, steps): (usize, &Value)| {
        let step = |(step, value)| recording(&format!("edits {index} step {step}"), value);
        items(steps).iter().enumerate().map(step).collect()
    };
    items(&file["edits"]).iter().enumerate().map(run).collect()
}

pub(crate) fn recording(name: &str, value: &Value) -> Recording {
    let pairs =
        |loads: &Value| items(loads).chunks(2).map(|pair| (number(&pair[0]), number(&pair[1]))).collect();
    let recording = Recording {
        name: format!("{name} {} {} {}", value["proto"], value["mode"], value["list"]),
        list: items(&value["list"]).iter().map(|server| candidate(server, 4)).collect(),
        picks: picks(&value["picks"]),
        loads: value["loads"].as_array().map_or(Vec::new(), |loads| loads.iter().map(pairs).collect()),
        thresholds: value["thresholds"].as_array().map(|limits| (number(&limits[0]), number(&limits[1]))),
    };
    assert!(recording.loads.is_empty() || recording.loads.len() == recording.picks.len());
    recording
}

pub(crate) fn picks(value: &Value) -> Vec<u32> {
    value.as_str().unwrap().chars().map(|digit| digit.to_digit(10).unwrap_or(0)).collect()
}

/// From [server, weight] or [server, weight, last weight].
pub(crate) fn candidate(server: &Value, family: u64) -> Candidate {
    let [id, weight] = [number(&server[0]), number(&server[1])];
    let address: IpAddr = match family {
        4 => Ipv4Addr::from(0x0a00_0100 + id).into(),
        _ => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 1, id as u16).into(),
    };
    Candidate { id, weight, last_weight: server.get(2).map_or(weight, number), address, port: 80 }
}

/// IPVS's overload marks, followed through the recorded loads: set once a server has reached the upper limit, taken
/// back when it has fallen below the lower one (below three quarters of the upper one if there is none).
#[derive(Default)]
pub(crate) struct Overload(Vec<bool>);

impl Overload {
    /// Whether each server of the list is overloaded for the pick at `index`.
    pub(crate) fn at(&mut self, recording: &Recording, index: usize) -> &[bool] {
        self.0.resize(recording.list.len(), false);
        if let Some((upper, lower)) = recording.thresholds {
            for (mark, &(active, inactive)) in self.0.iter_mut().zip(&recording.loads[index]) {
                let connections = active + inactive;
                if connections >= upper {
                    *mark = true;
                } else if if lower > 0 { connections < lower } else { connections * 4 < upper * 3 } {
                    *mark = false;
                }
            }
        }
        &self.0
    }
}
