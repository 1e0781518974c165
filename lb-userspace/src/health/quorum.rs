//! Quorum of a virtual service, as keepalived computes it, and the panic threshold.

use crate::model::ServiceHealth;

/// Whether a service has its quorum after the sum of its live weights has changed.
///
/// Gained at `quorum + hysteresis`, lost below `quorum - hysteresis` or at 0 (keepalived,
/// `update_quorum_state` in check/ipwrapper.c).
#[must_use]
pub fn has_quorum(before: bool, live_weight: u64, health: &ServiceHealth) -> bool {
    let (quorum, hysteresis) = (u64::from(health.quorum), u64::from(health.hysteresis));
    if before {
        live_weight > 0 && live_weight >= quorum.saturating_sub(hysteresis)
    } else {
        live_weight > 0 && live_weight >= quorum + hysteresis
    }
}

/// Whether so many real servers have failed that the director's own eyes are the likelier cause.
#[must_use]
pub fn panics(failed: usize, total: usize, threshold: Option<u32>) -> bool {
    threshold.is_some_and(|percent| failed > 0 && failed as u64 * 100 > u64::from(percent) * total as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(quorum: u32, hysteresis: u32) -> ServiceHealth {
        ServiceHealth { quorum, hysteresis, ..ServiceHealth::default() }
    }

    #[test]
    fn borders_of_hysteresis() {
        let health = health(30, 2);
        for (before, weight, after) in [
            (true, 30, true),
            (true, 28, true),
            (true, 27, false),
            (false, 28, false),
            (false, 31, false),
            (false, 32, true),
            (false, 0, false),
        ] {
            assert_eq!(has_quorum(before, weight, &health), after, "{before} {weight}");
        }
    }

    #[test]
    fn no_weight_is_no_quorum() {
        assert!(!has_quorum(true, 0, &health(1, 1)));
        assert!(!has_quorum(true, 0, &health(0, 0)));
        assert!(has_quorum(true, 1, &health(1, 0)));
        assert!(!has_quorum(false, u64::from(u32::MAX), &health(u32::MAX, 1)));
    }

    #[test]
    fn panic_is_above_the_threshold() {
        assert!(!panics(5, 10, Some(50)));
        assert!(panics(6, 10, Some(50)));
        assert!(!panics(0, 10, Some(0)));
        assert!(panics(1, 10, Some(0)));
        assert!(!panics(10, 10, None));
        assert!(!panics(0, 0, Some(0)));
    }
}
