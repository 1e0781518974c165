//! Errors of the TOML parser, in words for whoever forgot a quote.

use std::ops::Range;

use toml::de::{DeTable, DeValue, Error};

use super::error::Problem;
use super::reader::{Path, Report};

/// How the parser calls a key that a table has twice.
const REPEATED_KEY: &str = "duplicate key";

/// A value that is neither table nor list.
struct Leaf {
    key: String,
    span: Range<usize>,
}

/// What is left of a document after its syntax errors.
pub(super) enum Damage {
    /// Each error is inside of one value, whose line is given, or a key is repeated: everything else means what it says.
    Contained(Vec<usize>),
    /// Brackets or quotes are open: what the parser made of the rest says nothing about the operator's intention.
    Spreading,
}

/// Notes the errors of the parser, the first of each line, and tells how far they reach.
pub(super) fn note_errors(document: &DeTable<'_>, errors: &[Error], report: &Report<'_>) -> Damage {
    let mut leaves = Vec::new();
    collect_leaves(document, Path::Root, &mut leaves);
    leaves.sort_by_key(|leaf| leaf.span.start);
    let mut errors: Vec<(usize, &Error)> =
        errors.iter().map(|error| (error.span().map_or(0, |span| span.start), error)).collect();
    errors.sort_by_key(|(offset, _)| *offset);

    let mut lines: Vec<usize> = Vec::new();
    let mut contained = true;
    for (offset, error) in errors {
        let line = report.source.line(offset);
        let repeated = error.message() == REPEATED_KEY;
        let leaf = leaves[..leaves.partition_point(|leaf| leaf.span.start <= offset)]
            .last()
            .filter(|leaf| offset < leaf.span.end && !report.source.slice(leaf.span.clone()).contains('\n'));
        contained &= repeated || leaf.is_some();
        if lines.last() == Some(&line) {
            continue;
        }
        lines.push(line);
        match leaf {
            _ if repeated => {
                let name = error.span().map(|span| report.source.slice(span)).unwrap_or_default();
                report.problem(offset, Path::Key(&Path::Root, name), Problem::RepeatedKey);
            }
            Some(leaf) => {
                let written = report.source.slice(leaf.span.clone());
                let problem = if ["true", "false"].iter().any(|word| word.eq_ignore_ascii_case(written)) {
                    Problem::Syntax(format!("a boolean is written in lower case, {}", written.to_lowercase()))
                } else if is_unquoted_string(written) {
                    Problem::Unquoted(written.to_owned())
                } else {
                    Problem::Syntax(error.message().to_owned())
                };
                report.problem(leaf.span.start, &leaf.key, problem);
            }
            None => report.problem(offset, Path::Root, Problem::Syntax(error.message().to_owned())),
        }
    }
    if contained { Damage::Contained(lines) } else { Damage::Spreading }
}

fn collect_leaves(table: &DeTable<'_>, path: Path<'_>, leaves: &mut Vec<Leaf>) {
    for (name, value) in table {
        collect_leaf(value.get_ref(), value.span(), Path::Key(&path, name.get_ref()), leaves);
    }
}

fn collect_leaf(value: &DeValue<'_>, span: Range<usize>, path: Path<'_>, leaves: &mut Vec<Leaf>) {
    match value {
        DeValue::Table(table) => collect_leaves(table, path, leaves),
        DeValue::Array(list) => {
            for (index, element) in list.iter().enumerate() {
                collect_leaf(element.get_ref(), element.span(), Path::Index(&path, index), leaves);
            }
        }
        _ => leaves.push(Leaf { key: path.to_string(), span }),
    }
}

/// Whether a value that is no TOML looks like a word, an address, a path or a number with a unit.
fn is_unquoted_string(written: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._:/%-[]".contains(c);
    let number = |c: char| c.is_ascii_digit() || "+-_".contains(c);
    written.len() <= 64 && written.chars().all(plain) && !written.chars().all(number) && !written.is_empty()
}
