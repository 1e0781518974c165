//! Fuzz targets: functions of any bytes that panic where LVX is wrong.
//!
//! Each returns what happened, from which the generator sees that an input led somewhere new; libFuzzer looks at coverage
//! instead.

pub mod advertisement;
pub mod generator;
pub mod hmac;
mod input;
mod trail;
pub mod virtual_router;

pub use trail::Trail;

/// A target: its name, its function, and inputs to begin with.
#[derive(Clone, Copy)]
pub struct Target {
    /// Name, which is that of its corpus too.
    pub name: &'static str,
    /// Panics where LVX is wrong.
    pub run: fn(&[u8]) -> Trail,
    /// Inputs that get far.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Every target.
pub const TARGETS: [Target; 3] = [
    Target { name: "advertisement", run: advertisement::run, seeds: advertisement::seeds },
    Target { name: "virtual_router", run: virtual_router::run, seeds: virtual_router::seeds },
    Target { name: "hmac", run: hmac::run, seeds: hmac::seeds },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_pass_and_lead_to_different_places() {
        for target in TARGETS {
            let mut all = Trail::default();
            let new = (target.seeds)().iter().filter(|seed| all.add(&(target.run)(seed))).count();
            assert!(new > 1, "{}", target.name);
        }
    }

    #[test]
    fn the_generator_makes_the_same_inputs_again() {
        let summary = |seed| {
            let mut inputs = 0u64;
            let report = generator::generate(&TARGETS[0], 2000, seed, |input| {
                inputs = inputs.rotate_left(7) ^ input.iter().map(|byte| u64::from(*byte)).sum::<u64>();
            });
            (inputs, report.map(|report| report.kept).ok())
        };
        assert_eq!(summary(1), summary(1));
        assert_ne!(summary(1), summary(2));
    }
}
