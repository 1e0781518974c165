//! How an error names a place in the tree and repeats a value.

use std::fmt;

/// Longest value repeated in an error, in characters.
const LONGEST_QUOTE: usize = 64;

/// Where in the tree a value is; becomes text only for an error.
#[derive(Clone, Copy)]
pub(super) enum Path<'p> {
    /// The whole document.
    Root,
    /// A key of a table.
    Key(&'p Path<'p>, &'p str),
    /// An element of a list.
    Index(&'p Path<'p>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Index(list, index) => write!(f, "{list}[{index}]"),
            Path::Key(table, name) => {
                if !matches!(table, Path::Root) {
                    write!(f, "{table}.")?;
                }
                let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
                if !name.is_empty() && name.len() <= LONGEST_QUOTE && name.bytes().all(bare) {
                    f.write_str(name)
                } else {
                    f.write_str(&quote(name))
                }
            }
        }
    }
}

/// A text in quotes, shortened, with control characters escaped.
pub(super) fn quote(text: &str) -> String {
    match text.char_indices().nth(LONGEST_QUOTE) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// A text without quotes, shortened, with control characters escaped.
pub(super) fn escape(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(LONGEST_QUOTE)
        .flat_map(|c| {
            let (escaped, plain) =
                if c.is_control() { (Some(c.escape_default()), None) } else { (None, Some(c)) };
            escaped.into_iter().flatten().chain(plain)
        })
        .collect();
    if text.chars().nth(LONGEST_QUOTE).is_some() {
        shown += "...";
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_quote_what_needs_quotes() {
        let service = Path::Key(&Path::Root, "service");
        let first = Path::Index(&service, 0);
        assert_eq!(Path::Key(&first, "weight").to_string(), "service[0].weight");
        assert_eq!(Path::Key(&first, "a\nb").to_string(), "service[0].\"a\\nb\"");
        assert_eq!(Path::Key(&Path::Root, "").to_string(), "\"\"");
        assert_eq!(Path::Key(&Path::Root, &"x".repeat(99)).to_string(), format!("\"{}\"...", "x".repeat(64)));
    }

    #[test]
    fn long_values_are_shortened() {
        assert_eq!(quote(&"é".repeat(65)), format!("\"{}\"...", "é".repeat(64)));
    }
}
