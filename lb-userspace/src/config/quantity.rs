//! Sizes with suffixes (`64k`, `1Mi`) and durations with units (`1m30s`): text to number and back.
//!
//! Own code rather than a crate: the units are few and strict, and a wrong text must be answered with a text that works.

use std::fmt::Write as _;
use std::time::Duration;

use thiserror::Error;

/// Why a text is no size.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SizeError {
    /// No digit at the beginning, or a fraction, or a sign.
    #[error(
        "a size is a whole number, with a suffix k, M, G (powers of 1000) or Ki, Mi, Gi (powers of 1024) if wanted"
    )]
    NotANumber,
    /// The text after the digits is no suffix.
    #[error("{suffix:?} is no suffix{}", did_you_mean(.meant.as_deref()))]
    UnknownSuffix {
        /// What stands after the digits.
        suffix: String,
        /// The whole text as it should be, where only the case of the suffix is wrong.
        meant: Option<String>,
    },
    /// Larger than 64 bits hold.
    #[error("a size must be below 2^64")]
    TooLarge,
}

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DurationError {
    /// No number where one is due, or a fraction, or a sign.
    #[error("a duration is made of whole numbers with units, as in \"15m\" or \"1m30s\"")]
    NotANumber,
    /// A number without a unit.
    #[error("a duration needs a unit (ms, s, m, h, d){}", did_you_mean(.meant.as_deref()))]
    NoUnit {
        /// The text with seconds as the unit, where that is a whole duration.
        meant: Option<String>,
    },
    /// Not one of ms, s, m, h, d.
    #[error("{unit:?} is no unit; the units are ms, s, m, h, d")]
    UnknownUnit {
        /// What stands in the unit's place.
        unit: String,
    },
    /// A unit after a smaller or an equal one.
    #[error("units go from large to small, each at most once")]
    Order,
    /// More milliseconds than 64 bits hold.
    #[error("a duration must be below 2^64 ms")]
    TooLong,
}

fn did_you_mean(meant: Option<&str>) -> String {
    meant.map(|meant| format!(" (did you mean {meant:?}?)")).unwrap_or_default()
}

/// Suffixes with their factors, largest first.
const SUFFIXES: [(&str, u64); 6] =
    [("Gi", 1 << 30), ("G", 1_000_000_000), ("Mi", 1 << 20), ("M", 1_000_000), ("Ki", 1 << 10), ("k", 1000)];

/// Units with their milliseconds, largest first.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Splits ASCII digits off the front; `None` where there are none.
fn leading_digits(text: &str) -> Option<(&str, &str)> {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// Reads a size such as `4096`, `64k` or `1Mi`.
///
/// # Errors
/// [`SizeError`] says what is wrong with the text.
pub fn parse_size(text: &str) -> Result<u64, SizeError> {
    let (digits, suffix) = leading_digits(text).ok_or(SizeError::NotANumber)?;
    let number: u64 = digits.parse().map_err(|_| SizeError::TooLarge)?;
    if suffix.is_empty() {
        return Ok(number);
    }
    if suffix.starts_with(|c: char| !c.is_alphabetic()) {
        return Err(SizeError::NotANumber);
    }
    match SUFFIXES.iter().find(|(name, _)| *name == suffix) {
        Some((_, factor)) => number.checked_mul(*factor).ok_or(SizeError::TooLarge),
        None => Err(SizeError::UnknownSuffix {
            suffix: suffix.to_owned(),
            meant: SUFFIXES
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(suffix))
                .map(|(name, _)| format!("{digits}{name}")),
        }),
    }
}

/// Writes a size with the suffix that leaves the smallest whole number; [`parse_size`] reads it back.
#[must_use]
pub fn format_size(size: u64) -> String {
    SUFFIXES
        .iter()
        .filter(|(_, factor)| size > 0 && size.is_multiple_of(*factor))
        .map(|(name, factor)| (size / factor, *name))
        .min_by_key(|(number, _)| *number)
        .map_or_else(|| size.to_string(), |(number, name)| format!("{number}{name}"))
}

/// Reads a duration such as `15m`, `1m30s` or `500ms`.
///
/// # Errors
/// [`DurationError`] says what is wrong with the text.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let mut rest = text;
    let mut milliseconds: u64 = 0;
    let mut units_left = &UNITS[..];
    loop {
        let (digits, after) = leading_digits(rest).ok_or(DurationError::NotANumber)?;
        let end = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        if unit.is_empty() {
            let meant = (after.is_empty() && rest.len() == text.len()).then(|| format!("{text}s"));
            return if after.is_empty() {
                Err(DurationError::NoUnit { meant })
            } else {
                Err(DurationError::NotANumber)
            };
        }
        let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(DurationError::UnknownUnit { unit: unit.to_owned() });
        };
        let at = units_left.iter().position(|(name, _)| *name == unit).ok_or(DurationError::Order)?;
        units_left = &units_left[at + 1..];
        milliseconds = digits
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(*factor))
            .and_then(|part| milliseconds.checked_add(part))
            .ok_or(DurationError::TooLong)?;
        if after.is_empty() {
            return Ok(Duration::from_millis(milliseconds));
        }
        rest = after;
    }
}

/// Writes a duration with as few units as it needs, rounded down to milliseconds; [`parse_duration`] reads it back.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if left == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (name, factor) in UNITS {
        if left >= factor {
            // Writing to a String cannot fail.
            let _ = write!(text, "{}{name}", left / factor);
            left %= factor;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_read_as_written() {
        for (text, size) in [
            ("0", 0),
            ("4096", 4096),
            ("64k", 64_000),
            ("1M", 1_000_000),
            ("8Mi", 8 << 20),
            ("2G", 2_000_000_000),
        ] {
            assert_eq!(parse_size(text), Ok(size), "{text}");
        }
        for text in ["", "k", "-1", "+1", "1.5M", "1 k", " 1", "1_000"] {
            assert_eq!(parse_size(text), Err(SizeError::NotANumber), "{text}");
        }
        assert_eq!(parse_size("99999999999999999999"), Err(SizeError::TooLarge));
        assert_eq!(parse_size("18446744073709551615k"), Err(SizeError::TooLarge));
        assert_eq!(
            parse_size("64K").expect_err("upper case").to_string(),
            "\"K\" is no suffix (did you mean \"64k\"?)"
        );
    }

    #[test]
    fn durations_read_as_written() {
        for (text, milliseconds) in
            [("0s", 0), ("500ms", 500), ("15m", 900_000), ("1m30s", 90_000), ("1d2h3m4s5ms", 93_784_005)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "s", "-1s", "1.5s", "1s ", "1m 30s", "1m30s!"] {
            assert_eq!(parse_duration(text), Err(DurationError::NotANumber), "{text}");
        }
        assert_eq!(parse_duration("900"), Err(DurationError::NoUnit { meant: Some("900s".to_owned()) }));
        assert_eq!(parse_duration("1m30"), Err(DurationError::NoUnit { meant: None }));
        assert_eq!(parse_duration("3w"), Err(DurationError::UnknownUnit { unit: "w".to_owned() }));
        assert_eq!(parse_duration("30s1m"), Err(DurationError::Order));
        assert_eq!(parse_duration("1s1s"), Err(DurationError::Order));
        assert_eq!(parse_duration("999999999999999999d"), Err(DurationError::TooLong));
    }

    proptest! {
        #[test]
        fn size_round_trip(size: u64) {
            prop_assert_eq!(parse_size(&format_size(size)), Ok(size));
        }

        #[test]
        fn round_sizes_round_trip(number in 0..20_000_u64, power in 0..4_u32) {
            prop_assert_eq!(parse_size(&format_size(number * 1000_u64.pow(power))), Ok(number * 1000_u64.pow(power)));
            prop_assert_eq!(parse_size(&format_size(number << (10 * power))), Ok(number << (10 * power)));
        }

        #[test]
        fn duration_round_trip(milliseconds: u64) {
            let duration = Duration::from_millis(milliseconds);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn any_text_is_answered(text in ".*") {
            let _ = parse_size(&text);
            let _ = parse_duration(&text);
        }

        #[test]
        fn any_near_miss_is_answered(text in "[0-9]{0,22}[a-zA-Z0-9. +-]{0,6}") {
            if let Ok(size) = parse_size(&text) {
                prop_assert_eq!(parse_size(&format_size(size)), Ok(size));
            }
            if let Ok(duration) = parse_duration(&text) {
                prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
            }
        }
    }
}
