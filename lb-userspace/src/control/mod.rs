//! The daemon's control plane as seen from outside.

pub mod snapshot;
