//! The Internet checksum: in full (RFC 1071) and by difference (RFC 1624, equation 3).
//!
//! One's complement sums do not depend on byte order as long as one order is kept (RFC 1071, 2B), so everything here
//! works on words as they stand in memory.

/// A running one's complement sum.
#[derive(Debug, Clone, Copy)]
pub struct Checksum(u64);

impl Checksum {
    /// Starts an update of a checksum field as it stands in a header.
    #[inline(always)]
    #[must_use]
    pub const fn update(field: u16) -> Self {
        Self((!field) as u64)
    }

    /// Starts a fresh sum.
    #[inline(always)]
    #[must_use]
    pub const fn zero() -> Self {
        Self(0)
    }

    /// Adds 32 bits of new data.
    #[inline(always)]
    #[must_use]
    pub const fn add(self, data: u32) -> Self {
        Self(self.0.wrapping_add(data as u64))
    }

    /// Takes out 32 bits of old data.
    #[inline(always)]
    #[must_use]
    pub const fn remove(self, data: u32) -> Self {
        Self(self.0.wrapping_add((!data) as u64))
    }

    /// Adds 64 bits of new data.
    #[inline(always)]
    #[must_use]
    pub const fn add_u64(self, data: u64) -> Self {
        self.add(data as u32).add((data >> 32) as u32)
    }

    /// Takes out 64 bits of old data.
    #[inline(always)]
    #[must_use]
    pub const fn remove_u64(self, data: u64) -> Self {
        self.remove(data as u32).remove((data >> 32) as u32)
    }

    /// The value for the checksum field.
    ///
    /// A sum of data that is not all zero never gives 0xffff here when computed afresh; by difference it may give
    /// either zero (RFC 1624, 3), which receivers accept alike. UDP needs [`Self::finish_udp`].
    #[inline(always)]
    #[must_use]
    pub const fn finish(self) -> u16 {
        let sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        !(sum as u16)
    }

    /// The value for a UDP checksum field: 0 means "none" there, so a sum of 0 is sent as 0xffff (RFC 768).
    #[inline(always)]
    #[must_use]
    pub const fn finish_udp(self) -> u16 {
        match self.finish() {
            0 => 0xffff,
            sum => sum,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn full(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(u16::from_ne_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn a_known_ipv4_header() {
        let header: [u8; 20] =
            [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7];
        let mut sum = Checksum::zero();
        for word in header.chunks(4) {
            sum = sum.add(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
        }
        assert_eq!(sum.finish(), u16::from_be(0xb861));
    }

    proptest! {
        #[test]
        fn by_difference_equals_in_full(mut bytes in prop::collection::vec(any::<u8>(), 40), new: u32, at in 1usize..9) {
            bytes[0] = 0x45; // never all zero, as real headers
            bytes[38] = 0;
            bytes[39] = 0;
            let before = full(&bytes);
            let offset = at * 4;
            let old = u32::from_ne_bytes([bytes[offset], bytes[offset + 1], bytes[offset + 2], bytes[offset + 3]]);
            bytes[offset..offset + 4].copy_from_slice(&new.to_ne_bytes());
            if offset == 36 { return Ok(()); }
            let by_difference = Checksum::update(before).remove(old).add(new).finish();
            let afresh = full(&bytes);
            prop_assert!(by_difference == afresh || (by_difference == 0xffff && afresh == 0) || (by_difference == 0 && afresh == 0xffff));
        }
    }
}
