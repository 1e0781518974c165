//! `lvx decap`: the real server's end of a tunnel.

use std::net::IpAddr;
use std::process::ExitCode;

use clap::Args;
use tracing::{error, info};

use super::run::start_logging;
use crate::datapath::Decapsulator;
use crate::model::{AttachMode, Interface};

/// Arguments of `lvx decap`.
#[derive(Debug, Args)]
pub struct DecapArgs {
    /// Interface that the tunnel's packets come in by.
    #[arg(long)]
    interface: String,
    /// Virtual address whose packets are accepted; may be repeated.
    #[arg(long = "vip", required = true, num_args = 1..)]
    addresses: Vec<IpAddr>,
    /// Attach in generic mode, without trying the driver.
    #[arg(long)]
    generic: bool,
}

/// Runs in the foreground until SIGTERM or SIGINT.
#[must_use]
pub fn run(arguments: &DecapArgs) -> ExitCode {
    start_logging("info");
    let mode = if arguments.generic { AttachMode::Generic } else { AttachMode::Auto };
    let interface = Interface { name: arguments.interface.clone(), mode };
    match Decapsulator::start(&interface, &arguments.addresses) {
        Ok(running) => {
            info!(interface = arguments.interface, mode = running.mode(), "decapsulating");
            wait();
            drop(running);
            ExitCode::SUCCESS
        }
        Err(error) => {
            error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Waits for SIGTERM or SIGINT.
fn wait() {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        else {
            return;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    });
}
