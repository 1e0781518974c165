//! What happened to an input.

/// Which events followed which others. Different pairs may share a place; there is room for most that occur.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trail {
    pairs: [u64; 16],
    last: u8,
}

impl Trail {
    /// An event.
    pub(crate) fn note(&mut self, event: u8) {
        let pair = (u32::from(self.last) << 8 | u32::from(event)).wrapping_mul(0x9e37_79b1);
        self.pairs[(pair >> 28) as usize] |= 1 << (pair >> 22 & 63);
        self.last = event;
    }

    /// Takes on what another one has; whether that was anything new.
    pub(crate) fn add(&mut self, other: &Self) -> bool {
        let mut new = false;
        for (own, other) in self.pairs.iter_mut().zip(other.pairs) {
            new |= other & !*own > 0;
            *own |= other;
        }
        new
    }

    /// How many pairs there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.pairs.iter().map(|pairs| pairs.count_ones()).sum()
    }
}
