//! The unit of VRRP version 3.

use std::fmt;
use std::time::Duration;

/// Hundredths of a second, as version 3 carries them (RFC 9568, 5.2.7): 1 to 4095.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Centiseconds(u16);

impl Centiseconds {
    /// The largest value that fits into the message's 12 bits.
    pub const MAX: Self = Self(4095);
    /// One second, the default of both versions.
    pub const SECOND: Self = Self(100);

    /// None for 0, which no message may carry, and for what does not fit.
    #[must_use]
    pub const fn new(hundredths: u16) -> Option<Self> {
        if hundredths == 0 || hundredths > Self::MAX.0 { None } else { Some(Self(hundredths)) }
    }

    /// Whole seconds, as version 2 carries them; none where it is not whole, or more than the message's 8 bits hold.
    #[must_use]
    pub fn seconds(self) -> Option<u8> {
        self.0.is_multiple_of(100).then(|| u8::try_from(self.0 / 100).ok()).flatten()
    }

    /// The value of whole seconds; none for 0 and for more than 40.
    #[must_use]
    pub fn from_seconds(seconds: u8) -> Option<Self> {
        Self::new(u16::from(seconds) * 100)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// As a duration.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0 as u64 * 10)
    }
}

impl fmt::Display for Centiseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02} s", self.0 / 100, self.0 % 100)
    }
}
