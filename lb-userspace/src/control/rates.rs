//! Rates from counters.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use super::snapshot::{Rates, Traffic};

/// Feeds closer together than this are ignored: a rate over so short a time is noise.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// Turns counters that are read every two seconds or so into rates over the last interval.
///
/// Ids are what the caller tells counters apart by: service keys, real server slots. An id that is missing from a feed
/// is forgotten, so that a slot used again starts afresh.
#[derive(Debug, Clone)]
pub struct RateMeter<Id> {
    fed: Option<Instant>,
    last: HashMap<Id, (Traffic, Rates)>,
}

impl<Id> Default for RateMeter<Id> {
    fn default() -> Self {
        Self { fed: None, last: HashMap::new() }
    }
}

impl<Id: Clone + Eq + Hash> RateMeter<Id> {
    /// A meter that has seen nothing: all rates are 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the counters of all ids as they stood at `now`.
    ///
    /// A feed that comes less than 100 ms after the one before, or before it, changes nothing. An id seen for the
    /// first time has rate 0, and so has a counter that went backwards, for the one interval.
    pub fn feed(&mut self, now: Instant, counters: &[(Id, Traffic)]) {
        let elapsed = match self.fed {
            None => None,
            Some(fed) => match now.checked_duration_since(fed) {
                Some(elapsed) if elapsed >= SHORTEST_INTERVAL => Some(elapsed),
                _ => return,
            },
        };
        let mut next = HashMap::with_capacity(counters.len());
        for (id, traffic) in counters {
            let rates = match (elapsed, self.last.get(id)) {
                (Some(elapsed), Some((before, _))) => rates_between(before, traffic, elapsed),
                _ => Rates::default(),
            };
            next.insert(id.clone(), (*traffic, rates));
        }
        self.last = next;
        self.fed = Some(now);
    }

    /// Rates of `id` over the last interval; 0 for an id that was not in the last feed.
    #[must_use]
    pub fn rates(&self, id: &Id) -> Rates {
        self.last.get(id).map_or_else(Rates::default, |(_, rates)| *rates)
    }
}

fn rates_between(before: &Traffic, after: &Traffic, elapsed: Duration) -> Rates {
    let per_second = |before: u64, after: u64| {
        let grown = u128::from(after.saturating_sub(before));
        let nanoseconds = elapsed.as_nanos();
        let rounded = (grown * 1_000_000_000 + nanoseconds / 2) / nanoseconds;
        u64::try_from(rounded).unwrap_or(u64::MAX)
    };
    Rates {
        connections: per_second(before.connections, after.connections),
        in_packets: per_second(before.in_packets, after.in_packets),
        out_packets: per_second(before.out_packets, after.out_packets),
        in_bytes: per_second(before.in_bytes, after.in_bytes),
        out_bytes: per_second(before.out_bytes, after.out_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packets(in_packets: u64) -> Traffic {
        Traffic { in_packets, ..Traffic::default() }
    }

    fn meter_after(feeds: &[(u64, u64)]) -> u64 {
        let start = Instant::now();
        let mut meter = RateMeter::new();
        for (milliseconds, count) in feeds {
            meter.feed(start + Duration::from_millis(*milliseconds), &[(1_u32, packets(*count))]);
        }
        meter.rates(&1).in_packets
    }

    #[test]
    fn every_counter_has_its_own_rate() {
        let start = Instant::now();
        let mut meter = RateMeter::new();
        let before = Traffic {
            connections: 1,
            in_packets: 2,
            out_packets: 3,
            in_bytes: 4,
            out_bytes: 5,
            ..Traffic::default()
        };
        let after = Traffic {
            connections: 21,
            in_packets: 42,
            out_packets: 63,
            in_bytes: 84,
            out_bytes: 105,
            ..Traffic::default()
        };
        meter.feed(start, &[("web", before)]);
        meter.feed(start + Duration::from_secs(2), &[("web", after)]);
        let expected =
            Rates { connections: 10, in_packets: 20, out_packets: 30, in_bytes: 40, out_bytes: 50 };
        assert_eq!(meter.rates(&"web"), expected);
        assert_eq!(meter.rates(&"unknown"), Rates::default());
    }

    #[test]
    fn the_first_feed_gives_no_rate() {
        assert_eq!(meter_after(&[(0, 1_000_000)]), 0);
    }

    #[test]
    fn rates_are_rounded_to_the_nearest() {
        assert_eq!(meter_after(&[(0, 0), (2000, 3)]), 2);
        assert_eq!(meter_after(&[(0, 0), (3000, 4)]), 1);
        assert_eq!(meter_after(&[(0, 0), (3000, 5)]), 2);
    }

    #[test]
    fn a_late_feed_is_averaged_over_the_time_that_passed() {
        assert_eq!(meter_after(&[(0, 0), (100_000, 1000)]), 10);
    }

    #[test]
    fn feeds_too_close_together_or_backwards_change_nothing() {
        assert_eq!(meter_after(&[(0, 0), (2000, 20), (2000, 30), (2050, 40), (1000, 50)]), 10);
        // The ignored counts are not lost: they belong to the next interval.
        assert_eq!(meter_after(&[(0, 0), (2000, 20), (2050, 40), (4000, 60)]), 20);
    }

    #[test]
    fn a_counter_that_went_backwards_has_rate_0_for_one_interval() {
        assert_eq!(meter_after(&[(0, 1000), (2000, 10)]), 0);
        assert_eq!(meter_after(&[(0, 1000), (2000, 10), (4000, 30)]), 10);
    }

    #[test]
    fn a_removed_id_is_forgotten_and_starts_afresh_when_it_comes_back() {
        let start = Instant::now();
        let mut meter = RateMeter::new();
        meter.feed(start, &[(1, packets(0)), (2, packets(0))]);
        meter.feed(start + Duration::from_secs(2), &[(2, packets(10))]);
        assert_eq!(meter.rates(&1), Rates::default());
        assert_eq!(meter.last.len(), 1);
        meter.feed(start + Duration::from_secs(4), &[(1, packets(5000)), (2, packets(20))]);
        assert_eq!(meter.rates(&1), Rates::default());
        assert_eq!(meter.rates(&2).in_packets, 5);
    }

    proptest! {
        #[test]
        fn no_input_panics_and_no_rate_exceeds_what_was_counted(
            feeds in proptest::collection::vec((0_u64..10_000, any::<u64>()), 1..20),
        ) {
            let start = Instant::now();
            let mut meter = RateMeter::new();
            let mut highest = 0;
            for (milliseconds, count) in feeds {
                highest = highest.max(count);
                meter.feed(start + Duration::from_millis(milliseconds), &[((), packets(count))]);
                // The shortest interval is a tenth of a second.
                prop_assert!(u128::from(meter.rates(&()).in_packets) <= u128::from(highest) * 10);
            }
        }
    }
}
