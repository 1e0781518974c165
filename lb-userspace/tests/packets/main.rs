//! The packet tables: every row says what must become of a frame, and the pipeline on the host and the XDP program in
//! the kernel must agree with it and with each other. Needs root.

mod checksums;
mod director;
mod fixture;
mod frames;
mod host;
mod kernel;
mod network;
mod passive;
mod properties;
mod refusal;
mod row;
mod rows_connection;
mod rows_forward;
mod rows_nat;
mod rows_parse;
mod rows_refusal;
mod rows_scheduler;
mod rows_standby;
mod rows_tunnel;
mod sequences;

use std::collections::BTreeSet;

use fixture::{Fixture, SIZES};
use host::Host;
use kernel::Kernel;
use row::Row;

fn rows() -> Vec<Row> {
    let rows: Vec<Row> = [
        rows_parse::rows(),
        rows_forward::rows(),
        rows_tunnel::rows(),
        rows_nat::rows(),
        rows_connection::rows(),
        rows_scheduler::rows(),
        rows_standby::rows(),
        rows_refusal::rows(),
    ]
    .concat();
    let mut names = BTreeSet::new();
    for row in &rows {
        assert!(names.insert(&row.name), "two rows have the name {}", row.name);
    }
    rows
}

#[test]
fn every_row_on_the_host_and_in_the_kernel() {
    let failures = std::thread::spawn(|| {
        kernel::enter_namespace();
        compare(&rows())
    });
    let failures = failures.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    assert!(failures.is_empty(), "{} wrong:\n\n{}", failures.len(), failures.join("\n\n"));
}

/// Runs the rows; returns what is wrong, by row.
fn compare(rows: &[Row]) -> Vec<String> {
    let mut host = Host::new(SIZES, Fixture::standard());
    let mut kernel = Kernel::new(SIZES, Fixture::standard());
    let mut failures = Vec::new();
    for row in rows {
        let on_host = row.run(&mut host);
        if let Err(wrong) = &on_host {
            failures.push(format!("{} (host): {wrong}", row.name));
        }
        if row.host_only.is_some() {
            continue;
        }
        match (on_host, row.run(&mut kernel)) {
            (_, Err(wrong)) => failures.push(format!("{} (kernel): {wrong}", row.name)),
            (Ok(host), Ok(kernel)) if host != kernel => {
                failures.push(format!("{}: host {host:#?}\nkernel {kernel:#?}", row.name));
            }
            _ => {}
        }
    }
    let host_only = rows.iter().filter(|row| row.host_only.is_some()).count();
    println!("{} rows, {host_only} on the host only", rows.len());
    failures
}
