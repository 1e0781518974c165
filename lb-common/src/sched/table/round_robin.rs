//! Round robin: the next eligible server behind the last pick.

use super::{Candidate, last_used};
use alloc::vec::Vec;

/// Where the round stands before the first entry of a table.
#[derive(Clone, Debug)]
pub(super) struct Position {
    /// Ids of the whole list, eligible or not.
    order: Vec<u32>,
    /// The server behind which the round goes on; `None` is the head of the list.
    last: Option<u32>,
}

pub(super) fn first(list: &[Candidate]) -> (Vec<u32>, Position) {
    cycle(list, None)
}

pub(super) fn next(old: &Position, slots: &[u32], cursor: u64, list: &[Candidate]) -> (Vec<u32>, Position) {
    let last = last_used(slots, cursor).and_then(|index| slots.get(index)).copied().or(old.last);
    cycle(list, last.and_then(|id| surviving(&old.order, id, list)))
}

/// `last`, or if it has left the list, the nearest server before it that has not: IPVS steps back when the server it
/// stands on is deleted.
fn surviving(order: &[u32], last: u32, list: &[Candidate]) -> Option<u32> {
    let place = order.iter().position(|&id| id == last)?;
    order.iter().take(place + 1).rev().copied().find(|&id| list.iter().any(|server| server.id == id))
}

fn cycle(list: &[Candidate], last: Option<u32>) -> (Vec<u32>, Position) {
    let start =
        last.and_then(|id| list.iter().position(|server| server.id == id)).map_or(0, |place| place + 1);
    let (before, behind) = list.split_at(start);
    let slots =
        behind.iter().chain(before).filter(|server| server.weight > 0).map(|server| server.id).collect();
    (slots, Position { order: list.iter().map(|server| server.id).collect(), last })
}
