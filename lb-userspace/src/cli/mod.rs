//! The commands of `lvx`; each returns its exit code.

pub mod check;
