//! Maglev hashing.

/// Sizes of the look-up table that IPVS knows (`CONFIG_IP_VS_MH_TAB_INDEX` 8 to 17).
pub const TABLE_SIZES: [u32; 10] = [251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 131_071];
