//! The daemon: one event loop that owns the datapath.

mod check_slots;
mod duty;
mod engine;
mod health;
mod health_status;
mod run;
mod status;
mod sweeper;
mod tracker;
mod vrrp;

pub use engine::{Engine, EngineError};
pub use run::{RunError, run};
