//! Health checks: from the real server's answers to the weights that the datapath works with.
//!
//! [`checker`] asks; everything that decides is sans-IO.

pub mod checker;
mod machine;
mod outcome;
mod probe;
pub mod quorum;
mod record;
mod runner;
mod server;
mod supervisor;
pub mod through;

pub use machine::CheckMachine;
pub use outcome::{Failure, FailureReason, Outcome, Pass, WeightChange};
pub use probe::{Origin, Probe, Through};
pub use record::{CheckRecord, LastRun};
pub(crate) use runner::bounded;
pub use runner::{CheckId, Runner};
pub use server::{CheckVerdict, ServerHealth};
pub use supervisor::{
    CheckChange, HealthEvent, ServerKey, ServiceState, Supervisor, server_key, socket_address,
};
