//! Benchmark harness of LVX.
fn main() {}
