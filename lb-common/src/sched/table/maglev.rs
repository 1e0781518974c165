//! Maglev hashing as IPVS does it: every server walks the table in an order of its own and takes the first free entries.
//!
//! Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, 3.4; weights as in
//! net/netfilter/ipvs/ip_vs_mh.c.

use super::{Candidate, greatest_common_divisor};
use crate::sched::{maglev, pick};
use alloc::{vec, vec::Vec};
use core::net::IpAddr;

/// Key of the hash that gives a server its step width.
const STEP_KEY: u64 = 2_654_446_892;

/// A server's walk over the table.
struct Walk {
    /// What the server's entries hold: its id, or 0 if they refuse.
    entry: u32,
    next: u32,
    step: u32,
    /// Entries to take in a row before it is the next server's turn.
    turns: u32,
}

/// The full table, or an empty one if no server ever had a weight.
pub(super) fn fill(list: &[Candidate], table_size: u32) -> Vec<u32> {
    let size = maglev::table_size(table_size);
    let mut walks = walks(list, size);
    if walks.is_empty() {
        return Vec::new();
    }
    let mut slots = vec![0; size as usize];
    let mut taken = Taken::new(size);
    let mut free = size;
    loop {
        for walk in &mut walks {
            for _ in 0..walk.turns {
                if free == 0 {
                    return slots;
                }
                while taken.contains(walk.next) {
                    walk.next = wrap(walk.next + walk.step, size);
                }
                taken.insert(walk.next);
                if let Some(slot) = slots.get_mut(walk.next as usize) {
                    *slot = walk.entry;
                }
                free -= 1;
            }
        }
    }
}

fn walks(list: &[Candidate], size: u32) -> Vec<Walk> {
    let weights = || list.iter().map(steady_weight);
    let gcd = weights().fold(0, greatest_common_divisor).max(1);
    let most = weights().max().unwrap_or(0) / gcd;
    // Keep the turns of a round few against the table: only the leading bits of a weight count.
    let shift = (u32::BITS - most.leading_zeros()).saturating_sub(maglev::weight_bits(size));
    let walk = |server: &Candidate| {
        let key = folded(server.address).wrapping_add(u32::from(server.port));
        Walk {
            entry: if server.weight == 0 { 0 } else { server.id },
            next: pick::siphash13(key, pick::LOOKUP_KEY) % size,
            step: pick::siphash13(key, STEP_KEY) % (size - 1) + 1,
            turns: ((steady_weight(server) / gcd) >> shift).max(1),
        }
    };
    list.iter().filter(|server| steady_weight(server) > 0).map(walk).collect()
}

/// The weight that decides how many entries a server has: quiescing it must not move anyone else's.
fn steady_weight(server: &Candidate) -> u32 {
    if server.weight == 0 { server.last_weight } else { server.weight }
}

/// Both summands of `index` lie below `size`.
fn wrap(index: u32, size: u32) -> u32 {
    if index >= size { index - size } else { index }
}

fn folded(address: IpAddr) -> u32 {
    let bits = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    };
    pick::fold(((bits >> 64) as u64).to_be(), (bits as u64).to_be(), address.is_ipv4())
}

/// A set of table indices, small enough to stay in the first-level cache.
struct Taken(Vec<u64>);

impl Taken {
    fn new(size: u32) -> Self {
        Self(vec![0; size as usize / 64 + 1])
    }

    fn contains(&self, index: u32) -> bool {
        self.0.get(index as usize / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    fn insert(&mut self, index: u32) {
        if let Some(word) = self.0.get_mut(index as usize / 64) {
            *word |= 1 << (index % 64);
        }
    }
}
