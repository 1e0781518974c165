//! Source hashing: a fixed number of buckets dealt out by weight.

use super::Candidate;
use crate::sched::pick::SOURCE_BUCKETS;
use alloc::vec::Vec;

/// Deals the buckets out in list order, each server as many in a row as its weight, until all are gone.
///
/// A server with weight 0 still gets one bucket, which refuses, or with `fallback` is another server's.
/// As the runs are consecutive, a change of one server moves the runs of those behind it: sh keeps few flows in place.
pub(super) fn fill(list: &[Candidate], fallback: bool) -> Vec<u32> {
    let run = |server: &Candidate| {
        let entry = if server.weight == 0 { 0 } else { server.id };
        core::iter::repeat_n(entry, server.weight.clamp(1, SOURCE_BUCKETS) as usize)
    };
    if list.is_empty() {
        return Vec::new();
    }
    let slots: Vec<u32> = list.iter().cycle().flat_map(run).take(SOURCE_BUCKETS as usize).collect();
    if fallback { fall_back(&slots) } else { slots }
}

/// What IPVS looks for when a flow comes (`ip_vs_sh_get_fallback`): from bucket h on, bucket h + (h + k) mod 256 for k = 0, 1,
/// ... It depends on the bucket alone, so it can be done beforehand.
fn fall_back(slots: &[u32]) -> Vec<u32> {
    let length = slots.len();
    let beyond = |bucket: usize| {
        let mut tries = (0..length).map(|step| (bucket + (bucket + step) % length) % length);
        tries.find_map(|other| slots.get(other).copied().filter(|id| *id != 0)).unwrap_or(0)
    };
    slots.iter().enumerate().map(|(bucket, id)| if *id == 0 { beyond(bucket) } else { *id }).collect()
}

/// One bucket each in list order until all are gone (ip_vs_dh.c); one of weight 0 refuses.
pub(super) fn deal(list: &[Candidate]) -> Vec<u32> {
    let entry = |server: &Candidate| if server.weight == 0 { 0 } else { server.id };
    list.iter().cycle().map(entry).take(if list.is_empty() { 0 } else { SOURCE_BUCKETS as usize }).collect()
}
