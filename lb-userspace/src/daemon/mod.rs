//! The daemon: one event loop that owns the datapath.

mod check_slots;
mod engine;
mod health;
mod health_status;
mod run;
mod status;
mod sweeper;

pub use engine::{Engine, EngineError};
pub use run::{RunError, run};
