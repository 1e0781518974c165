//! What a server sent, in a failure's detail.

/// Longest quotation in characters; the rest is cut off.
const LONGEST: usize = 80;

/// `bytes` on one line, between quotation marks, with everything escaped that is not text.
pub(super) fn quote(bytes: &[u8]) -> String {
    // A character of UTF-8 has at most four bytes, so that this covers what is shown and is bounded at once.
    let shown = &bytes[..bytes.len().min(4 * LONGEST + 4)];
    let text = String::from_utf8_lossy(shown);
    let mut quoted = String::from('"');
    for (position, character) in text.chars().enumerate() {
        if position == LONGEST {
            quoted.push_str("...");
            break;
        }
        quoted.extend(character.escape_debug());
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_and_cut() {
        assert_eq!(quote(b"550 no\r\n"), r#""550 no\r\n""#);
        assert_eq!(quote(b""), r#""""#);
        assert_eq!(quote("\u{20ac}".repeat(81).as_bytes()), format!("\"{}...\"", "\u{20ac}".repeat(80)));
        let garbage = quote(&[0xff; 1 << 20]);
        assert!(garbage.len() < 1000 && garbage.ends_with("...\""), "{garbage}");
    }
}
