//! The commands of `lvx`, one module each; each returns its exit code.

pub mod check;
pub mod decap;
pub mod genhash;
pub mod list;
pub mod run;
pub mod switchover;
pub mod vrrp;
