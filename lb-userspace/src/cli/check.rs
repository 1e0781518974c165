//! `lvx check FILE`: says whether a configuration file would load.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::config::{self, ConfigErrors};

/// Checks a file. Standard output gets `FILE: ok (N services, M real servers)`, standard error the warnings, or all errors
/// and their number. The exit code is 0 for a file that would load and 1 for any other.
#[must_use]
pub fn run(path: &Path) -> ExitCode {
    match check(path, &mut io::stdout().lock(), &mut io::stderr().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        // A reader that went away has not seen the verdict.
        Ok(false) | Err(_) => ExitCode::FAILURE,
    }
}

/// Like [`run`], with other places to write to; true for a file that would load.
///
/// # Errors
/// Those of the writers.
pub fn check(path: &Path, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<bool> {
    let file = path.display();
    let examined = config::read_file(path).and_then(|text| config::examine(&file.to_string(), &text));
    match examined {
        Ok(examined) => {
            for warning in &examined.warnings {
                writeln!(err, "warning: {warning}")?;
            }
            let services = count(examined.model.services.len(), "service");
            let real_servers = count(examined.model.real_server_count(), "real server");
            writeln!(out, "{file}: ok ({services}, {real_servers})")?;
            Ok(true)
        }
        Err(ConfigErrors(errors)) => {
            for error in &errors {
                writeln!(err, "{error}")?;
            }
            writeln!(err, "{file}: {}", count(errors.len(), "error"))?;
            Ok(false)
        }
    }
}

fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}
