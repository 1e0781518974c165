//! `docs/configuration.md`, made from the [schema](super::schema).

use std::fmt::Write as _;

use super::schema::{Key, Kind, Presence, Table, file};

/// What the page says before its tables.
const INTRODUCTION: &str = include_str!("introduction.md");

/// The page in Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut page = INTRODUCTION.to_owned();
    write_table(&mut page, &file::TABLE, &mut Vec::new());
    page
}

/// Writes a table and then, in order, the tables its keys lead to. Writing to a String cannot fail.
fn write_table(page: &mut String, table: &'static Table, written: &mut Vec<&'static str>) {
    if written.contains(&table.header) {
        return;
    }
    written.push(table.header);
    if !table.header.is_empty() {
        let _ = write!(page, "\n## `{}`\n\n{}\n", table.header, table.doc);
        let _ = write!(page, "\n| Key | Value | Without it | Meaning |\n|---|---|---|---|\n");
        for key in table.keys {
            let _ = writeln!(page, "| `{}` | {} | {} | {} |", key.name, value(key), absence(key), key.doc);
        }
    }
    for key in table.keys {
        if let Kind::Table(inner) | Kind::Tables(inner) | Kind::WordOrTable { table: inner, .. } = key.kind {
            write_table(page, inner, written);
        }
    }
}

fn value(key: &Key) -> String {
    let quoted =
        |words: &[&str]| words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", ");
    match key.kind {
        Kind::Word { words, .. } => quoted(words),
        Kind::WordOrTable { words, .. } => format!("{}, or a table (below)", quoted(words)),
        Kind::Table(table) => format!("a table, `{}`", table.header),
        Kind::Tables(table) => format!("a list of tables, each `{}`", table.header),
        kind => kind.to_string(),
    }
}

fn absence(key: &Key) -> String {
    match key.presence {
        Presence::Required => "an error".to_owned(),
        Presence::Default(default) => format!("`{default}`"),
        Presence::Otherwise(prose) => prose.to_owned(),
    }
}
