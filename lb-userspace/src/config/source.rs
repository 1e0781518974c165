//! The text of a configuration file, and where in it a byte lies.

use std::sync::Arc;

use super::error::{Position, Remark};

/// A remark with the byte it is about.
#[derive(Debug)]
pub(super) struct Placed<T> {
    /// Byte offset in the text.
    pub(super) offset: usize,
    /// Path of the key.
    pub(super) key: String,
    /// The remark.
    pub(super) remark: T,
}

/// The text of a file with the offsets of its lines.
pub(super) struct Source<'a> {
    file: Arc<str>,
    text: &'a str,
    line_starts: Vec<usize>,
}

impl<'a> Source<'a> {
    pub(super) fn new(file: &str, text: &'a str) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let line_starts = std::iter::once(0).chain(newlines.map(|(at, _)| at + 1)).collect();
        Self { file: file.into(), text, line_starts }
    }

    /// Line of a byte, counted from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    /// The text between two byte offsets; empty where they are no character boundaries.
    pub(super) fn slice(&self, span: std::ops::Range<usize>) -> &'a str {
        self.text.get(span).unwrap_or_default()
    }

    /// Sorts remarks by place and gives them lines and columns.
    ///
    /// Columns are counted onwards from the remark before, so that a file that is one long line of errors costs one pass.
    pub(super) fn locate<T>(&self, mut placed: Vec<Placed<T>>) -> Vec<Remark<T>> {
        placed.sort_by_key(|remark| remark.offset);
        let (mut line, mut counted_to, mut column) = (0, 0, 1);
        placed
            .into_iter()
            .map(|Placed { offset, key, remark }| {
                let offset = offset.min(self.text.len());
                if self.line(offset) != line {
                    line = self.line(offset);
                    counted_to = self.line_starts.get(line - 1).copied().unwrap_or(0);
                    column = 1;
                }
                let between = self.text.as_bytes().get(counted_to..offset).unwrap_or_default();
                column += between.iter().filter(|byte| **byte & 0xc0 != 0x80).count();
                counted_to = offset;
                Remark { file: self.file.clone(), position: Some(Position { line, column }), key, remark }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_characters() {
        let source = Source::new("x", "a = 1\nü = \"é\"  b\n\nlast");
        let places = [0, 6, 11, 18, 19, 20, 400];
        let placed =
            places.iter().rev().map(|offset| Placed { offset: *offset, key: String::new(), remark: () });
        let found: Vec<_> = source
            .locate(placed.collect())
            .into_iter()
            .filter_map(|remark| remark.position.map(|Position { line, column }| (line, column)))
            .collect();
        assert_eq!(found, [(1, 1), (2, 1), (2, 5), (2, 11), (3, 1), (4, 1), (4, 5)]);
    }

    #[test]
    fn empty_text_has_a_first_line() {
        let source = Source::new("x", "");
        assert_eq!(source.line(0), 1);
        assert_eq!(source.slice(3..9), "");
    }
}
