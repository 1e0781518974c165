//! `lvx run`.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use rustix::process::{Resource, getrlimit, setrlimit};
use tracing::{error, warn};
use tracing_subscriber::EnvFilter;

use crate::{config, daemon};

/// Runs the director until it is told to stop.
#[must_use]
pub fn run(path: &Path) -> ExitCode {
    let model = match config::load(path) {
        Ok(model) => model,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::FAILURE;
        }
    };
    start_logging(&model.settings.log);
    raise_file_limit();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            error!(%error, "cannot start");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(daemon::run(path, model)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Every check under way holds a socket, and thousands of them may be waiting for servers that do not answer.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        warn!(%error, "the limit of open files stays as it is");
    }
}

/// `RUST_LOG` overrides the configuration's filter.
pub(super) fn start_logging(filter: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
}
