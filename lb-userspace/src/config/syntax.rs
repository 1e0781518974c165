//! Errors of the TOML parser, in words for whoever forgot a quote.

use std::collections::HashSet;
use std::ops::Range;

use toml::de::{DeTable, DeValue, Error};

use super::error::Problem;
use super::path::Path;
use super::reader::Report;

/// How the parser calls a key that a table has twice.
const REPEATED_KEY: &str = "duplicate key";

/// A value with its place.
struct Item {
    path: String,
    span: Range<usize>,
}

/// Values of a damaged document, each kind in the order of the file.
#[derive(Default)]
struct Items {
    /// Values on one line that hold no other values.
    leaves: Vec<Item>,
    /// Lists, inline tables and strings over several lines, the outermost of each nest.
    wide: Vec<Item>,
    /// Paths of all tables and values.
    paths: HashSet<String>,
}

/// What is left of a document after its syntax errors.
pub(super) enum Damage {
    /// Each error is inside of one value, whose line is given, or a key is repeated: everything else means what it says.
    Contained(Vec<usize>),
    /// Something is open: what the parser made of the rest says nothing about the operator's intention.
    Spreading,
}

/// Notes the errors of the parser, the first of each line, and tells how far they reach.
pub(super) fn note_errors(document: &DeTable<'_>, errors: &[Error], report: &Report<'_>) -> Damage {
    if errors.is_empty() {
        return Damage::Contained(Vec::new());
    }
    let items = Items::collect(document, report);
    let mut errors: Vec<(usize, &Error)> =
        errors.iter().map(|error| (error.span().map_or(0, |span| span.start), error)).collect();
    errors.sort_by_key(|(offset, _)| *offset);
    let contained = errors.iter().all(|(offset, error)| is_repeated(error) || items.leaf(*offset).is_some());

    let mut lines: Vec<usize> = Vec::new();
    let mut open: Option<Range<usize>> = None;
    for (offset, error) in errors {
        let line = report.source.line(offset);
        if lines.last() == Some(&line)
            || open.as_ref().is_some_and(|open| open.start <= offset && offset <= open.end)
        {
            continue;
        }
        lines.push(line);
        let leaf = items.leaf(offset);
        let wide = items.wide(offset).filter(|_| !contained);
        if let Some(wide) = wide {
            open = Some(wide.span.clone());
        }
        let message = || error.message().trim_end_matches(", expected nothing");
        match (leaf, wide) {
            _ if is_repeated(error) => {
                let name = error.span().map(|span| report.source.slice(span)).unwrap_or_default();
                report.problem(offset, items.path_of_repeated(offset, name), Problem::RepeatedKey);
            }
            (Some(leaf), _) => {
                let problem = leaf_problem(report.source.slice(leaf.span.clone()), message());
                report.problem(leaf.span.start, &leaf.path, problem);
            }
            (None, Some(wide)) => {
                let begun = report.source.line(wide.span.start);
                let message = format!("{}; what begins in line {begun} may lack its end", message());
                report.problem(offset, &wide.path, Problem::Syntax(message));
            }
            (None, None) => report.problem(offset, Path::Root, Problem::Syntax(message().to_owned())),
        }
    }
    if contained { Damage::Contained(lines) } else { Damage::Spreading }
}

fn is_repeated(error: &Error) -> bool {
    error.message() == REPEATED_KEY
}

/// What is wrong with a value, as it stands in the file.
fn leaf_problem(written: &str, message: &str) -> Problem {
    let unquoted = |c: char| c.is_ascii_alphanumeric() || "._:/%-[]".contains(c);
    let number = |c: char| c.is_ascii_digit() || "+-_".contains(c);
    let quote = written.chars().next().filter(|first| matches!(first, '"' | '\''));
    if written.is_empty() {
        Problem::Syntax("the value is missing".to_owned())
    } else if quote.is_some_and(|quote| written.len() == 1 || !written.ends_with(quote)) {
        Problem::Syntax("the closing quote is missing".to_owned())
    } else if ["true", "false"].iter().any(|word| word.eq_ignore_ascii_case(written)) {
        Problem::Syntax(format!("a boolean is written in lower case, {}", written.to_lowercase()))
    } else if written.len() <= 64 && written.chars().all(unquoted) && !written.chars().all(number) {
        Problem::Unquoted(written.to_owned())
    } else {
        Problem::Syntax(message.to_owned())
    }
}

impl Items {
    fn collect(document: &DeTable<'_>, report: &Report<'_>) -> Self {
        let mut items = Self::default();
        items.add_table(document, Path::Root, false, report);
        items.leaves.sort_by_key(|item| item.span.start);
        items.wide.sort_by_key(|item| item.span.start);
        items
    }

    fn add_table(&mut self, table: &DeTable<'_>, path: Path<'_>, inside_wide: bool, report: &Report<'_>) {
        for (name, value) in table {
            self.add(value.get_ref(), value.span(), Path::Key(&path, name.get_ref()), inside_wide, report);
        }
    }

    fn add(
        &mut self,
        value: &DeValue<'_>,
        span: Range<usize>,
        path: Path<'_>,
        mut inside_wide: bool,
        report: &Report<'_>,
    ) {
        let written = report.source.slice(span.clone());
        self.paths.insert(path.to_string());
        if written.contains('\n') && !inside_wide {
            self.wide.push(Item { path: path.to_string(), span: span.clone() });
            inside_wide = true;
        }
        match value {
            DeValue::Table(table) => self.add_table(table, path, inside_wide, report),
            DeValue::Array(list) => {
                for (index, element) in list.iter().enumerate() {
                    let path = Path::Index(&path, index);
                    self.add(element.get_ref(), element.span(), path, inside_wide, report);
                }
            }
            _ if written.contains('\n') => {}
            _ => self.leaves.push(Item { path: path.to_string(), span }),
        }
    }

    /// The value on one line that a byte belongs to or ends.
    fn leaf(&self, offset: usize) -> Option<&Item> {
        let before = self.leaves.partition_point(|leaf| leaf.span.start <= offset);
        self.leaves[..before].last().filter(|leaf| offset <= leaf.span.end)
    }

    /// The value over several lines that a byte belongs to or ends.
    fn wide(&self, offset: usize) -> Option<&Item> {
        let before = self.wide.partition_point(|wide| wide.span.start <= offset);
        self.wide[..before].last().filter(|wide| offset <= wide.span.end)
    }

    /// The path of a repeated key: beside the value before it, if there is a key of that name, else at the top.
    fn path_of_repeated(&self, offset: usize, name: &str) -> String {
        let before = self.leaves.partition_point(|leaf| leaf.span.start <= offset);
        self.leaves[..before]
            .last()
            .and_then(|leaf| leaf.path.rsplit_once('.'))
            .map(|(table, _)| format!("{table}.{name}"))
            .filter(|path| self.paths.contains(path))
            .unwrap_or_else(|| Path::Key(&Path::Root, name).to_string())
    }
}
