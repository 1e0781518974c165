//! Numbers and ranges of the fixed-size maps.

use std::collections::{BTreeMap, BTreeSet};

/// Gives out numbers from 1 (or 0) to a limit; the lowest free one first.
#[derive(Debug, Clone)]
pub struct Numbers {
    free: BTreeSet<u32>,
    next: u32,
    limit: u32,
}

impl Numbers {
    /// Numbers `first..limit`.
    #[must_use]
    pub const fn new(first: u32, limit: u32) -> Self {
        Self { free: BTreeSet::new(), next: first, limit }
    }

    /// Takes a number; `None` where all are in use.
    pub fn take(&mut self) -> Option<u32> {
        if let Some(number) = self.free.pop_first() {
            return Some(number);
        }
        (self.next < self.limit).then(|| {
            self.next += 1;
            self.next - 1
        })
    }

    /// Gives a number back.
    pub fn give_back(&mut self, number: u32) {
        self.free.insert(number);
    }
}

/// Gives out ranges of the scheduler table; offsets and lengths are even. First fit, neighbours are joined.
#[derive(Debug, Clone)]
pub struct Ranges {
    /// Free ranges, length by offset.
    free: BTreeMap<u32, u32>,
    used: u32,
}

impl Ranges {
    /// All of `0..length` is free.
    #[must_use]
    pub fn new(length: u32) -> Self {
        Self { free: BTreeMap::from([(0, length & !1)]), used: 0 }
    }

    /// Elements in use.
    #[must_use]
    pub const fn used(&self) -> u32 {
        self.used
    }

    /// Takes a range of at least `length`; `None` where no free range is long enough. Length 0 takes nothing.
    pub fn take(&mut self, length: u32) -> Option<u32> {
        let length = length.next_multiple_of(2);
        if length == 0 {
            return Some(0);
        }
        let (offset, available) = self
            .free
            .iter()
            .find(|(_, available)| **available >= length)
            .map(|(offset, len)| (*offset, *len))?;
        self.free.remove(&offset);
        if available > length {
            self.free.insert(offset + length, available - length);
        }
        self.used += length;
        Some(offset)
    }

    /// Gives a range back.
    pub fn give_back(&mut self, offset: u32, length: u32) {
        let mut length = length.next_multiple_of(2);
        if length == 0 {
            return;
        }
        self.used -= length;
        let mut offset = offset;
        if let Some((&before, &before_length)) = self.free.range(..offset).next_back()
            && before + before_length == offset
        {
            self.free.remove(&before);
            offset = before;
            length += before_length;
        }
        if let Some(&after_length) = self.free.get(&(offset + length)) {
            self.free.remove(&(offset + length));
            length += after_length;
        }
        self.free.insert(offset, length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_end_at_the_limit_and_come_back() {
        let mut numbers = Numbers::new(1, 3);
        assert_eq!((numbers.take(), numbers.take(), numbers.take()), (Some(1), Some(2), None));
        numbers.give_back(1);
        assert_eq!((numbers.take(), numbers.take()), (Some(1), None));
    }

    #[test]
    fn a_length_of_nothing_takes_nothing() {
        let mut ranges = Ranges::new(4);
        assert_eq!(ranges.take(0), Some(0));
        assert_eq!(ranges.used(), 0);
        ranges.give_back(0, 0);
        assert_eq!(ranges.take(4), Some(0));
    }

    proptest! {
        #[test]
        fn ranges_never_overlap_and_all_come_back(steps in prop::collection::vec((any::<bool>(), 0u32..40), 0..200)) {
            let mut ranges = Ranges::new(256);
            let mut held: Vec<(u32, u32)> = Vec::new();
            for (take, value) in steps {
                if take {
                    if let Some(offset) = ranges.take(value).filter(|_| value > 0) {
                        let end = offset + value.next_multiple_of(2);
                        prop_assert!(offset % 2 == 0 && end <= 256);
                        prop_assert!(held.iter().all(|(at, length)| end <= *at || at + length.next_multiple_of(2) <= offset));
                        held.push((offset, value));
                    }
                } else if !held.is_empty() {
                    let (offset, length) = held.swap_remove(value as usize % held.len());
                    ranges.give_back(offset, length);
                }
            }
            for (offset, length) in held {
                ranges.give_back(offset, length);
            }
            prop_assert_eq!(ranges.used(), 0);
            prop_assert_eq!(ranges.take(256), Some(0));
        }
    }
}
