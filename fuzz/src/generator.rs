//! A generator of inputs that needs no instrumentation: it changes seeds and whatever led somewhere new, by a sequence of
//! numbers that is the same for the same seed.

use std::panic::{self, AssertUnwindSafe};

use crate::{Target, Trail};

/// Inputs get no longer.
const MOST_BYTES: usize = 1200;
/// Bytes at the edges of something.
const EDGES: [u8; 12] = [0, 1, 2, 3, 4, 16, 32, 64, 127, 128, 254, 255];

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Inputs that were run.
    pub executions: u64,
    /// Pairs of events that followed each other in them.
    pub pairs: u32,
    /// Seeds, and inputs kept for being the first with a pair of events.
    pub kept: usize,
}

/// SplitMix64.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `bound`; 0 where that is 0.
    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound.max(1)
    }
}

/// Runs a target on the seeds and then on what is made of them; `watch` sees every input.
///
/// # Errors
///
/// The input on which the target has panicked.
pub fn generate(
    target: &Target,
    executions: u64,
    seed: u64,
    mut watch: impl FnMut(&[u8]),
) -> Result<Report, Vec<u8>> {
    let mut numbers = Numbers(seed);
    let mut kept = (target.seeds)();
    kept.push(Vec::new());
    let mut all = Trail::default();
    let mut run = 0;
    let mut first = kept.clone().into_iter();
    let mut input = Vec::new();
    while run < executions {
        match first.next() {
            Some(seed) => input = seed,
            None => change(&mut input, &kept, &mut numbers),
        }
        watch(&input);
        let trail =
            panic::catch_unwind(AssertUnwindSafe(|| (target.run)(&input))).map_err(|_| input.clone())?;
        run += 1;
        if all.add(&trail) {
            kept.push(input.clone());
        }
    }
    Ok(Report { executions: run, pairs: all.count(), kept: kept.len() })
}

/// Makes a new input of one that was kept.
fn change(input: &mut Vec<u8>, kept: &[Vec<u8>], numbers: &mut Numbers) {
    let place = numbers.below(kept.len());
    input.clone_from(&kept[place]);
    for _ in 0..=numbers.below(4) {
        let place = numbers.below(input.len());
        match numbers.below(10) {
            0 | 1 => set(input, place, |byte, numbers| byte ^ (1 << numbers.below(8)), numbers),
            2 => set(input, place, |_, numbers| numbers.next() as u8, numbers),
            3 => set(input, place, |_, numbers| EDGES[numbers.below(EDGES.len())], numbers),
            4 => set(input, place, |byte, _| byte.wrapping_add(1), numbers),
            5 => input.insert(place.min(input.len()), numbers.next() as u8),
            6 => {
                let end = (place + 1 + numbers.below(8)).min(input.len());
                input.drain(place.min(end)..end);
            }
            7 => {
                let end = (place + 1 + numbers.below(16)).min(input.len());
                let again = input[place.min(end)..end].to_vec();
                input.splice(place.min(end)..place.min(end), again);
            }
            // The end of another in place of its own, or behind it.
            way => {
                let other = &kept[numbers.below(kept.len())];
                let from = numbers.below(other.len() + 1);
                input.truncate(if way == 8 { place } else { input.len() });
                input.extend_from_slice(&other[from..]);
            }
        }
    }
    input.truncate(MOST_BYTES);
}

fn set(input: &mut [u8], place: usize, value: impl FnOnce(u8, &mut Numbers) -> u8, numbers: &mut Numbers) {
    if let Some(byte) = input.get_mut(place) {
        *byte = value(*byte, numbers);
    }
}
