//! sh and mh send every recorded flow where IPVS sent it.
//!
//! Of the recordings of mh, the cases without `mh-fallback` are here: that flag needs a second look at the table, which is not
//! built yet.

#![allow(clippy::unwrap_used, reason = "a recording that cannot be read fails the test")]

mod golden;

use lb_common::sched::pick::{fold, maglev_index, source_hash};
use lb_common::sched::table::{TableKind, build};
use serde_json::Value;
use std::net::IpAddr;

/// The size IPVS is built with by default.
const IPVS_TABLE_SIZE: u32 = 4093;

fn folded(address: IpAddr) -> u32 {
    let bytes = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    };
    let half = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
    fold(half(0), half(8), address.is_ipv4())
}

fn check(case: &Value, flows: &Value) {
    let name = format!("{} port {} ipv{} {}", case["scheduler"], case["port"], case["family"], case["list"]);
    let family = case["family"].as_u64().unwrap();
    let list: Vec<_> =
        golden::items(&case["list"]).iter().map(|server| golden::candidate(server, family)).collect();
    let maglev = case["scheduler"] == "mh";
    let kind = if maglev {
        TableKind::Mh { table_size: IPVS_TABLE_SIZE }
    } else {
        TableKind::Sh { fallback: case["fallback"] == true }
    };
    let slots = build(kind, &list);
    let pick = |flow: &Value| {
        let folded = folded(flow[0].as_str().unwrap().parse().unwrap());
        let port = if case["port"] == true { golden::number(&flow[1]) as u16 } else { 0 };
        let index =
            if maglev { maglev_index(folded, port, slots.len() as u32) } else { source_hash(folded, port) };
        slots[index as usize]
    };
    let picks: Vec<_> = golden::items(flows).iter().map(pick).collect();
    assert_eq!(picks, golden::picks(&case["picks"]), "{name}");
}

fn check_all(scheduler: &str) {
    let file = golden::load("hash-source.json");
    let cases: Vec<_> =
        golden::items(&file["cases"]).iter().filter(|case| case["scheduler"] == scheduler).collect();
    assert_eq!(cases.len(), if scheduler == "sh" { 44 } else { 22 });
    for case in cases {
        check(case, &file[if case["family"] == 4 { "flows4" } else { "flows6" }]);
    }
}

#[test]
fn sh_picks_as_ipvs_did() {
    check_all("sh");
}

#[test]
fn mh_picks_as_ipvs_did() {
    check_all("mh");
}

#[test]
fn dh_picks_as_ipvs_did() {
    let file = golden::load("hash-destination.json");
    let cases = golden::items(&file["cases"]);
    assert_eq!(cases.len(), 7);
    for case in cases {
        let list: Vec<_> =
            golden::items(&case["list"]).iter().map(|server| golden::candidate(server, 4)).collect();
        let slots = build(TableKind::Dh, &list);
        let pick = |last: &Value| {
            let address = IpAddr::from([192, 168, 100, golden::number(last) as u8]);
            slots[source_hash(folded(address), 0) as usize]
        };
        let picks: Vec<_> = golden::items(&case["destinations"]).iter().map(pick).collect();
        assert_eq!(picks, golden::picks(&case["picks"]), "{}", case["list"]);
    }
}
