//! The controller of LVX: configuration, next hops, map updates, control socket, metrics.

pub mod apply;
pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod datapath;
pub mod health;
pub mod metrics;
pub mod model;
pub mod netlink;
pub mod nexthop;
pub mod notify;
pub mod process;
pub mod vrrp;
