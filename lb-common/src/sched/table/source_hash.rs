//! Source hashing: a fixed number of buckets dealt out by weight.

use super::Candidate;
use crate::sched::pick::SOURCE_BUCKETS;
use alloc::vec::Vec;

/// Deals the buckets out in list order, each server as many in a row as its weight, until all are gone.
///
/// A server with weight 0 still gets one bucket, which refuses (as IPVS does without `sh-fallback`).
/// As the runs are consecutive, a change of one server moves the runs of those behind it: sh keeps few flows in place.
pub(super) fn fill(list: &[Candidate]) -> Vec<u32> {
    let run = |server: &Candidate| {
        let entry = if server.weight == 0 { 0 } else { server.id };
        core::iter::repeat_n(entry, server.weight.clamp(1, SOURCE_BUCKETS) as usize)
    };
    if list.is_empty() {
        return Vec::new();
    }
    list.iter().cycle().flat_map(run).take(SOURCE_BUCKETS as usize).collect()
}
