//! `[notify.email]`

use super::{Duration, Key, Kind, Presence, Table, duration, text};

/// `server`
pub static SERVER: Key = Key {
    name: "server",
    kind: Kind::Text("a host name or address with or without a port, such as \"mail.example.org:25\""),
    presence: Presence::Default("\"127.0.0.1:25\""),
    foreign: &["smtp_server", "smtp", "relay"],
    doc: "SMTP server that takes the mail.",
};
/// `from`
pub static FROM: Key = Key {
    name: "from",
    kind: Kind::Text("a mail address"),
    presence: Presence::Required,
    foreign: &["notification_email_from", "sender"],
    doc: "Sender.",
};
/// `to`
pub static TO: Key = Key {
    name: "to",
    kind: Kind::Texts("a list of mail addresses"),
    presence: Presence::Required,
    foreign: &["notification_email", "recipients"],
    doc: "Receivers.",
};
/// `helo`
pub static HELO: Key =
    text("helo", "a host name", "the name of the director", &["smtp_helo_name"], "Name in HELO.");
/// `timeout`
pub static TIMEOUT: Key = duration(
    "timeout",
    Duration::from_secs(1),
    Presence::Default("\"30s\""),
    &["smtp_connect_timeout"],
    "Bound for a delivery.",
);
/// The table.
pub static TABLE: Table = Table {
    header: "[notify.email]",
    doc: "Mail about changes. Changes that come together go into one mail.",
    keys: &[&SERVER, &FROM, &TO, &HELO, &TIMEOUT],
};
