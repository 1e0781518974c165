//! The checkers: each asks a real server one kind of question.
//!
//! A checker is a function of a [`Probe`]. It is dropped when its time is up, so it leaves nothing behind: sockets
//! close themselves, processes are killed by their guards. It reads a bounded number of bytes and never blocks.

mod dialogue;
mod dns;
mod file;
pub mod http;
mod icmp_errors;
mod pattern;
mod ping;
mod quote;
mod script;
mod smtp;
mod stream;
mod tcp;
mod tls;
mod udp;

use super::{Failure, FailureReason, Outcome, Pass, Probe};
use crate::model::CheckKind;

/// Runs a check once, without a bound on its time.
pub async fn run(kind: &CheckKind, probe: &Probe) -> Outcome {
    match kind {
        CheckKind::Tcp => tcp::check(probe).await,
        CheckKind::Http(check) => http::check(check, probe).await,
        CheckKind::Script(check) => script::check(check, probe).await,
        CheckKind::Smtp(check) => smtp::check(check, probe).await,
        CheckKind::Dns(check) => dns::check(check, probe).await,
        CheckKind::Ping => ping::check(probe).await,
        CheckKind::Udp(check) => udp::check(check, probe).await,
        CheckKind::File(check) => file::check(check).await,
        CheckKind::On => Ok(Pass::default()),
        CheckKind::Off => Err(Failure::new(FailureReason::Off, "switched off by the configuration")),
        CheckKind::Dialogue(dialogue) => dialogue::check(dialogue, probe).await,
    }
}
