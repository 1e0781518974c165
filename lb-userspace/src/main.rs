//! The `lvx` command.

fn main() {}
