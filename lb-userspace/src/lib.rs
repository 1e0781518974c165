//! The controller of LVX: configuration, next hops, map updates, control socket, metrics.

pub mod control;
pub mod model;
pub mod nexthop;
