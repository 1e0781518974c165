//! What can be wrong with a configuration file, and what is merely odd.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// A place in a file; line and column count from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

/// A remark about one place in a file, written as `file:line:column: key: remark`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark<T> {
    /// The file, as the operator named it.
    pub file: Arc<str>,
    /// Where in the file; `None` where the file as a whole is meant, because it cannot be read.
    pub position: Option<Position>,
    /// Path of the key, such as `service[1].real_server[0].weight` (lists count from 0); may be empty.
    pub key: String,
    /// The remark.
    pub remark: T,
}

impl<T: fmt::Display> fmt::Display for Remark<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(Position { line, column }) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.remark)
    }
}

/// An error in a configuration file.
pub type ConfigError = Remark<Problem>;

/// Something in a configuration file that works and is probably not meant.
pub type ConfigWarning = Remark<Concern>;

/// Every error of a configuration file, in the order of the file; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    /// One error per line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, error) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// What is wrong. Values appear as the operator wrote them, shortened where they are long.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Problem {
    /// The file cannot be read at all.
    #[error("cannot read the configuration: {0}")]
    Unreadable(String),
    /// A byte that begins no UTF-8 character.
    #[error("byte 0x{0:02x} is not UTF-8; a configuration file is UTF-8 text")]
    NotUtf8(u8),
    /// Not TOML, in the words of the parser.
    #[error("not TOML: {0}")]
    Syntax(String),
    /// A string without quotes.
    #[error("{0} needs quotes; write \"{0}\"")]
    Unquoted(String),
    /// The same key twice in a table.
    #[error("written a second time; a table has each key once")]
    RepeatedKey,
    /// No key of this name in this table.
    #[error("unknown key; {}", unknown_key(*.nearest, .homes, .known))]
    UnknownKey {
        /// The known key most like it.
        nearest: Option<&'static str>,
        /// Headers of the tables that have it.
        homes: Vec<String>,
        /// All known keys.
        known: Vec<&'static str>,
    },
    /// A key that must be there is not.
    #[error("missing; expected {expected}")]
    Missing {
        /// Values it takes.
        expected: String,
    },
    /// A value of another TOML type.
    #[error("{}{found}; expected {expected}", .value.as_ref().map_or("found ".to_owned(), |value| format!("{value} is ")))]
    WrongType {
        /// The value; `None` for lists and tables, which are too long to repeat.
        value: Option<String>,
        /// Its type with an article.
        found: &'static str,
        /// What belongs there.
        expected: String,
    },
    /// A word that is not one of the known ones.
    #[error("{value} is no {what}; expected one of {}{}", .known.join(", "), did_you_mean(.nearest.as_deref()))]
    NotOneOf {
        /// The value.
        value: String,
        /// The kind of thing.
        what: &'static str,
        /// The words.
        known: Vec<&'static str>,
        /// The word most like it.
        nearest: Option<&'static str>,
    },
    /// A number that is too small or too large.
    #[error("{value} is out of range; expected {expected}")]
    OutOfRange {
        /// The value.
        value: String,
        /// The range.
        expected: String,
    },
    /// A number that is not one of a few.
    #[error("{value} is no {what}; the nearest are {}", .nearest.iter().map(u32::to_string).collect::<Vec<_>>().join(" and "))]
    NotListed {
        /// The value.
        value: String,
        /// The kind of thing.
        what: String,
        /// One or two good values.
        nearest: Vec<u32>,
    },
    /// A text that cannot be what the key needs.
    #[error("{value}: {reason}")]
    Invalid {
        /// The value.
        value: String,
        /// What is wrong with it and what is expected.
        reason: String,
    },
    /// Something that may exist only once.
    #[error("{value}: {what} is already in line {first_line}")]
    Duplicate {
        /// The value.
        value: String,
        /// What exists twice.
        what: String,
        /// Line of the first one.
        first_line: usize,
    },
    /// Values that are right alone and wrong together.
    #[error("{value}: {reason}")]
    Conflict {
        /// The value.
        value: String,
        /// Which other value it contradicts, and the ways out.
        reason: String,
    },
    /// More of something than a limit allows.
    #[error("{count} {what}, but {limit_key} is {limit}; raise the limit or remove some")]
    TooMany {
        /// How many there are.
        count: u64,
        /// Of what.
        what: &'static str,
        /// The key that limits them.
        limit_key: &'static str,
        /// Its value.
        limit: u64,
    },
}

fn unknown_key(nearest: Option<&str>, homes: &[String], known: &[&str]) -> String {
    match nearest {
        Some(nearest) => format!("did you mean {nearest:?}?"),
        None if !homes.is_empty() => format!("it belongs in {}", homes.join(" or ")),
        None => format!("expected one of {}", known.join(", ")),
    }
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!(" (did you mean {nearest:?}?)")).unwrap_or_default()
}

/// What is odd.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Concern {
    /// A service that can serve nobody.
    #[error("the service has no real server")]
    NoRealServer,
    /// A service whose real servers take no new connection.
    #[error("every real server has weight 0, so that no new connection is accepted")]
    AllQuiesced,
    /// Weights that change nothing.
    #[error("scheduler {scheduler} ignores weights other than 0; {alternative} follows them")]
    WeightsIgnored {
        /// The scheduler.
        scheduler: &'static str,
        /// Its sibling that follows weights.
        alternative: &'static str,
    },
    /// A virtual address that no virtual router brings to this host.
    #[error(
        "service {service}: no [[vrrp]] instance carries {address}, so that it does not move with the others; list it under an \
         instance's \"address\", or write always_on = true"
    )]
    NotCarried {
        /// Name of the service.
        service: String,
        /// Its virtual address.
        address: std::net::IpAddr,
    },
}
