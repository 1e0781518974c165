//! Hashes of the source address, bit for bit those of IPVS.

/// Buckets of a source hashing table (`IP_VS_SH_TAB_SIZE`).
pub const SOURCE_BUCKETS: u32 = 256;

/// Key of the hash by which mh looks a flow up, and of each server's first choice.
pub(in crate::sched) const LOOKUP_KEY: u64 = 2_654_435_761;

/// 2^32 divided by the golden ratio (`GOLDEN_RATIO_32` of linux/hash.h).
const GOLDEN_RATIO: u32 = 0x61C8_8647;

/// Folds an address to 32 bits: an IPv4 address is itself, an IPv6 address the exclusive or of its four words.
///
/// `hi` and `lo` are the sixteen address bytes as they stand in memory (`u64::from_ne_bytes` of bytes 0 to 7 and 8 to
/// 15), an IPv4 address in the last four. The result is a number in host byte order: 10.0.0.1 is `0x0a00_0001`.
#[inline(always)]
#[must_use]
pub fn fold(hi: u64, lo: u64, ipv4: bool) -> u32 {
    let words = if ipv4 {
        if cfg!(target_endian = "little") { (lo >> 32) as u32 } else { lo as u32 }
    } else {
        let pair = hi ^ lo;
        (pair as u32) ^ ((pair >> 32) as u32)
    };
    u32::from_be(words)
}

/// The bucket, below [`SOURCE_BUCKETS`], of a folded source address; `port` is the source port in host byte order if the
/// service asks for it (`sh-port`), else 0.
#[inline(always)]
#[must_use]
pub fn source_hash(folded: u32, port: u16) -> u32 {
    folded.wrapping_add(u32::from(port)).wrapping_mul(GOLDEN_RATIO) >> 24
}

/// The index, below `table_size`, of a folded source address in a Maglev table; `port` is the source port in host byte
/// order if the service asks for it (`mh-port`), else 0. An empty table has index 0 only.
#[inline(always)]
#[must_use]
pub fn maglev_index(folded: u32, port: u16, table_size: u32) -> u32 {
    let hash = siphash13(folded.wrapping_add(u32::from(port)), LOOKUP_KEY);
    hash.checked_rem(table_size).unwrap_or(0)
}

/// Low half of SipHash-1-3 over the four little-endian bytes of `value`, under the key (`key`, `key`): the kernel's
/// `hsiphash_1u32` on 64-bit machines.
#[inline(always)]
pub(in crate::sched) fn siphash13(value: u32, key: u64) -> u32 {
    // The last block of SipHash carries the length of the message in its top byte; here it is the only block.
    let block = (4 << 56) | u64::from(value);
    let mut state = [
        key ^ 0x736f_6d65_7073_6575,
        key ^ 0x646f_7261_6e64_6f6d,
        key ^ 0x6c79_6765_6e65_7261,
        key ^ 0x7465_6462_7974_6573 ^ block,
    ];
    state = round(state);
    let [v0, v1, v2, v3] = state;
    state = round(round(round([v0 ^ block, v1, v2 ^ 0xff, v3])));
    let [v0, v1, v2, v3] = state;
    (v0 ^ v1 ^ v2 ^ v3) as u32
}

/// One SipRound (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2.1).
#[inline(always)]
fn round([v0, v1, v2, v3]: [u64; 4]) -> [u64; 4] {
    let (v0, v2) = (v0.wrapping_add(v1), v2.wrapping_add(v3));
    let (v1, v3) = (v1.rotate_left(13) ^ v0, v3.rotate_left(16) ^ v2);
    let (v0, v2) = (v0.rotate_left(32).wrapping_add(v3), v2.wrapping_add(v1));
    let (v1, v3) = (v1.rotate_left(17) ^ v2, v3.rotate_left(21) ^ v0);
    [v0, v1, v2.rotate_left(32), v3]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn halves(bytes: [u8; 16]) -> (u64, u64) {
        let (hi, lo) = bytes.split_at(8);
        (u64::from_ne_bytes(hi.try_into().unwrap()), u64::from_ne_bytes(lo.try_into().unwrap()))
    }

    #[test]
    fn an_ipv4_address_folds_to_its_number() {
        let (hi, lo) = halves([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 64, 0, 1]);
        assert_eq!(fold(hi, lo, true), 0x0a40_0001);
    }

    #[test]
    fn only_the_last_four_bytes_of_an_ipv4_address_count() {
        let (hi, lo) = halves([9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 10, 64, 0, 1]);
        assert_eq!(fold(hi, lo, true), 0x0a40_0001);
    }

    #[test]
    fn an_ipv6_address_folds_by_words() {
        let (hi, lo) = halves([0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0x10]);
        assert_eq!(fold(hi, lo, false), 0x2001_0db8 ^ 1 ^ 2 ^ 0x10);
    }

    #[test]
    fn the_sum_of_address_and_port_wraps() {
        assert_eq!(source_hash(u32::MAX, 1), source_hash(0, 0));
        assert_eq!(maglev_index(u32::MAX, 1, 251), maglev_index(0, 0, 251));
    }

    #[test]
    fn an_empty_table_has_index_0() {
        assert_eq!(maglev_index(0x0a40_0001, 80, 0), 0);
    }

    #[test]
    fn siphash_is_that_of_the_standard_library() {
        // `SipHasher13` of core is private and behind `DefaultHasher` in std; with the zero key the two must agree.
        extern crate std;
        use core::hash::Hasher;
        for value in [0, 1, 0x0a40_0001, u32::MAX] {
            let mut hasher = std::collections::hash_map::DefaultHasher::new();
            hasher.write(&value.to_le_bytes());
            assert_eq!(siphash13(value, 0), hasher.finish() as u32, "{value}");
        }
    }
}
