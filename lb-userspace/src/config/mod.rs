//! Configuration: a TOML file becomes a [`Model`], or a list of everything that is wrong with it.
//!
//! The tree of the TOML parser is walked by own readers rather than by serde, because serde stops at the first error and
//! knows no places. [`schema`] declares the keys; [`mod@reference`] makes their documentation.

mod address;
mod check;
mod check_dialogue;
mod check_http;
mod error;
mod nearest;
mod notify;
mod path;
pub mod quantity;
mod reader;
pub mod reference;
pub mod schema;
mod service;
mod service_health;
mod settings;
mod source;
mod syntax;
mod vrrp;
mod vrrp_hmac;
mod vrrp_track;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use toml::de::DeTable;

pub use error::{Concern, ConfigError, ConfigErrors, ConfigWarning, Position, Problem, Remark};

use crate::model::Model;
use reader::{Report, TableReader};
use source::{Placed, Source};

/// Longest file that is read, in bytes: ten times what 100,000 real servers need.
pub const MAX_FILE_SIZE: u64 = 64 << 20;

/// A model, and what is odd about its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// The model.
    pub model: Model,
    /// Warnings in the order of the file.
    pub warnings: Vec<ConfigWarning>,
}

/// Reads a configuration file; warnings go to the log.
///
/// # Errors
/// Everything that is wrong with the file, in its order.
pub fn load(path: &Path) -> Result<Model, ConfigErrors> {
    parse(&path.display().to_string(), &read_file(path)?)
}

/// Reads a configuration from a text; warnings go to the log. `file_name` stands in errors.
///
/// # Errors
/// Everything that is wrong with the text, in its order.
pub fn parse(file_name: &str, text: &str) -> Result<Model, ConfigErrors> {
    let Examined { model, warnings } = examine(file_name, text)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    Ok(model)
}

/// Like [`parse`], with the warnings in the result instead of the log.
///
/// # Errors
/// Everything that is wrong with the text, in its order.
pub fn examine(file_name: &str, text: &str) -> Result<Examined, ConfigErrors> {
    let source = Source::new(file_name, text);
    let report = Report::new(&source);
    let (document, syntax_errors) = DeTable::parse_recoverable(text);
    let damage = syntax::note_errors(document.get_ref(), &syntax_errors, &report);

    let walk = Report::new(&source);
    let model = read_model(&document, &walk);
    let (mut problems, _) = report.into_parts();
    let (found, concerns) = walk.into_parts();
    match damage {
        syntax::Damage::Spreading => {}
        syntax::Damage::Contained(lines) => {
            let elsewhere =
                |problem: &Placed<Problem>| lines.binary_search(&source.line(problem.offset)).is_err();
            problems.extend(found.into_iter().filter(elsewhere));
        }
    }
    if problems.is_empty() {
        Ok(Examined { model, warnings: source.locate(concerns) })
    } else {
        Err(ConfigErrors(source.locate(problems)))
    }
}

fn read_model(document: &toml::Spanned<DeTable<'_>>, report: &Report<'_>) -> Model {
    let root = TableReader::new(document.get_ref(), &schema::file::TABLE, path::Path::Root, 0, report);
    let (settings, limits) = settings::read_settings(&root);
    let interfaces = settings::read_interfaces(&root);
    let mut services = service::read_services(&root, &limits);
    if let Some(user) = &settings.script_user {
        services.iter_mut().for_each(|service| service_health::name_user(service, user));
    }
    let notifications = notify::read_notifications(&root);
    let vrrp = vrrp::read_vrrp(&root, &services, settings.script_user.as_ref());
    Model { settings, interfaces, services, notifications, vrrp }
}

/// Reads the text of a configuration file.
///
/// # Errors
/// One error: the file is not there, cannot be read, is no regular file, is longer than [`MAX_FILE_SIZE`], or is not UTF-8.
pub fn read_file(path: &Path) -> Result<String, ConfigErrors> {
    let file_name: std::sync::Arc<str> = path.display().to_string().into();
    let remark = |position, remark| {
        ConfigErrors(vec![Remark { file: file_name.clone(), position, key: String::new(), remark }])
    };
    let unreadable = |reason: String| remark(None, Problem::Unreadable(reason));
    let too_long = || unreadable(format!("longer than {} bytes", quantity::format_size(MAX_FILE_SIZE)));

    // Before opening: to open a named pipe waits for its writer.
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(describe(&error)))?;
    if metadata.is_dir() {
        return Err(unreadable("it is a directory".to_owned()));
    }
    if !metadata.is_file() {
        return Err(unreadable("it is no regular file".to_owned()));
    }
    if metadata.len() > MAX_FILE_SIZE {
        return Err(too_long());
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_SIZE + 1).read_to_end(&mut bytes))
        .map_err(|error| unreadable(describe(&error)))?;
    // Files under /proc tell a length of 0, and any file may grow.
    if bytes.len() as u64 > MAX_FILE_SIZE {
        return Err(too_long());
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let bytes = error.as_bytes();
        let valid = String::from_utf8_lossy(&bytes[..at]);
        let placed = Placed { offset: at, key: String::new(), remark: () };
        let position = Source::new("", &valid).locate(vec![placed]).first().and_then(|found| found.position);
        remark(position, Problem::NotUtf8(bytes[at]))
    })
}

/// The system's words for an error, without the number.
fn describe(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}
