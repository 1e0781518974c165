//! Times and rates of the resolver.

use std::time::Duration;

/// How patient and how busy the resolver is. The defaults suit a local network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How long a MAC address stays in use after the kernel has lost it (a failed probe, a deleted entry).
    pub grace: Duration,
    /// A neighbour the kernel calls stale is probed within this time; the moment is random, so that neighbours
    /// learnt together are not probed together.
    pub confirm_within: Duration,
    /// Mean time between further probes of a neighbour that stays stale or under probe; each interval is drawn from
    /// half to one and a half of it.
    pub confirm_again: Duration,
    /// First pause between probes of a neighbour that does not answer; doubles up to [`Settings::retry_max`].
    pub retry_min: Duration,
    /// Longest pause between probes of a neighbour that does not answer.
    pub retry_max: Duration,
    /// A first probe unanswered for this long counts as failed, should the kernel say nothing (it gives up after
    /// three solicitations, one second apart).
    pub probe_timeout: Duration,
    /// Routes are asked for again this long after a change, so that a burst of changes costs one round.
    pub route_debounce: Duration,
    /// Most routes asked for again in one [`Settings::route_debounce`]. Targets that have no answer yet do not count.
    pub route_batch: usize,
    /// Second look at all routes after a change of a link or an address: the kernel announces both before it has
    /// taken the routes away, and takes IPv4 routes away in silence.
    pub route_settle: Duration,
    /// All routes are asked for again this often whether or not anything was announced.
    pub route_refresh: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(10),
            confirm_within: Duration::from_secs(2),
            confirm_again: Duration::from_secs(20),
            retry_min: Duration::from_secs(1),
            retry_max: Duration::from_secs(30),
            probe_timeout: Duration::from_secs(4),
            route_debounce: Duration::from_millis(50),
            route_batch: 1000,
            route_settle: Duration::from_secs(1),
            route_refresh: Duration::from_secs(60),
        }
    }
}

/// Pseudo-random spread of probe times (SplitMix64); not for anything an attacker should not guess.
#[derive(Debug)]
pub(super) struct Jitter(u64);

impl Jitter {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A time from zero up to `most`.
    pub(super) fn up_to(&mut self, most: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let fraction = f64::from((z >> 32) as u32) / f64::from(u32::MAX);
        most.mul_f64(fraction)
    }

    /// A time from half to one and a half of `mean`.
    pub(super) fn around(&mut self, mean: Duration) -> Duration {
        mean / 2 + self.up_to(mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_in_its_range_and_moves() {
        let mut jitter = Jitter::new(7);
        let mean = Duration::from_secs(20);
        let drawn: Vec<_> = (0..1000).map(|_| jitter.around(mean)).collect();
        assert!(drawn.iter().all(|d| (mean / 2..=mean * 3 / 2).contains(d)));
        assert!(drawn.iter().any(|d| *d < mean) && drawn.iter().any(|d| *d > mean));
    }
}
