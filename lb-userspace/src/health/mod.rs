//! Health checks: from the real server's answers to the weights that the datapath works with.
//!
//! [`checker`] asks; everything that decides is sans-IO.

pub mod checker;
mod outcome;
mod probe;

pub use outcome::{Failure, FailureReason, Outcome, Pass, WeightChange};
pub use probe::{Origin, Probe};
