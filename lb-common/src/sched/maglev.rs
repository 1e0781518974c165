//! What both sides of Maglev hashing agree on: the sizes of the look-up table.
//!
//! Filling the table is [`table`](super::table)'s work, indexing it [`pick::maglev_index`](super::pick::maglev_index)'s.

/// Sizes of the look-up table that IPVS knows (`CONFIG_IP_VS_MH_TAB_INDEX` 8 to 17): all prime, so that every step
/// width visits every entry.
pub const TABLE_SIZES: [u32; 10] = [251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 131_071];

/// The size of a table for which `wanted` entries were asked: the smallest of [`TABLE_SIZES`] that has as many, or the
/// largest.
#[must_use]
pub fn table_size(wanted: u32) -> u32 {
    let fitting = TABLE_SIZES.iter().copied().find(|&size| size >= wanted);
    fitting.unwrap_or(131_071)
}

/// How many bits of a weight tell in a table of `size` entries: IPVS gives a server at most 2 to this power turns in a
/// row (`CONFIG_IP_VS_MH_TAB_INDEX` / 2).
#[cfg(feature = "alloc")]
pub(super) fn weight_bits(size: u32) -> u32 {
    // Every listed size lies just below 2 to the power of its index.
    (u32::BITS - size.leading_zeros()) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_that_is_not_listed_becomes_the_next_larger_one() {
        assert_eq!(table_size(0), 251);
        assert_eq!(table_size(251), 251);
        assert_eq!(table_size(252), 509);
        assert_eq!(table_size(65_521), 65_521);
        assert_eq!(table_size(u32::MAX), 131_071);
    }

    #[test]
    fn every_size_is_prime_and_its_index_follows_from_it() {
        for (size, index) in TABLE_SIZES.into_iter().zip(8..) {
            assert!((2..size).take_while(|d| d * d <= size).all(|d| size % d != 0), "{size}");
            #[cfg(feature = "alloc")]
            assert_eq!(weight_bits(size), index / 2, "{size}");
            assert_eq!(u32::BITS - size.leading_zeros(), index, "{size}");
        }
    }
}
