//! Packets that cannot be balanced, because ports are not where they can be read, or nowhere.

use super::packet::{destination, discovers_neighbours};
use super::verdict::{drop, pass};
use super::{Frame, Tables, Verdict};
use crate::layout::{DropReason, PassReason, ServiceKey, Stance};

/// Leaves a packet to the host, unless its destination accepts nothing but what services take.
#[inline(always)]
pub(super) fn left<F: Frame, T: Tables>(frame: &F, tables: &T, reason: PassReason) -> Verdict {
    // The stack accepts nothing that is malformed, and what is not IP goes to no virtual address.
    let accepted =
        matches!(reason, PassReason::NotTcpUdp | PassReason::Fragment | PassReason::ExtensionHeaders);
    // Most directors need no look-up: one word says so for all packets.
    if accepted && tables.refuses_some() {
        match stance(frame, tables) {
            Stance::Balance => {}
            Stance::StandBy => return pass(tables, PassReason::Standby),
            Stance::Refuse => return drop(tables, DropReason::NotAccepted),
        }
    }
    pass(tables, reason)
}

/// What is said of the destination of such packets; [`Stance::Balance`] where nothing is. Out of line, so that the
/// verifier follows the extension headers apart from the packets that are balanced.
#[inline(never)]
fn stance<F: Frame, T: Tables>(frame: &F, tables: &T) -> Stance {
    let Some(address) = destination(frame) else { return Stance::Balance };
    let Some(id) = tables.find_service(&ServiceKey::rest(address)) else { return Stance::Balance };
    let Some(record) = tables.service(id) else { return Stance::Balance };
    match record.stance() {
        // Without it nobody could send anything to the address (RFC 9568, 6.4.3).
        Stance::Refuse if discovers_neighbours(frame) => Stance::Balance,
        stance => stance,
    }
}
