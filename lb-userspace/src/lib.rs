//! The controller of LVX: configuration, next hops, map updates, control socket, metrics.

pub mod cli;
pub mod control;
pub mod metrics;
pub mod model;
