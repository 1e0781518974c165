//! Load schedulers: the real server with the least load per weight.

/// How a load scheduler weighs a real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadKind {
    /// Least connection: every weight but 0 counts as 1.
    Lc,
    /// Weighted least connection.
    Wlc,
    /// Shortest expected delay.
    Sed,
    /// Never queue: an idle server, or else as sed.
    Nq,
    /// Overflow: the highest weight that is not exceeded by active connections.
    Ovf,
}

impl LoadKind {
    /// The weight that a scan compares, for a configured one. `largest` is the largest configured weight of the
    /// service: where it exceeds [`MAX_SCANNED_WEIGHT`], all weights are scaled down alike, but none to 0.
    #[must_use]
    pub fn scanned_weight(self, weight: u32, largest: u32) -> u32 {
        match self {
            _ if weight == 0 => 0,
            Self::Lc => 1,
            Self::Wlc | Self::Sed | Self::Nq | Self::Ovf => {
                let excess = (u32::BITS - largest.leading_zeros()).saturating_sub(SCANNED_WEIGHT_BITS);
                (weight >> excess).clamp(1, MAX_SCANNED_WEIGHT)
            }
        }
    }
}

const SCANNED_WEIGHT_BITS: u32 = 27;

/// Largest weight that a scan compares exactly.
pub const MAX_SCANNED_WEIGHT: u32 = (1 << SCANNED_WEIGHT_BITS) - 1;

/// Connections that a scan tells apart, active or inactive; more than the connection table can hold.
const CONNECTION_MASK: u64 = (1 << 27) - 1;

/// How a scan turns connections into load, for the schedulers that look at active connections only. No branch depends on a
/// real server: the verifier follows every branch of a loop anew in every round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveRule {
    /// All ones where inactive connections count as active ones. IPVS knows UDP connections as inactive only, so that sed, nq
    /// and ovf are blind to them; LVX is not.
    inactive: u64,
    /// Added to every load.
    plus: u64,
    /// Added to the load of a server that is not idle.
    busy: u64,
    /// All ones where a server with more connections than its weight is left out and all others are equal.
    overflow: u64,
}

impl ActiveRule {
    /// The rule of sed, nq or ovf; the other schedulers have none and count as sed. `inactive` says whether inactive
    /// connections count as active ones.
    #[inline(always)]
    #[must_use]
    pub const fn new(kind: LoadKind, inactive: bool) -> Self {
        let all = u64::MAX;
        Self {
            inactive: if inactive { all } else { 0 },
            plus: if matches!(kind, LoadKind::Nq | LoadKind::Ovf) { 0 } else { 1 },
            busy: if matches!(kind, LoadKind::Nq) { 1 } else { 0 },
            overflow: if matches!(kind, LoadKind::Ovf) { all } else { 0 },
        }
    }

    /// Load and weight to be compared.
    #[inline(always)]
    #[must_use]
    pub const fn apply(self, weight: u32, active: u32, inactive: u32) -> (u64, u32) {
        let connections =
            (active as u64 & CONNECTION_MASK) + (inactive as u64 & CONNECTION_MASK & self.inactive);
        // 1 where there is a connection.
        let occupied = (0u64.wrapping_sub(connections)) >> 63;
        let load = connections + self.plus + (occupied & self.busy);
        let exceeded = (((weight as u64).wrapping_sub(connections)) as i64 >> 63) as u64 & self.overflow;
        // All that are not left out have load 1, so that the highest weight wins.
        let load = load ^ ((load ^ 1) & self.overflow);
        (load, (weight as u64 & !exceeded) as u32)
    }
}

/// The best real server so far, while a virtual service's real servers are offered in list order (newest first).
///
/// The load of a server is 256 times its active plus its inactive connections, as in IPVS
/// (`ip_vs_dest_conn_overhead`), and is compared per weight. A tie goes to the server offered first.
///
/// There is no branch in it: the verifier follows every branch of a loop anew in every round, and a scan of a
/// thousand servers would be out of its reach.
#[derive(Clone, Copy, Debug)]
pub struct Best {
    id: u64,
    load: u64,
    weight: u64,
}

impl Default for Best {
    fn default() -> Self {
        Self::new()
    }
}

impl Best {
    /// Nothing offered yet.
    #[inline(always)]
    #[must_use]
    pub const fn new() -> Self {
        // Heavier than any load that can be offered.
        Self { id: 0, load: 1 << 36, weight: 1 }
    }

    /// Considers real server `id` with its [`LoadKind::scanned_weight`] and live connection counts. One of weight 0 is
    /// never chosen. `id` is below 2^32.
    ///
    /// Leave out servers that must not be chosen for another reason (an overload mark).
    #[inline(always)]
    pub const fn offer(&mut self, id: u32, weight: u32, active: u32, inactive: u32) {
        let load = ((active as u64 & CONNECTION_MASK) << 8) + (inactive as u64 & CONNECTION_MASK);
        self.offer_load(id, weight, load);
    }

    /// As [`Self::offer`], with a load of at most 35 bits.
    #[inline(always)]
    pub const fn offer_load(&mut self, id: u32, weight: u32, load: u64) {
        let weight = weight as u64;
        // load / weight < self.load / self.weight, without the divisions; both products have at most 63 bits, so the
        // sign of the difference decides, and becomes a mask of all ones or none.
        let smaller = (load.wrapping_mul(self.weight)).wrapping_sub(self.load.wrapping_mul(weight));
        let mask = ((smaller as i64) >> 63) as u64;
        self.id ^= (self.id ^ id as u64) & mask;
        self.load ^= (self.load ^ load) & mask;
        self.weight ^= (self.weight ^ weight) & mask;
    }

    /// The chosen real server's id; 0 if none can be chosen.
    #[inline(always)]
    #[must_use]
    pub const fn winner(&self) -> u32 {
        self.id as u32
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;

    fn winner(kind: LoadKind, offers: &[(u32, u32, u32, u32)]) -> u32 {
        let largest = offers.iter().map(|offer| offer.1).max().unwrap_or(0);
        let mut best = Best::new();
        for &(id, weight, active, inactive) in offers {
            best.offer(id, kind.scanned_weight(weight, largest), active, inactive);
        }
        best.winner()
    }

    #[test]
    fn nobody_wins_without_an_eligible_server() {
        assert_eq!(winner(LoadKind::Lc, &[]), 0);
        assert_eq!(winner(LoadKind::Wlc, &[(1, 0, 0, 0), (2, 0, 0, 0)]), 0);
    }

    #[test]
    fn weight_0_is_never_chosen_however_idle() {
        assert_eq!(winner(LoadKind::Lc, &[(1, 0, 0, 0), (2, 1, 9, 9)]), 2);
        assert_eq!(winner(LoadKind::Wlc, &[(1, 5, 9, 9), (2, 0, 0, 0)]), 1);
    }

    #[test]
    fn the_first_of_equals_wins() {
        assert_eq!(winner(LoadKind::Lc, &[(3, 1, 2, 1), (2, 9, 2, 1), (1, 1, 2, 1)]), 3);
        assert_eq!(winner(LoadKind::Wlc, &[(3, 1, 1, 0), (2, 2, 2, 0), (1, 3, 3, 0)]), 3);
    }

    #[test]
    fn one_active_connection_weighs_as_much_as_256_inactive_ones() {
        assert_eq!(winner(LoadKind::Lc, &[(1, 1, 1, 0), (2, 1, 0, 256)]), 1);
        assert_eq!(winner(LoadKind::Lc, &[(1, 1, 1, 0), (2, 1, 0, 255)]), 2);
    }

    #[test]
    fn weights_too_large_to_compare_are_scaled_alike() {
        assert_eq!(LoadKind::Wlc.scanned_weight(i32::MAX as u32, i32::MAX as u32), MAX_SCANNED_WEIGHT);
        assert_eq!(LoadKind::Wlc.scanned_weight(1 << 20, i32::MAX as u32), 1 << 16);
        assert_eq!(LoadKind::Wlc.scanned_weight(1, i32::MAX as u32), 1);
        assert_eq!(LoadKind::Wlc.scanned_weight(0, i32::MAX as u32), 0);
        assert_eq!(LoadKind::Wlc.scanned_weight(77, 100), 77);
        assert_eq!(LoadKind::Lc.scanned_weight(77, 100), 1);
    }

    proptest! {
        #[test]
        fn wlc_is_the_first_smallest_fraction(
            offers in proptest::collection::vec(
                (0..=MAX_SCANNED_WEIGHT, 0..=CONNECTION_MASK as u32, 0..=CONNECTION_MASK as u32),
                0..20,
            )
        ) {
            let offers: std::vec::Vec<_> =
                (1..).zip(offers).map(|(id, (weight, active, inactive))| (id, weight, active, inactive)).collect();
            let mut expected: Option<(u32, u128, u128)> = None;
            for &(id, weight, active, inactive) in offers.iter().filter(|offer| offer.1 > 0) {
                let (load, weight) = (u128::from(active) * 256 + u128::from(inactive), u128::from(weight));
                if expected.is_none_or(|(_, best, best_weight)| load * best_weight < best * weight) {
                    expected = Some((id, load, weight));
                }
            }
            prop_assert_eq!(winner(LoadKind::Wlc, &offers), expected.map_or(0, |(id, ..)| id));
        }
    }
}
