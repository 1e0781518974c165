//! XDP programs.
fn main() {}
