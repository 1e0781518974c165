//! Every key of a configuration file, declared once: the reader takes names, types and ranges from here, and so does
//! `docs/configuration.md`.

use std::fmt;
use std::time::Duration;

use super::quantity::{format_duration, format_size};

pub mod health;
mod keys;
pub mod vrrp;

pub use keys::{file, global, interface, limits, real_server, scheduler, service, timeouts};

/// A table and its keys.
#[derive(Debug)]
pub struct Table {
    /// How a file opens it, such as `[[service]]`; empty for the top level.
    pub header: &'static str,
    /// What it describes, in Markdown.
    pub doc: &'static str,
    /// Keys in the order of the documentation.
    pub keys: &'static [&'static Key],
}

/// A key of a table.
#[derive(Debug)]
pub struct Key {
    /// Name in the file.
    pub name: &'static str,
    /// Which values it takes.
    pub kind: Kind,
    /// What happens without it.
    pub presence: Presence,
    /// Names of the same thing in ipvsadm, keepalived and everyday speech; whoever writes one of them is told the right
    /// name.
    pub foreign: &'static [&'static str],
    /// What it sets, in Markdown.
    pub doc: &'static str,
}

/// What happens where a key is absent.
#[derive(Debug, Clone, Copy)]
pub enum Presence {
    /// An error.
    Required,
    /// As if this TOML value had been written.
    Default(&'static str),
    /// Decided by something else, described in prose.
    Otherwise(&'static str),
}

/// Which values a key takes.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A string that the description tells more about, such as "an absolute path".
    Text(&'static str),
    /// A list of strings that the description tells more about.
    Texts(&'static str),
    /// `true` or `false`.
    Boolean,
    /// An integer, bounds included.
    Integer {
        /// Smallest value.
        min: u32,
        /// Largest value.
        max: u32,
    },
    /// An integer that may be negative, bounds included.
    Signed {
        /// Smallest value.
        min: i32,
        /// Largest value.
        max: i32,
    },
    /// One of these integers.
    IntegerOf(&'static [u32]),
    /// An integer, or a string with a suffix; bounds included.
    Size {
        /// Smallest value.
        min: u32,
        /// Largest value.
        max: u32,
    },
    /// A string with units; bounds included.
    Duration {
        /// Shortest.
        min: Duration,
        /// Longest.
        max: Duration,
    },
    /// One of these words; `what` names their kind with its article taken off, such as "scheduler".
    Word {
        /// The kind of thing the words name.
        what: &'static str,
        /// The words.
        words: &'static [&'static str],
        /// Words of others, and which of ours they mean.
        foreign: &'static [(&'static str, &'static str)],
    },
    /// One of these words, or a table with more to say.
    WordOrTable {
        /// The kind of thing the words name.
        what: &'static str,
        /// The words.
        words: &'static [&'static str],
        /// Words of others, and which of ours they mean.
        foreign: &'static [(&'static str, &'static str)],
        /// The table.
        table: &'static Table,
    },
    /// One table.
    Table(&'static Table),
    /// A list of tables.
    Tables(&'static Table),
}

impl fmt::Display for Kind {
    /// What an error expects, such as "an integer from 0 to 255".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(what) | Self::Texts(what) => f.write_str(what),
            Self::Boolean => f.write_str("true or false"),
            Self::Integer { min, max } => write!(f, "an integer from {min} to {max}"),
            Self::Signed { min, max } => write!(f, "an integer from {min} to {max}"),
            Self::IntegerOf(numbers) => {
                let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
                write!(f, "one of {}", numbers.join(", "))
            }
            Self::Size { min, max } => write!(
                f,
                "a size from {} to {}, as an integer or as a string like \"64k\" or \"1Mi\"",
                format_size(u64::from(*min)),
                format_size(u64::from(*max))
            ),
            Self::Duration { min, max } => write!(
                f,
                "a duration from {} to {}, as a string like \"90s\" or \"1m30s\"",
                format_duration(*min),
                format_duration(*max)
            ),
            Self::Word { words, .. } => write!(f, "one of {}", words.join(", ")),
            Self::WordOrTable { words, .. } => {
                write!(f, "one of {}, or a table such as {{ name = \"mh\" }}", words.join(", "))
            }
            Self::Table(table) => write!(f, "a table, {}", table.header),
            Self::Tables(table) => write!(f, "a list of tables, each {}", table.header),
        }
    }
}

/// The tables that have a key of this name, as an error tells where it belongs.
pub(super) fn homes(name: &str) -> Vec<String> {
    fn search(table: &'static Table, name: &str, found: &mut Vec<String>) {
        for key in table.keys {
            let inner = match key.kind {
                Kind::Table(inner) | Kind::Tables(inner) => Some(inner),
                _ => None,
            };
            if key.name == name && !table.header.is_empty() {
                let home = match inner {
                    Some(inner) => format!("{}, as {}", table.header, inner.header),
                    None => table.header.to_owned(),
                };
                if !found.contains(&home) {
                    found.push(home);
                }
            }
            if let Some(inner) = inner {
                search(inner, name, found);
            }
        }
    }
    let mut found = Vec::new();
    search(&file::TABLE, name, &mut found);
    found
}
