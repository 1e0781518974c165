//! Stamps of authenticated messages: when they were sent, in an order that survives the wrap of the seconds.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// 32 bits of seconds since 1970, 16 bits of 1/65536 of a second, 16 bits of a counter for messages of the same instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp(u64);

impl Stamp {
    /// Of an instant, with the counter 0.
    pub(super) fn at(wall_clock: SystemTime) -> Self {
        // A clock that says 1969 has never been set; whatever the stamp is, it is out of everybody's window.
        let since = wall_clock.duration_since(UNIX_EPOCH).unwrap_or_default();
        let fraction = (u64::from(since.subsec_nanos()) << 16) / 1_000_000_000;
        Self((since.as_secs() << 32) | (fraction << 16))
    }

    /// For the next message after the one with the stamp `last`.
    pub(super) fn next(last: Option<Self>, wall_clock: SystemTime, window: Duration) -> Self {
        let clock = Self::at(wall_clock);
        match last {
            Some(last) if !clock.is_after(last) && last.is_near(clock, window) => {
                Self(last.0.wrapping_add(1))
            }
            _ => clock,
        }
    }

    pub(super) fn from_be_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(bytes))
    }

    pub(super) fn to_be_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// RFC 1982 over 64 bits.
    pub(super) fn is_after(self, other: Self) -> bool {
        self.0.wrapping_sub(other.0).cast_signed() > 0
    }

    /// Whether both are at most `window` apart, in whole seconds as keepalived counts.
    pub(super) fn is_near(self, other: Self, window: Duration) -> bool {
        let window = window.as_secs().saturating_add(u64::from(window.subsec_nanos() > 0));
        u64::from(self.seconds().wrapping_sub(other.seconds()).cast_signed().unsigned_abs()) <= window
    }

    fn seconds(self) -> u32 {
        (self.0 >> 32) as u32
    }
}
