//! Patterns over what a server sent.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use regex::bytes::Regex;

use super::quote::quote;
use crate::health::{Failure, FailureReason};
use crate::model::Pattern;

/// Compiled expressions: compiling costs far more than searching a usual page, and many real servers share a pattern.
static COMPILED: LazyLock<Mutex<HashMap<String, Regex>>> = LazyLock::new(Mutex::default);

/// Most expressions kept; a configuration with more compiles some of them again and again.
const MOST_COMPILED: usize = 1024;

/// Whether `bytes`, called `what` in the failure, are as `pattern` wants them.
///
/// # Errors
/// [`FailureReason::Pattern`] where they are not, [`FailureReason::Local`] where the expression is none.
pub(super) fn matches(pattern: &Pattern, bytes: &[u8], what: &str) -> Result<(), Failure> {
    let expression = compiled(&pattern.expression)?;
    match (expression.is_match(bytes), pattern.absent) {
        (true, false) | (false, true) => Ok(()),
        (false, false) => Err(Failure::new(
            FailureReason::Pattern,
            format!("{what} {} does not match {}", quote(bytes), quote(pattern.expression.as_bytes())),
        )),
        (true, true) => Err(Failure::new(
            FailureReason::Pattern,
            format!(
                "{what} {} matches {}, which must not be there",
                quote(bytes),
                quote(pattern.expression.as_bytes())
            ),
        )),
    }
}

/// The expression, compiled now or before.
///
/// # Errors
/// [`FailureReason::Local`] where it is none.
pub(super) fn compiled(expression: &str) -> Result<Regex, Failure> {
    let mut cache = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = cache.get(expression) {
        return Ok(found.clone());
    }
    let new = Regex::new(expression).map_err(|_| {
        Failure::new(
            FailureReason::Local,
            format!("{} is no regular expression", quote(expression.as_bytes())),
        )
    })?;
    if cache.len() >= MOST_COMPILED {
        cache.clear();
    }
    cache.insert(expression.to_owned(), new.clone());
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(expression: &str, absent: bool, bytes: &[u8]) -> Result<(), FailureReason> {
        let pattern = Pattern { expression: expression.to_owned(), absent };
        matches(&pattern, bytes, "body").map_err(|failure| failure.reason)
    }

    #[test]
    fn over_bytes_and_absent() {
        assert_eq!(outcome("^ok$", false, b"ok"), Ok(()));
        assert_eq!(outcome("^ok$", false, b"not ok"), Err(FailureReason::Pattern));
        assert_eq!(outcome("error", true, b"fine"), Ok(()));
        assert_eq!(outcome("error", true, b"an error"), Err(FailureReason::Pattern));
        assert_eq!(outcome(r"(?-u)\xff\x00", false, b"a\xff\x00b"), Ok(()));
        assert_eq!(outcome("(", false, b""), Err(FailureReason::Local));
    }
}
