//! `[notify]`.

use std::time::Duration;

use super::check::{absolute_path, host_name, optional};
use super::error::Problem;
use super::reader::{Given, TableReader};
use super::schema::file;
use super::schema::health::{email, notify};
use super::settings::expected;
use crate::model::{Email, Notifications};

/// Reads where changes are told.
pub(super) fn read_notifications(root: &TableReader<'_>) -> Notifications {
    let read = root.table(&file::NOTIFY, |table| {
        let fifo = optional(table.text(&notify::FIFO, absolute_path));
        let webhooks = table.texts(&notify::WEBHOOK, webhook).valid_or(Vec::new());
        let email = match table.table(&notify::EMAIL, read_email) {
            Given::Absent => Some(None),
            given => given.value().map(|(email, _)| email),
        };
        Some(Notifications { fifo: fifo?, webhooks: webhooks?, email: email? })
    });
    read.value().and_then(|(read, _)| read).unwrap_or_default()
}

fn webhook(text: &str) -> Result<String, String> {
    valid(&Notifications { webhooks: vec![text.to_owned()], ..Notifications::default() })?;
    Ok(text.to_owned())
}

/// What the sender itself has to say.
fn valid(notifications: &Notifications) -> Result<(), String> {
    crate::notify::validate(notifications)
        .map_err(|errors| errors.first().map(ToString::to_string).unwrap_or_default())
}

fn read_email(table: &TableReader<'_>) -> Option<Email> {
    let server = table.text(&email::SERVER, host_name).valid_or("127.0.0.1:25".to_owned());
    let from = table.text(&email::FROM, |text| mail_address(text, expected(&email::FROM))).value();
    let to = table.texts(&email::TO, |text| mail_address(text, "a mail address")).value();
    let helo = optional(table.text(&email::HELO, host_name));
    let timeout = table.duration(&email::TIMEOUT).valid_or(Duration::from_secs(30));
    let email = Email { server: server?, from: from?.0, to: to?.0, helo: helo?, timeout: timeout? };
    if let Err(reason) = valid(&Notifications { email: Some(email.clone()), ..Notifications::default() }) {
        table.report.problem(
            table.offset,
            table.path,
            Problem::Invalid { value: "the mail".to_owned(), reason },
        );
    }
    Some(email)
}

/// Only what could break the envelope is refused; the mail server knows better what an address is.
fn mail_address(text: &str, expected: &str) -> Result<String, String> {
    let parts = text.rsplit_once('@').filter(|(local, domain)| !local.is_empty() && !domain.is_empty());
    if parts.is_none()
        || text.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '<' | '>'))
    {
        return Err(format!("not a mail address; expected {expected}"));
    }
    Ok(text.to_owned())
}
