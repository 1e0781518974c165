//! LVX tasks.
fn main() {}
