//! Atomic updates of 64-bit cells that several CPUs and the controller share.
//!
//! `core` offers `AtomicU64::compare_exchange` and friends only where the target has `atomic-cas`, which the BPF target
//! lacks; its instructions exist all the same, so there the compiler's intrinsics are called directly. Everything is
//! `SeqCst`: LLVM 22 miscompiles a relaxed `fetch_add` whose result is used (it returns the operand).

use core::sync::atomic::AtomicU64;
#[cfg(not(target_arch = "bpf"))]
use core::sync::atomic::Ordering;

/// Replaces `old` by `new` and returns what was there before: `old` exactly when the exchange took place.
#[inline(always)]
pub fn compare_exchange(cell: &AtomicU64, old: u64, new: u64) -> u64 {
    #[cfg(not(target_arch = "bpf"))]
    {
        match cell.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(seen) | Err(seen) => seen,
        }
    }
    #[cfg(target_arch = "bpf")]
    {
        use core::intrinsics::{AtomicOrdering, atomic_cxchg};
        // SAFETY: the pointer comes from a live, aligned reference to an atomic cell.
        unsafe {
            atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(
                cell.as_ptr(),
                old,
                new,
            )
            .0
        }
    }
}

/// Adds (wrapping) and returns the previous value.
#[inline(always)]
pub fn fetch_add(cell: &AtomicU64, value: u64) -> u64 {
    #[cfg(not(target_arch = "bpf"))]
    {
        cell.fetch_add(value, Ordering::SeqCst)
    }
    #[cfg(target_arch = "bpf")]
    {
        use core::intrinsics::{AtomicOrdering, atomic_xadd};
        // SAFETY: the pointer comes from a live, aligned reference to an atomic cell.
        unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(cell.as_ptr(), value) }
    }
}

/// Sets bits and returns the previous value.
#[inline(always)]
pub fn fetch_or(cell: &AtomicU64, bits: u64) -> u64 {
    #[cfg(not(target_arch = "bpf"))]
    {
        cell.fetch_or(bits, Ordering::SeqCst)
    }
    #[cfg(target_arch = "bpf")]
    {
        use core::intrinsics::{AtomicOrdering, atomic_or};
        // SAFETY: the pointer comes from a live, aligned reference to an atomic cell.
        unsafe { atomic_or::<u64, u64, { AtomicOrdering::SeqCst }>(cell.as_ptr(), bits) }
    }
}

/// Clears the bits that `mask` lacks and returns the previous value; only the controller clears bits.
#[cfg(not(target_arch = "bpf"))]
#[inline(always)]
pub fn fetch_and(cell: &AtomicU64, mask: u64) -> u64 {
    cell.fetch_and(mask, Ordering::SeqCst)
}

/// Replaces all bits but those of `kept`, which another thread may change at the same time. Not for packets: nothing
/// bounds the loop.
pub fn replace_but(cell: &AtomicU64, kept: u64, value: u64) {
    let mut old = load(cell);
    loop {
        let seen = compare_exchange(cell, old, (old & kept) | (value & !kept));
        if seen == old {
            return;
        }
        old = seen;
    }
}

/// Reads without ordering: the value is used as a whole or checked against another.
#[inline(always)]
pub fn load(cell: &AtomicU64) -> u64 {
    #[cfg(not(target_arch = "bpf"))]
    {
        cell.load(Ordering::Relaxed)
    }
    // LLVM selects no instruction for an atomic load below BPF v4; an aligned volatile one is a single instruction.
    #[cfg(target_arch = "bpf")]
    {
        // SAFETY: the pointer comes from a live, aligned reference; BPF loads of eight bytes are never torn.
        unsafe { cell.as_ptr().read_volatile() }
    }
}

/// Writes without ordering.
#[inline(always)]
pub fn store(cell: &AtomicU64, value: u64) {
    #[cfg(not(target_arch = "bpf"))]
    {
        cell.store(value, Ordering::Relaxed);
    }
    #[cfg(target_arch = "bpf")]
    {
        // SAFETY: as in `load`.
        unsafe { cell.as_ptr().write_volatile(value) };
    }
}

/// Adds to a counter that only this CPU writes; no locked instruction is spent on it.
#[inline(always)]
pub fn add_local(cell: &AtomicU64, value: u64) {
    store(cell, load(cell).wrapping_add(value));
}
