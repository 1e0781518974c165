//! `[[service.check.step]]`

use super::{Key, REGEX, Table, text};

/// `send`
pub static SEND: Key =
    text("send", "a text; \\xNN stands for a byte", "nothing", &["request"], "What is sent.");
/// `expect`
pub static EXPECT: Key = text(
    "expect",
    REGEX,
    "nothing",
    &["receive", "pattern"],
    "What has to arrive before the next step; at most 64 KiB are looked at.",
);
/// The table.
pub static TABLE: Table = Table {
    header: "[[service.check.step]]",
    doc: "One step of an `expect` check: something to send, something to wait for, or first the one and then the other.",
    keys: &[&SEND, &EXPECT],
};
