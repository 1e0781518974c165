//! Typed access to a TOML tree that notes every error and goes on.

use std::cell::RefCell;
use std::fmt;
use std::num::IntErrorKind;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::error::{Concern, Problem};
use super::nearest::nearest as nearest_name;
use super::path::{Path, escape, quote};
use super::quantity::{parse_duration, parse_size};
use super::schema::{self, Key, Kind, Presence, Table};
use super::source::{Placed, Source};

/// Collects what the readers find.
pub(super) struct Report<'a> {
    pub(super) source: &'a Source<'a>,
    problems: RefCell<Vec<Placed<Problem>>>,
    concerns: RefCell<Vec<Placed<Concern>>>,
}

impl<'a> Report<'a> {
    pub(super) fn new(source: &'a Source<'a>) -> Self {
        Self { source, problems: RefCell::default(), concerns: RefCell::default() }
    }

    pub(super) fn problem(&self, offset: usize, key: impl fmt::Display, problem: Problem) {
        self.problems.borrow_mut().push(Placed { offset, key: key.to_string(), remark: problem });
    }

    pub(super) fn concern(&self, offset: usize, key: impl fmt::Display, concern: Concern) {
        self.concerns.borrow_mut().push(Placed { offset, key: key.to_string(), remark: concern });
    }

    pub(super) fn into_parts(self) -> (Vec<Placed<Problem>>, Vec<Placed<Concern>>) {
        (self.problems.into_inner(), self.concerns.into_inner())
    }
}

/// Value of a key.
pub(super) enum Given<T> {
    /// The key is not there.
    Absent,
    /// It is there, and an error has been noted.
    Invalid,
    /// It is there, at this byte.
    Value(T, usize),
}

impl<T> Given<T> {
    /// The value, or the default where the key is absent; `None` after an error.
    pub(super) fn valid_or(self, default: T) -> Option<T> {
        match self {
            Self::Absent => Some(default),
            Self::Invalid => None,
            Self::Value(value, _) => Some(value),
        }
    }

    /// The value and its byte, where it is there and valid.
    pub(super) fn value(self) -> Option<(T, usize)> {
        match self {
            Self::Absent | Self::Invalid => None,
            Self::Value(value, offset) => Some((value, offset)),
        }
    }
}

/// Reads one table by its schema; unknown keys are noted when it is made.
pub(super) struct TableReader<'t> {
    table: &'t DeTable<'t>,
    schema: &'static Table,
    /// Path of the table.
    pub(super) path: Path<'t>,
    /// First byte of the table, its header; missing keys are noted there.
    pub(super) offset: usize,
    /// Takes the errors.
    pub(super) report: &'t Report<'t>,
}

type Value<'t> = Spanned<DeValue<'t>>;

impl<'t> TableReader<'t> {
    pub(super) fn new(
        table: &'t DeTable<'t>,
        schema: &'static Table,
        path: Path<'t>,
        offset: usize,
        report: &'t Report<'t>,
    ) -> Self {
        let reader = Self { table, schema, path, offset, report };
        for (name, _) in table {
            if !schema.keys.iter().any(|key| key.name == name.get_ref().as_ref()) {
                reader.unknown(name.span().start, name.get_ref());
            }
        }
        reader
    }

    fn unknown(&self, offset: usize, name: &str) {
        let keys = self.schema.keys;
        let plain = |name: &str| name.to_ascii_lowercase().replace('-', "_");
        let foreign = |key: &&&Key| key.foreign.iter().any(|other| plain(other) == plain(name));
        let nearest = keys.iter().find(foreign).map(|key| key.name);
        let nearest = nearest.or_else(|| nearest_name(name, keys.iter().map(|key| key.name)));
        let homes = if nearest.is_none() { schema::homes(name) } else { Vec::new() };
        let known = keys.iter().map(|key| key.name).collect();
        self.report.problem(
            offset,
            Path::Key(&self.path, name),
            Problem::UnknownKey { nearest, homes, known },
        );
    }

    /// Notes a problem with the value of a key.
    pub(super) fn problem(&self, key: &Key, offset: usize, problem: Problem) {
        self.report.problem(offset, Path::Key(&self.path, key.name), problem);
    }

    /// The value as an error repeats it.
    fn shown(&self, value: &Value<'_>) -> String {
        match value.get_ref() {
            DeValue::String(text) => quote(text),
            _ => escape(self.report.source.slice(value.span())),
        }
    }

    /// The number that an integer stands for, at the bounds of 128 bits where it exceeds them.
    fn number(&self, integer: &DeInteger<'_>, value: &Value<'_>) -> Result<i128, Problem> {
        let digits = integer.as_str();
        i128::from_str_radix(digits, integer.radix()).or_else(|error| match error.kind() {
            IntErrorKind::PosOverflow => Ok(i128::MAX),
            IntErrorKind::NegOverflow => Ok(i128::MIN),
            // The TOML parser lets some characters pass that are no digits.
            _ => Err(Problem::Invalid { value: self.shown(value), reason: "not an integer".to_owned() }),
        })
    }

    /// Reads the value of a key, noting what `read` finds wrong with it.
    fn read<T>(&self, key: &Key, read: impl FnOnce(&'t Value<'t>) -> Result<T, Problem>) -> Given<T> {
        let Some(value) = self.table.get(key.name) else {
            if !matches!(key.presence, Presence::Required) {
                return Given::Absent;
            }
            self.problem(key, self.offset, Problem::Missing { expected: key.kind.to_string() });
            return Given::Invalid;
        };
        match read(value) {
            Ok(read) => Given::Value(read, value.span().start),
            Err(problem) => {
                self.problem(key, value.span().start, problem);
                Given::Invalid
            }
        }
    }

    fn wrong_type(&self, expected: impl fmt::Display, value: &Value<'_>) -> Problem {
        let (shown, found) = match value.get_ref() {
            DeValue::String(_) => (true, "a string"),
            DeValue::Integer(_) => (true, "an integer"),
            DeValue::Float(_) => (true, "a fraction"),
            DeValue::Boolean(_) => (true, "a boolean"),
            DeValue::Datetime(_) => (true, "a date or time"),
            DeValue::Array(_) => (false, "a list"),
            DeValue::Table(_) => (false, "a table"),
        };
        let value = shown.then(|| self.shown(value));
        Problem::WrongType { value, found, expected: expected.to_string() }
    }

    fn out_of_range(&self, key: &Key, value: &Value<'_>) -> Problem {
        Problem::OutOfRange { value: self.shown(value), expected: key.kind.to_string() }
    }

    /// A string that `parse` understands, or says why not.
    pub(super) fn text<T>(&self, key: &Key, parse: impl FnOnce(&'t str) -> Result<T, String>) -> Given<T> {
        self.read(key, |value| match value.get_ref() {
            DeValue::String(text) => {
                parse(text).map_err(|reason| Problem::Invalid { value: self.shown(value), reason })
            }
            _ => Err(self.wrong_type(key.kind, value)),
        })
    }

    /// A list of strings that `parse` understands, each, or says why not.
    pub(super) fn texts<T>(
        &self,
        key: &Key,
        mut parse: impl FnMut(&'t str) -> Result<T, String>,
    ) -> Given<Vec<T>> {
        self.read(key, |value| {
            let DeValue::Array(list) = value.get_ref() else {
                return Err(self.wrong_type(key.kind, value));
            };
            let mut texts = Vec::with_capacity(list.len());
            for element in list.iter() {
                let DeValue::String(text) = element.get_ref() else {
                    return Err(self.wrong_type(key.kind, element));
                };
                let parsed = parse(text);
                texts.push(parsed.map_err(|reason| Problem::Invalid { value: self.shown(element), reason })?);
            }
            Ok(texts)
        })
    }

    /// Whether the key is there.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.table.get(key.name).is_some()
    }

    /// Notes that a key does not belong to the others, at its value.
    pub(super) fn conflict(&self, key: &Key, reason: String) {
        if let Some(value) = self.table.get(key.name) {
            let shown = match value.get_ref() {
                DeValue::Array(_) | DeValue::Table(_) => key.name.to_owned(),
                _ => self.shown(value),
            };
            self.problem(key, value.span().start, Problem::Conflict { value: shown, reason });
        }
    }

    /// One of the words of the schema.
    pub(super) fn word<T>(&self, key: &Key, from_name: impl FnOnce(&str) -> Option<T>) -> Given<T> {
        self.read(key, |value| {
            let (
                Kind::Word { what, words, foreign } | Kind::WordOrTable { what, words, foreign, .. },
                DeValue::String(text),
            ) = (key.kind, value.get_ref())
            else {
                return Err(self.wrong_type(key.kind, value));
            };
            from_name(text).ok_or_else(|| Problem::NotOneOf {
                value: quote(text),
                what,
                known: words.to_vec(),
                nearest: foreign
                    .iter()
                    .find(|(word, _)| word.eq_ignore_ascii_case(text))
                    .map(|(_, meant)| *meant)
                    .or_else(|| nearest_name(text, words.iter().copied())),
            })
        })
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self, key: &Key) -> Given<bool> {
        self.read(key, |value| match value.get_ref() {
            DeValue::Boolean(boolean) => Ok(*boolean),
            _ => Err(self.wrong_type(key.kind, value)),
        })
    }

    /// An integer in the bounds of the schema, or one of its list.
    pub(super) fn integer(&self, key: &Key) -> Given<u32> {
        self.read(key, |value| {
            let DeValue::Integer(integer) = value.get_ref() else {
                return Err(self.wrong_type(key.kind, value));
            };
            let number = self.number(integer, value)?;
            match key.kind {
                Kind::IntegerOf(list) => {
                    list.iter().copied().find(|listed| i128::from(*listed) == number).ok_or_else(|| {
                        Problem::NotListed {
                            value: self.shown(value),
                            what: key.name.replace('_', " "),
                            nearest: nearest_two(list, number),
                        }
                    })
                }
                Kind::Integer { min, max } => u32::try_from(number)
                    .map_err(|_| self.out_of_range(key, value))
                    .and_then(|number| self.bounded(key, value, number, min, max)),
                _ => Err(self.wrong_type(key.kind, value)),
            }
        })
    }

    /// An integer that may be negative, in the bounds of the schema.
    pub(super) fn signed(&self, key: &Key) -> Given<i32> {
        self.read(key, |value| {
            let (DeValue::Integer(integer), Kind::Signed { min, max }) = (value.get_ref(), key.kind) else {
                return Err(self.wrong_type(key.kind, value));
            };
            i32::try_from(self.number(integer, value)?)
                .map_err(|_| self.out_of_range(key, value))
                .and_then(|number| self.bounded(key, value, number, min, max))
        })
    }

    fn bounded<T: PartialOrd + Copy>(
        &self,
        key: &Key,
        value: &Value<'_>,
        read: T,
        min: T,
        max: T,
    ) -> Result<T, Problem> {
        if read < min || read > max { Err(self.out_of_range(key, value)) } else { Ok(read) }
    }

    /// A size: an integer or a string with a suffix.
    pub(super) fn size(&self, key: &Key) -> Given<u32> {
        self.read(key, |value| {
            let Kind::Size { min, max } = key.kind else {
                return Err(self.wrong_type(key.kind, value));
            };
            let size = match value.get_ref() {
                DeValue::Integer(integer) => self.number(integer, value)?,
                DeValue::String(text) => parse_size(text).map(i128::from).map_err(|error| {
                    Problem::Invalid { value: self.shown(value), reason: error.to_string() }
                })?,
                _ => return Err(self.wrong_type(key.kind, value)),
            };
            let size = u32::try_from(size).map_err(|_| self.out_of_range(key, value))?;
            self.bounded(key, value, size, min, max)
        })
    }

    /// A duration: a string with units.
    pub(super) fn duration(&self, key: &Key) -> Given<Duration> {
        self.read(key, |value| {
            let Kind::Duration { min, max } = key.kind else {
                return Err(self.wrong_type(key.kind, value));
            };
            let text = match value.get_ref() {
                DeValue::String(text) => text.as_ref(),
                DeValue::Integer(integer) => integer.as_str(),
                _ => return Err(self.wrong_type(key.kind, value)),
            };
            let duration = parse_duration(text)
                .map_err(|error| Problem::Invalid { value: self.shown(value), reason: error.to_string() })?;
            self.bounded(key, value, duration, min, max)
        })
    }

    /// Hands the one table of a key to `read`.
    pub(super) fn table<T>(&self, key: &Key, read: impl FnOnce(&TableReader<'_>) -> T) -> Given<T> {
        self.read(key, |value| {
            let (Kind::Table(schema) | Kind::WordOrTable { table: schema, .. }, DeValue::Table(table)) =
                (key.kind, value.get_ref())
            else {
                return Err(self.wrong_type(key.kind, value));
            };
            let path = Path::Key(&self.path, key.name);
            Ok(read(&TableReader::new(table, schema, path, value.span().start, self.report)))
        })
    }

    /// Whether the value of a key is a table.
    pub(super) fn is_table(&self, key: &Key) -> bool {
        self.table.get(key.name).is_some_and(|value| value.get_ref().is_table())
    }

    /// Hands each table of a list to `read`. The result has an element for each of the list, `None` where `read` gave none
    /// and where the element is no table.
    pub(super) fn tables<T>(
        &self,
        key: &Key,
        mut read: impl FnMut(&TableReader<'_>) -> Option<T>,
    ) -> Given<Vec<Option<T>>> {
        self.read(key, |value| {
            let (Kind::Tables(schema), DeValue::Array(list)) = (key.kind, value.get_ref()) else {
                return Err(self.wrong_type(key.kind, value));
            };
            let list_path = Path::Key(&self.path, key.name);
            let mut tables = Vec::with_capacity(list.len());
            for (index, element) in list.iter().enumerate() {
                let path = Path::Index(&list_path, index);
                match element.get_ref() {
                    DeValue::Table(table) => {
                        let reader = TableReader::new(table, schema, path, element.span().start, self.report);
                        tables.push(read(&reader));
                    }
                    _ => {
                        let expected = format!("a table, {}", schema.header);
                        self.report.problem(element.span().start, path, self.wrong_type(expected, element));
                        tables.push(None);
                    }
                }
            }
            Ok(tables)
        })
    }
}

/// The largest number of an ascending list below `number` and the smallest above.
fn nearest_two(list: &[u32], number: i128) -> Vec<u32> {
    let above = list.partition_point(|listed| i128::from(*listed) < number);
    let window = above.saturating_sub(1).min(list.len().saturating_sub(2));
    list.iter().skip(window).take(2).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_nearest_of_a_list() {
        let list = [251, 509, 1021];
        for (number, nearest) in
            [(-7, [251, 509]), (1, [251, 509]), (300, [251, 509]), (600, [509, 1021]), (5000, [509, 1021])]
        {
            assert_eq!(nearest_two(&list, number), nearest, "{number}");
        }
    }
}
