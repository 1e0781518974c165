//! `lvx run`.

use std::path::Path;
use std::process::ExitCode;

use tracing::error;
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

/// `RUST_LOG` overrides the configuration's filter.
pub(super) fn start_logging(filter: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
}
