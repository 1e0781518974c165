//! Load schedulers: the real server with the least load per weight.

/// How a load scheduler weighs a real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadKind {
    /// Least connection: every weight but 0 counts as 1.
    Lc,
    /// Weighted least connection.
    Wlc,
}

/// The best real server so far, while a virtual service's real servers are offered in list order (newest first).
///
/// The load of a server is 256 times its active plus its inactive connections, as in IPVS
/// (`ip_vs_dest_conn_overhead`), and is compared per weight. A tie goes to the server offered first.
#[derive(Clone, Copy, Debug)]
pub struct Best {
    kind: LoadKind,
    id: u32,
    load: u64,
    weight: u32,
}

impl Best {
    /// Nothing offered yet.
    #[inline(always)]
    #[must_use]
    pub fn new(kind: LoadKind) -> Self {
        Self { kind, id: 0, load: 0, weight: 0 }
    }

    /// Considers real server `id` with its live connection counts. One of weight 0 is never chosen.
    ///
    /// Leave out servers that must not be chosen for another reason (an overload mark).
    #[inline(always)]
    pub fn offer(&mut self, id: u32, weight: u32, active: u32, inactive: u32) {
        if weight == 0 {
            return;
        }
        let (load, weight) = match self.kind {
            LoadKind::Lc => (overhead(active, inactive), 1),
            LoadKind::Wlc => (overhead(active, inactive), weight),
        };
        // load / weight < self.load / self.weight, without the divisions.
        if self.id == 0 || product(load, self.weight) < product(self.load, weight) {
            (self.id, self.load, self.weight) = (id, load, weight);
        }
    }

    /// The chosen real server's id; 0 if none can be chosen.
    #[inline(always)]
    #[must_use]
    pub fn winner(&self) -> u32 {
        self.id
    }
}

#[inline(always)]
fn overhead(active: u32, inactive: u32) -> u64 {
    (u64::from(active) << 8) + u64::from(inactive)
}

/// `load * weight` as a number in base 2^32: a load has up to 41 bits, so the product does not always fit 64.
#[inline(always)]
fn product(load: u64, weight: u32) -> (u64, u32) {
    let low = (load & 0xffff_ffff) * u64::from(weight);
    ((load >> 32) * u64::from(weight) + (low >> 32), low as u32)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;

    fn winner(kind: LoadKind, offers: &[(u32, u32, u32, u32)]) -> u32 {
        let mut best = Best::new(kind);
        for &(id, weight, active, inactive) in offers {
            best.offer(id, weight, active, inactive);
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

    proptest! {
        #[test]
        fn wlc_is_the_first_smallest_fraction(
            offers in proptest::collection::vec((any::<u32>(), any::<u32>(), any::<u32>()), 0..20)
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
