//! The clock that the datapath stamps connection entries with.

use lb_common::layout::Geometry;

/// Monotonic time in units of [`Geometry::STAMP_SHIFT`], the same clock as `bpf_ktime_get_coarse_ns`.
pub(crate) fn stamp() -> u32 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the argument is a valid timespec; this clock exists on every kernel that runs XDP.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) };
    let nanoseconds = time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned();
    (nanoseconds >> Geometry::STAMP_SHIFT) as u32
}

/// Whole seconds in a number of stamps.
pub(crate) fn seconds(stamps: u32) -> u64 {
    (u64::from(stamps) << Geometry::STAMP_SHIFT) / 1_000_000_000
}
