//! What becomes of a packet.

use super::Tables;
use crate::layout::{DropReason, PassReason};

/// What becomes of a packet; every value but the forwarding ones has been counted with its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// To the host's own stack.
    Pass,
    /// Nowhere.
    Drop,
    /// Out of the interface it came from.
    Transmit,
    /// Out of the interface with this index.
    Redirect(u32),
}

/// A verdict with the reason that was counted, for explanations and tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerdictKind {
    /// Passed, and why.
    Pass(PassReason),
    /// Dropped, and why.
    Drop(DropReason),
    /// Forwarded.
    Forward,
}

#[inline(always)]
pub(super) fn pass<T: Tables>(tables: &T, reason: PassReason) -> Verdict {
    tables.count(reason.into());
    Verdict::Pass
}

#[inline(always)]
pub(super) fn drop<T: Tables>(tables: &T, reason: DropReason) -> Verdict {
    tables.count(reason.into());
    Verdict::Drop
}
