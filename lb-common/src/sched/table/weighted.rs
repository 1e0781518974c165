//! Weighted round robin in IPVS's interleaved order.
//!
//! A cycle is a number of passes over the list, each on a *level*: the pass on level `l` takes every server whose weight,
//! divided by the greatest common divisor of all, is at least `l`. Levels go down from the greatest weight to 1.
//! IPVS keeps the level multiplied out as `cw = (l - 1) * gcd + 1`, and keeps it when the list changes; so do we.

use super::{Candidate, greatest_common_divisor, last_used};
use alloc::vec::Vec;

/// Greatest length of a cycle, unless more servers than this are eligible.
///
/// A longer one (weights like 1 and 1,000,000) is shortened by scaling the weights: with `n` eligible servers the share of
/// each then differs from `weight / sum` by at most `(1 + n * share) / (CYCLE_CAP - 2 * n)`, and each keeps at
/// least one entry. Levels are then counted in scaled weights.
pub const CYCLE_CAP: usize = 65_536;

/// Where the walk stands before the first entry of a table.
#[derive(Clone, Debug)]
pub(super) struct Position {
    /// Id and weight of the whole list, as given.
    list: Vec<(u32, u32)>,
    turns: Turns,
    /// IPVS's `cw`; 0 if no server is eligible.
    cw: u32,
    /// How many entries the table is ahead of a cycle that starts on the highest level.
    phase: u64,
}

pub(super) fn first(list: &[Candidate]) -> (Vec<u32>, Position) {
    let weights = scaled(list);
    // Every server that IPVS adds is a change of the list: the level follows from the whole history.
    let (mut gcd, mut max, mut cw) = (0, 0, 0);
    for &weight in weights.iter().rev() {
        (gcd, max) = (greatest_common_divisor(gcd, weight), max.max(weight));
        cw = level_after_change(cw, gcd.max(1), max);
    }
    at_head(list, Turns::new(&weights), cw)
}

pub(super) fn next(old: &Position, slots: &[u32], cursor: u64, list: &[Candidate]) -> (Vec<u32>, Position) {
    let cw = match last_used(slots, cursor) {
        Some(used) => old.turns.cw_at((old.phase + used as u64) % slots.len() as u64),
        None => old.cw,
    };
    if list.iter().map(|server| (server.id, server.weight)).eq(old.list.iter().copied()) {
        let ahead = cursor.checked_rem(slots.len() as u64).unwrap_or(0);
        let mut slots = slots.to_vec();
        slots.rotate_left(ahead as usize);
        let phase = (old.phase + ahead).checked_rem(slots.len() as u64).unwrap_or(0);
        return (slots, Position { cw, phase, ..old.clone() });
    }
    let turns = Turns::new(&scaled(list));
    let cw = level_after_change(cw, turns.gcd, turns.max_weight());
    at_head(list, turns, cw)
}

/// The cycle that starts at the head of the list on the level of `cw`.
fn at_head(list: &[Candidate], turns: Turns, cw: u32) -> (Vec<u32>, Position) {
    let mut slots = turns.cycle(list);
    let phase = turns.entries_above(turns.level(cw));
    // At most the length: the lowest level has them all above it only when there are none.
    slots.rotate_left(phase as usize);
    let list = list.iter().map(|server| (server.id, server.weight)).collect();
    (slots, Position { list, turns, cw, phase })
}

/// IPVS's `cw` once servers or weights have changed.
fn level_after_change(cw: u32, gcd: u32, max: u32) -> u32 {
    let highest = max.saturating_sub(gcd - 1);
    if cw == 0 || cw > highest {
        highest
    } else if gcd > 1 {
        cw / gcd * gcd + 1
    } else {
        cw
    }
}

/// Weights divided by their greatest common divisor: how many entries of a cycle each server of the list gets.
#[derive(Clone, Debug)]
struct Turns {
    each: Vec<u32>,
    /// At least 1.
    gcd: u32,
    most: u32,
}

impl Turns {
    fn new(weights: &[u32]) -> Self {
        let gcd = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
        let each: Vec<u32> = weights.iter().map(|weight| weight / gcd).collect();
        let most = each.iter().copied().max().unwrap_or(0);
        Self { each, gcd, most }
    }

    fn max_weight(&self) -> u32 {
        // Division by the gcd made it this; so it fits.
        self.most * self.gcd
    }

    fn level(&self, cw: u32) -> u32 {
        cw.div_ceil(self.gcd)
    }

    /// How many entries of a cycle lie on the levels above `level`.
    fn entries_above(&self, level: u32) -> u64 {
        self.each.iter().map(|&turns| u64::from(turns.saturating_sub(level))).sum()
    }

    /// IPVS's `cw` when it has just picked entry `index` of the cycle that starts on the highest level.
    fn cw_at(&self, index: u64) -> u32 {
        let (mut low, mut high) = (1, self.most.max(1));
        while low < high {
            let middle = low + (high - low) / 2;
            if self.entries_above(middle) <= index {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        (low - 1) * self.gcd + 1
    }

    /// One cycle from the highest level down.
    fn cycle(&self, list: &[Candidate]) -> Vec<u32> {
        let mut slots = Vec::with_capacity(self.entries_above(0) as usize);
        let mut waiting: Vec<(u32, usize)> = self.each.iter().copied().zip(0..).collect();
        waiting.sort_unstable();
        // The servers of a pass, as (place in the list, id). They only grow, so a pass costs no more than it yields.
        let mut pass: Vec<(usize, u32)> = Vec::with_capacity(list.len());
        for level in (1..=self.most).rev() {
            while let Some((_, place)) = waiting.pop_if(|(turns, _)| *turns >= level) {
                let Some(server) = list.get(place) else { continue };
                pass.insert(pass.partition_point(|&(other, _)| other < place), (place, server.id));
            }
            slots.extend(pass.iter().map(|&(_, id)| id));
        }
        slots
    }
}

/// The weights, made smaller if their cycle would exceed [`CYCLE_CAP`].
fn scaled(list: &[Candidate]) -> Vec<u32> {
    let weights = || list.iter().map(|server| server.weight);
    let gcd = u64::from(weights().fold(0, greatest_common_divisor).max(1));
    let sum: u64 = weights().map(u64::from).sum();
    if sum / gcd <= CYCLE_CAP as u64 {
        return weights().collect();
    }
    // Rounding adds at most one entry to each eligible server: leave room for that.
    let room = CYCLE_CAP.saturating_sub(weights().filter(|&weight| weight > 0).count()) as u64;
    let scale = |weight: u32| match u64::from(weight) {
        0 => 0,
        // At most the room (below 2^17), since no weight exceeds the sum.
        weight => ((weight * room + sum / 2) / sum).max(1) as u32,
    };
    weights().map(scale).collect()
}
