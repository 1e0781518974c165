//! The known name an operator most likely meant.

/// Longer texts are not compared: no key is that long, and the distance costs the product of the lengths.
const LONGEST: usize = 40;

/// The candidate nearest to `name`: equal but for case and hyphens, or a prefix of it, or at most a third of its letters
/// away (insertions, deletions, substitutions, swapped neighbours).
pub(super) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.is_empty() || name.len() > LONGEST {
        return None;
    }
    let name = name.to_lowercase().replace('-', "_");
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let distance = if candidate.starts_with(&name) && name.len() >= 3 {
                usize::from(candidate.len() != name.len())
            } else {
                strsim::osa_distance(&name, candidate)
            };
            (distance <= candidate.len().div_ceil(3)).then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_what_was_meant() {
        let keys = ["address", "scheduler", "forwarding", "real_server"];
        for (written, meant) in [
            ("adress", Some("address")),
            ("Scheduler", Some("scheduler")),
            ("sheduler", Some("scheduler")),
            ("real-server", Some("real_server")),
            ("real_servers", Some("real_server")),
            ("forward", Some("forwarding")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, keys), meant, "{written}");
        }
        assert_eq!(nearest("wrrr", ["rr", "wrr", "lc", "wlc"]), Some("wrr"));
        assert_eq!(nearest("TUN", ["dr", "tunnel", "nat"]), Some("tunnel"));
        assert_eq!(nearest(&"a".repeat(1 << 20), keys), None);
    }
}
