//! The sub-commands of `lvx`, one module each.

pub mod list;
