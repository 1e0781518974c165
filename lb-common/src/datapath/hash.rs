//! The seeded flow hash of the connection table.

use crate::layout::ConnectionKey;

const K1: u64 = 0x9e37_79b9_7f4a_7c15;
const K2: u64 = 0xbf58_476d_1ce4_e5b9;

#[inline(always)]
const fn mix(state: u64, data: u64, factor: u64) -> u64 {
    let product = (state ^ data).wrapping_mul(factor);
    product ^ (product >> 32)
}

/// Hashes a connection key. The low 24 bits choose the bucket; the others are the tag, whose top bit is set so that no word is zero.
///
/// Multiply-and-fold rounds, because 128-bit multiplication does not exist in BPF and `SipHash` costs 11 ns; the seed
/// is random per start and enters every round by way of the state, so that colliding flows cannot be prepared.
#[inline(always)]
#[must_use]
pub const fn flow_hash(key: &ConnectionKey, seed: u64) -> u64 {
    let state = if key.source.hi | key.destination.hi == 0 {
        mix(seed, (key.source.lo >> 32) | (key.destination.lo & 0xffff_ffff_0000_0000), K1)
    } else {
        let state = mix(seed, key.source.hi, K1);
        let state = mix(state, key.source.lo, K2);
        let state = mix(state, key.destination.hi, K1);
        mix(state, key.destination.lo, K2)
    };
    let state = mix(state, key.ports as u64 | ((key.protocol as u64) << 32), K2);
    let state = (state ^ seed).wrapping_mul(K1);
    (state ^ (state >> 29)) | (1 << 63)
}
