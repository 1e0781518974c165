//! `[notify]`

use super::{Key, Kind, Presence, Table, text};

/// `fifo`
pub static FIFO: Key = text(
    "fifo",
    "an absolute path",
    "none",
    &["lvs_notify_fifo", "notify_fifo", "pipe"],
    "Named pipe that gets a line for each change, in the format of keepalived's `lvs_notify_fifo`. It is made where it \
     is missing.",
);
/// `webhook`
pub static WEBHOOK: Key = Key {
    name: "webhook",
    kind: Kind::Texts("a list of addresses such as [\"https://alarm.example.org/lvx\"]"),
    presence: Presence::Otherwise("none"),
    foreign: &["webhooks", "http", "post"],
    doc: "Addresses that get each change as JSON, by POST.",
};
/// `[notify.email]`
pub static EMAIL: Key = Key {
    name: "email",
    kind: Kind::Table(&super::email::TABLE),
    presence: Presence::Otherwise("no mail"),
    foreign: &["mail", "notification_email", "smtp_alert"],
    doc: "Mail about changes.",
};
/// The table.
pub static TABLE: Table = Table {
    header: "[notify]",
    doc: "Where changes of state are told, beside the log.",
    keys: &[&FIFO, &WEBHOOK, &EMAIL],
};
